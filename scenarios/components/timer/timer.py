"""A trigger for cron lines and intervals: one tick, one message with its time and sequence.

The platform's ticks bring both. Called by anything else, the timer counts its own calls, and says
when each one was.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_calls = 0


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the tick on."""
    global _calls  # noqa: PLW0603
    _calls += 1
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"body": {"sequence": _calls, "time": now, **(msg["body"] or {})}}
