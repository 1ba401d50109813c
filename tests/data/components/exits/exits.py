"""Ends its process in the middle of a message, without any clean-up."""

from __future__ import annotations

import os
from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Exit with the configured code, 3 by default."""
    os._exit(cfg.get("code", 3))
