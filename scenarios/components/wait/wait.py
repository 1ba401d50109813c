"""Takes exactly as long as its configuration and its message say: a component of known duration.

Configuration: ``own_ms`` (0), what it takes for every message. After some milliseconds of waiting a
broker and the other steps have gone to sleep, and the next hop takes longer: where durations are to
be compared, ``own_ms`` lets them sleep every time. The end of a wait is spun: a sleep alone ends
about 60 us late, on a busy machine later.
"""

from __future__ import annotations

import time
from typing import Any

SPUN_NS = 300_000


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the body on ``own_ms`` and its own ``delay_ms`` (null: none) after entry."""
    entry_ns = time.monotonic_ns()
    body = msg["body"]
    wait_ms = cfg.get("own_ms", 0.0) + (body.get("delay_ms") or 0.0)
    end_ns = entry_ns + round(wait_ms * 1e6)
    remaining_ns = end_ns - time.monotonic_ns()
    if remaining_ns > SPUN_NS:
        time.sleep((remaining_ns - SPUN_NS) / 1e9)
    while time.monotonic_ns() < end_ns:
        pass
    return {"body": body}
