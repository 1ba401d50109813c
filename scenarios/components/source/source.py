"""A trigger: one call, one message on."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the body on as it came."""
    return {"body": msg["body"]}
