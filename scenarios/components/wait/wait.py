"""Takes exactly as long as its message says: a component of known duration.

The end of a wait is spun: a sleep alone ends about 60 us late, on a busy machine later.
"""

from __future__ import annotations

import time
from typing import Any

SPUN_NS = 300_000


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Pass the body on ``delay_ms`` (a number of it) after entry; at once where that is null."""
    entry_ns = time.monotonic_ns()
    body = msg["body"]
    end_ns = entry_ns + round((body.get("delay_ms") or 0.0) * 1e6)
    remaining_ns = end_ns - time.monotonic_ns()
    if remaining_ns > SPUN_NS:
        time.sleep((remaining_ns - SPUN_NS) / 1e9)
    while time.monotonic_ns() < end_ns:
        pass
    return {"body": body}
