"""Emits a message over the outgoing limit of 10 MiB."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Emit 11 MiB."""
    return {"body": {"data": "x" * (11 * 1024 * 1024)}}
