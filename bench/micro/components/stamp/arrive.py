"""The downstream end of a hop."""

from __future__ import annotations

import time
from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Stamp as the first thing done; the payload stays behind."""
    arrive_ns = time.monotonic_ns()
    return {"body": {"emit_ns": msg["body"]["emit_ns"], "arrive_ns": arrive_ns}}
