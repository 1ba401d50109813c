"""Collects messages: of every ``cfg["size"]`` of them it makes one, with their bodies in order.

What has been collected is in the step's snapshot, so it outlives the container; so it must be
small, too. A message that the broker delivers twice counts twice. Each replica collects for itself.
"""

from __future__ import annotations

from typing import Any


def init(cfg: dict[str, Any]) -> None:
    """Raises ValueError where the configuration makes no sense."""
    size = cfg["size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size is {size!r}, not a whole number from 1")


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Any
) -> dict[str, Any] | None:
    """Keep the body; or, when it is the last that was missing, give on all of them."""
    bodies = [*snapshot.get("bodies", []), msg["body"]]
    if len(bodies) < cfg["size"]:
        context.emit("snapshot", {"bodies": bodies})
        return None
    context.emit("snapshot", {"bodies": []})
    return {"body": {"count": len(bodies), "bodies": bodies}}
