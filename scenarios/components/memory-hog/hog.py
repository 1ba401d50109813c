"""Takes ``cfg["bytes"]`` of memory with every message and keeps it, until its container is killed.

Every page is written to: memory that nobody has written to is only promised.
"""

from __future__ import annotations

import mmap
from typing import Any

_held: list[bytearray] = []


def init(cfg: dict[str, Any]) -> None:
    """Raises ValueError where the configuration makes no sense."""
    size = cfg["bytes"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"bytes is {size!r}, not a whole number from 0")


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the body on, with ``held_bytes``, which is all that was taken so far."""
    block = bytearray(cfg["bytes"])
    touched = range(0, len(block), mmap.PAGESIZE)
    block[:: mmap.PAGESIZE] = b"x" * len(touched)
    _held.append(block)
    return {"body": {**msg["body"], "held_bytes": sum(map(len, _held))}}
