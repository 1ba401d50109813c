"""What the broker refused and this worker tries again: after a delay that doubles, up to a bound.

Loaded when something is first refused. Meanwhile the input of what waits here stays
unacknowledged, and the worker's thread is inside of the broker's loop, where heartbeats are
answered.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable
from itertools import count

from runtime.worker.settings import Settings

_MOST_DOUBLINGS = 32
_QUIET_NS = 1_000_000_000
"""How long more refusals like the last one that was logged are not."""


class Retries:
    """Actions, each with the instant at which it is due."""

    def __init__(self, settings: Settings, logger: logging.Logger) -> None:
        self._first_ms = settings.retry_delay_ms
        self._longest_ms = settings.retry_longest_ms
        self._step = settings.step
        self._logger = logger
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count()
        self._said: dict[int, int] = {}

    def add(self, attempt: int, action: Callable[[], None]) -> None:
        """Do something later, for the ``attempt``-th time (from 0)."""
        delay_ms = min(self._first_ms << min(attempt, _MOST_DOUBLINGS), self._longest_ms)
        now = time.monotonic_ns()
        self._say(delay_ms, now)
        heapq.heappush(self._waiting, (now + delay_ms * 1_000_000, next(self._number), action))

    def wait_s(self, longest_s: float) -> float:
        """Until the next one is due."""
        if not self._waiting:
            return longest_s
        return min(longest_s, max(0.0, (self._waiting[0][0] - time.monotonic_ns()) / 1e9))

    def run_due(self) -> None:
        """Do what is due."""
        now = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now:
            heapq.heappop(self._waiting)[2]()

    def _say(self, delay_ms: int, now: int) -> None:
        if now - self._said.get(delay_ms, -_QUIET_NS) < _QUIET_NS:
            return
        self._said[delay_ms] = now
        self._logger.warning(
            "%s: the broker refused a message (a full queue, or nothing is bound to its key); "
            "it is sent again in %d ms",
            self._step,
            delay_ms,
        )
