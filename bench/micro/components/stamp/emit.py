"""The upstream end of a hop."""

from __future__ import annotations

import time
from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the body on, stamped as the last thing done."""
    body = msg["body"]
    body["emit_ns"] = time.monotonic_ns()
    return {"body": body}
