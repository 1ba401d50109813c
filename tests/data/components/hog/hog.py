"""Takes memory until it is killed, or until a ceiling where nothing limits it."""

from __future__ import annotations

from typing import Any

CHUNK_BYTES = 8 * 1024 * 1024


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> None:
    """Allocate. Raises MemoryError at ``ceiling_bytes`` (1 GiB), to spare an unlimited machine."""
    ceiling_bytes = cfg.get("ceiling_bytes", 1024 * 1024 * 1024)
    held: list[bytes] = []
    while len(held) * CHUNK_BYTES < ceiling_bytes:
        # Not zeros: those are mapped to no memory until they are written to.
        held.append(b"x" * CHUNK_BYTES)
    raise MemoryError(f"not killed after {ceiling_bytes} bytes")
