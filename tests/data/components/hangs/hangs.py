"""Never finishes a message."""

from __future__ import annotations

import time
from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Sleep for ever."""
    while True:
        time.sleep(3600)
