"""Raises for every message."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Raise ValueError with the configured text."""
    raise ValueError(cfg.get("text", "this component always raises"))
