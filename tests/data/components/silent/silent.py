"""Takes messages and emits nothing."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Do nothing."""
