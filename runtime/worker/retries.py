"""What the broker refused and this worker tries again: after a delay that doubles, up to a bound.

Loaded when something is first refused. Meanwhile the input of what waits here stays
unacknowledged, and the worker's thread is inside of the broker's loop, where heartbeats are
answered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from runtime.worker.settings import Settings

_MOST_DOUBLINGS = 32


class Retries:
    """Actions that are due some time, in no order: there are few."""

    def __init__(self, settings: Settings, logger: logging.Logger) -> None:
        self._first_ms = settings.retry_delay_ms
        self._longest_ms = settings.retry_longest_ms
        self._step = settings.step
        self._logger = logger
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def add(self, attempt: int, action: Callable[[], None]) -> None:
        """Do something later, for the ``attempt``-th time (from 0)."""
        doubled_ms = self._first_ms << min(attempt, _MOST_DOUBLINGS)
        delay_ms = min(doubled_ms, self._longest_ms)
        self._logger.warning(
            "%s: the broker refused a message (a full queue, or nothing is bound to its key); "
            "it is sent again in %d ms",
            self._step,
            delay_ms,
        )
        self._waiting.append((time.monotonic_ns() + delay_ms * 1_000_000, action))

    def wait_s(self, longest_s: float) -> float:
        """Until the next one is due."""
        if not self._waiting:
            return longest_s
        next_ns = min(due_ns for due_ns, _ in self._waiting)
        return min(longest_s, max(0.0, (next_ns - time.monotonic_ns()) / 1e9))

    def run_due(self) -> None:
        """Do what is due."""
        now = time.monotonic_ns()
        due = [action for due_ns, action in self._waiting if due_ns <= now]
        if due:
            self._waiting = [one for one in self._waiting if one[0] > now]
            for action in due:
                action()
