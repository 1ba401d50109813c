"""How often each step was called and how much it emitted, window by window: what leaks shows here.

A step whose calls leave something behind that goes on working, such as a listener, emits more and
more per call. Nothing needs to be known of the step for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.rundir import SpanTable
from reports.trend import MIN_POINTS, trend
from runtime.spans import EMIT, PROCESS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_WINDOWS = 20
CALLS_A_WINDOW = 3
GROWTH = 1.5
"""By which factor emits per call must have grown, last third over first, to be called a leak."""
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Activity:
    """Calls and emits of one step in equal windows, from its first emit to its last."""

    edges_ns: Ints
    calls: Ints
    emits: Ints

    @property
    def per_call(self) -> Floats:
        """Messages emitted per call, in each window that has a call."""
        seen = self.calls > 0
        ratio: Floats = self.emits[seen] / self.calls[seen]
        return ratio

    @property
    def growth(self) -> float:
        """By which factor it grew from the first third of the windows to the last."""
        per_call = self.per_call
        third = max(1, per_call.size // 3)
        first, last = per_call[:third].mean(), per_call[-third:].mean()
        return float(last / first) if first > 0 else 0.0

    @property
    def leaks(self) -> bool | None:
        """Whether it emits more and more per call; None where it was not watched long enough."""
        per_call = self.per_call
        found = trend(np.arange(per_call.size, dtype=np.float64), per_call)
        if found is None:
            return None
        return found.there and found.slope > 0 and self.growth >= GROWTH


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Every message that a step emitted and the next one was called with, in order of time.

    ``took_ms`` is from the emit to the entry. ``called_ns`` are the calls of the first step.
    """

    at_ns: Ints
    took_ms: Floats
    called_ns: Ints


def activities(spans: SpanTable, steps: int) -> tuple[Activity | None, ...]:
    """The activity of each step; None for one that emits nothing, or was hardly called."""
    return tuple(_activity(spans, step) for step in range(steps))


def deliveries(spans: SpanTable) -> Deliveries:
    """What went from step to step, message by message."""
    emits = np.flatnonzero(spans.kind == EMIT)
    inputs = np.flatnonzero(spans.kind == PROCESS)
    _, out, into = np.intersect1d(spans.message[emits], spans.message[inputs], return_indices=True)
    began, ended = spans.t1_ns[emits[out]], spans.t1_ns[inputs[into]]
    order = np.argsort(began, kind="stable")
    called_ns = np.sort(spans.t1_ns[inputs[spans.step[inputs] == 0]])
    return Deliveries(began[order], (ended - began)[order] / NS_PER_MS, called_ns)


def _activity(spans: SpanTable, step: int) -> Activity | None:
    of_step = spans.step == step
    emitted_ns = spans.t1_ns[of_step & (spans.kind == EMIT)]
    called_ns = spans.t1_ns[of_step & (spans.kind == PROCESS)]
    windows = min(MAX_WINDOWS, called_ns.size // CALLS_A_WINDOW)
    if not emitted_ns.size or windows < MIN_POINTS:
        return None
    first, last = int(emitted_ns.min()), int(emitted_ns.max())
    if last - first < windows:
        return None
    edges = np.linspace(0, last - first, windows + 1).astype(np.int64) + first
    counts = [np.histogram(at_ns, edges)[0] for at_ns in (called_ns, emitted_ns)]
    return Activity(edges, *(count.astype(np.int64) for count in counts))
