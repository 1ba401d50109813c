"""A trigger for webhooks: one request, one message with its body and headers."""

from __future__ import annotations

from typing import Any


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass on what was posted, whatever JSON it is."""
    return {name: msg[name] for name in ("body", "headers", "attachments")}
