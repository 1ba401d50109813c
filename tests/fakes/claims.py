"""The claims of a synthetic run: the catalogue's own, as ``run.json`` lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[2] / "scenarios" / "claims.toml"


def _stored(claim: dict[str, Any]) -> dict[str, Any]:
    target = claim.get("target")
    return {
        "id": claim["id"],
        "statement": claim["statement"],
        "metric": claim["metric"],
        "scenario": claim["scenario"],
        "needs_containers": claim.get("needs_containers", False),
        "parameters": claim.get("parameters", {}),
        "target": None if target is None else {"metric": claim["metric"], **target},
    }


CLAIMS = [_stored(claim) for claim in tomllib.loads(_FILE.read_text())["claims"]]
