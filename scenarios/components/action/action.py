"""The last action of a flow: it looks at the whole body and emits nothing."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Use the body. Raises KeyError when an earlier step has dropped what the load sent."""
    body = msg["body"]
    if body["sequence"] < 0 or not isinstance(body["data"], str):
        raise ValueError(f"not a body of the load: sequence {body['sequence']!r}")
