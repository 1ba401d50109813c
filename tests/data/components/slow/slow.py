"""Takes its time over every message, then passes it on."""

from __future__ import annotations

import time
from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Sleep for ``sleep_s`` seconds."""
    time.sleep(cfg["sleep_s"])
    return {"body": msg["body"]}
