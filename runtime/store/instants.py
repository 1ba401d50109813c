"""How the store writes instants: UTC, ISO 8601, with microseconds; their order is the text's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""The clock; tests bring their own."""


def wall_clock() -> datetime:
    """The instant that it is."""
    return datetime.now(UTC)


def written(instant: datetime) -> str:
    """An instant as the store holds it."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
