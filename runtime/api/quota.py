"""How many calls a second a webhook takes: a token bucket.

Our own, as libraries for it count whole calls in a period, and a quota may be one in ten seconds.
"""

from __future__ import annotations

import threading

_NS = 1_000_000_000


class Quota:
    """A bucket that holds what comes in during one second, at least one call; full at first.

    The generic cell rate algorithm (ITU-T I.371): one instant stands for the bucket's level, that
    at which it will be full again.
    """

    def __init__(self, rate_per_s: float) -> None:
        self._interval_ns = _NS / rate_per_s
        self._tolerance_ns = max(_NS - self._interval_ns, 0.0)
        self._full_ns = 0.0
        self._lock = threading.Lock()

    def take(self, now_ns: int) -> float:
        """Take one call and return 0; or take none, and return the seconds until there is one."""
        with self._lock:
            full_ns = max(self._full_ns, float(now_ns))
            wait_ns = full_ns - now_ns - self._tolerance_ns
            if wait_ns > 0:
                return wait_ns / _NS
            self._full_ns = full_ns + self._interval_ns
            return 0.0
