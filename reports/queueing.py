"""Little's law at every queue and step of a trial, and how long a message waits and is served.

For each step two systems are looked at. Its **queue**: a message enters when the sender emits it,
and leaves when the step has it in hand. (That the socket has all of it is known only when the write
has returned, which can be after the delivery.) Its **step**: the same entry, and the exit is the
acknowledgement. In a window of time, L is the time average of the number inside, integrated
from all entries and exits as they were recorded, whether they match or not; lambda is the number of
entries over the window; W is the mean time from entry to exit of those that entered in it, from
records that match by message. J. Little, "A Proof for the Queuing Formula: L = lambda W", 1961.

In a finite window L and lambda W differ by what was inside at its two ends (J. Little and S.
Graves, "Little's Law", in "Building Intuition", 2008, section 5.2.3: they are equal where the
window begins and ends empty). These ends are computed too: what they leave unexplained is a
contradiction between the records, such as a message that never left, or was handled twice.
The window begins when the last cold execution has ended, and ends with the last send.

A message waits while its step holds another one (prefetch 1); what else there is of its time in the
queue is transport: into the socket, the network, the broker, and the handing over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.executions import Executions
from reports.rundir import SpanTable
from runtime.spans import EMIT, OK, PROCESS, SEND, UNSETTLED

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

NS_PER_MS = 1e6
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True)
class Law:
    """Little's law of one system in one trial: mean number inside, and mean time in it.

    ``ends`` is by how much the number inside must differ from lambda W for what was inside at the
    window's ends; ``unmatched`` counts entries without an exit, and exits without an entry.
    """

    inside: float
    arrivals_per_s: float
    time_ms: float
    ends: float
    unmatched: int

    @property
    def expected(self) -> float:
        """Lambda W: the number inside that follows from arrivals and times."""
        return self.arrivals_per_s * self.time_ms / 1e3

    @property
    def difference(self) -> float:
        """L - lambda W, as a share of lambda W."""
        return (self.inside - self.expected) / self.expected

    @property
    def unexplained(self) -> float:
        """What the ends of the window do not explain of the difference, as a share."""
        return (self.inside - self.expected - self.ends) / self.expected


@dataclass(frozen=True, slots=True)
class Station:
    """One step in one trial. ``waiting_ms`` is a part of the time in the queue."""

    queue: Law
    step: Law
    waiting_ms: float
    service_ms: float
    arrivals: int

    @property
    def utilisation(self) -> float:
        """Lambda times service time: the share of time in which the step holds a message."""
        return self.queue.arrivals_per_s * self.service_ms / 1e3


@dataclass(frozen=True, slots=True)
class _Window:
    """Instants are counted from its begin, so that floats hold them to the nanosecond."""

    begin_ns: int
    end_ns: int

    @property
    def length(self) -> float:
        return float(self.end_ns - self.begin_ns)

    def from_begin(self, instants_ns: Ints) -> Floats:
        """Nanoseconds after the window's begin."""
        after: Floats = (instants_ns - self.begin_ns).astype(np.float64)
        return after

    def area(self, entries: Floats, exits: Floats) -> float:
        """Integral of the number inside, in messages times ns: entries so far less exits so far.

        An exit that never came is at infinity.
        """
        stay_in = self.length - entries.clip(0, self.length)
        stay_out = self.length - exits.clip(0, self.length)
        return float(stay_in.sum() - stay_out.sum())


def observe(spans: SpanTable, executions: Executions) -> tuple[Station | None, ...]:
    """Every step of a realtime trial; None for one at which too little was seen."""
    steps = executions.step_count
    window = _window(spans, executions)
    if window is None:
        return (None,) * steps
    accepted = (spans.outcome == OK) | (spans.outcome == UNSETTLED)
    sends = np.flatnonzero((spans.kind == SEND) & accepted)
    emits = np.flatnonzero((spans.kind == EMIT) & accepted)
    inputs = np.flatnonzero(spans.kind == PROCESS)
    emitting, handling = spans.step[emits], spans.step[inputs]
    return tuple(
        _station(
            spans,
            emits[emitting == k - 1] if k else sends,
            inputs[handling == k],
            window,
        )
        for k in range(steps)
    )


def _window(spans: SpanTable, executions: Executions) -> _Window | None:
    sent_ns = spans.t1_ns[spans.kind == SEND]
    if not sent_ns.size:
        return None
    cold_ns = executions.inputs[-1, 2, executions.cold]
    begin_ns = int(cold_ns.max()) if cold_ns.size else int(sent_ns.min())
    end_ns = int(sent_ns.max())
    return _Window(begin_ns, end_ns) if end_ns > begin_ns else None


def _station(spans: SpanTable, came: Rows, took: Rows, window: _Window) -> Station | None:
    """A step whose inputs were sent in rows ``came`` and handled in rows ``took``."""
    entries = window.from_begin(spans.t1_ns[came])
    delivered = window.from_begin(spans.t0_ns[took])
    # An input that was never settled is still held.
    settled = spans.t3_ns[took] != 0
    acked = np.where(settled, window.from_begin(spans.t3_ns[took]), np.inf)
    arrivals = int(((entries >= 0) & (entries < window.length)).sum())
    into, out = _matched(spans.message[came], spans.message[took])
    inside = (entries[into] >= 0) & (entries[into] < window.length)
    if not (inside & settled[out]).any() or took.size == 0:
        return None
    queue = _law(entries, delivered, into, out, arrivals, window)
    step = _law(entries, acked, into[settled[out]], out[settled[out]], arrivals, window)
    if queue is None or step is None:
        return None
    served = inside & settled[out]
    waited = _waited(entries[into[inside]], delivered[out[inside]], delivered, acked)
    return Station(
        queue=queue,
        step=step,
        waiting_ms=float(waited.mean()) / NS_PER_MS,
        service_ms=float((acked[out[served]] - delivered[out[served]]).mean()) / NS_PER_MS,
        arrivals=arrivals,
    )


def _matched(came: npt.NDArray[np.uint64], took: npt.NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Positions of each entry and of the first exit of the same message, where there is one."""
    if came.size == took.size and (came == took).all():
        # A queue keeps their order, so this is the rule; sorting takes longer than all the rest.
        order = np.arange(came.size)
        return order, order
    by_entry = np.argsort(came, kind="stable")
    by_exit = np.argsort(took, kind="stable")
    if not took.size:
        return by_entry[:0], by_exit
    keys = came[by_entry]
    at = np.minimum(np.searchsorted(took[by_exit], keys), took.size - 1)
    found = took[by_exit][at] == keys
    # The same message entered twice has one exit.
    found[1:] &= keys[1:] != keys[:-1]
    return by_entry[found], by_exit[at[found]]


def _law(
    entries: Floats,
    exits: Floats,
    into: Rows,
    out: Rows,
    arrivals: int,
    window: _Window,
) -> Law | None:
    times = exits[out] - entries[into]
    inside = (entries[into] >= 0) & (entries[into] < window.length)
    if not inside.any() or times[inside].sum() <= 0:
        return None
    matched_area = window.area(entries[into], exits[out])
    return Law(
        inside=window.area(entries, exits) / window.length,
        arrivals_per_s=arrivals / window.length * NS_PER_S,
        time_ms=float(times[inside].mean()) / NS_PER_MS,
        ends=(matched_area - float(times[inside].sum())) / window.length,
        unmatched=int(entries.size + np.isfinite(exits).sum() - 2 * into.size),
    )


def _waited(entries: Floats, delivered: Floats, begins: Floats, ends: Floats) -> Floats:
    """For how much of each stay in the queue the step held another message.

    Nothing, where the sender was set aside and the delivery came before its emit was recorded.
    """
    entries = np.minimum(entries, delivered)
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], ends[order]
    last = np.maximum(delivered.max(initial=0.0), begins.max(initial=0.0))
    reached = np.maximum.accumulate(np.minimum(ends, last))
    free_from = np.concatenate([begins[:1], np.maximum(begins[1:], reached[:-1])])
    held = np.maximum(reached - free_from, 0.0)
    instants = np.stack([free_from, free_from + held], axis=1).ravel()
    after = np.cumsum(held)
    total = np.stack([after - held, after], axis=1).ravel()
    waited: Floats = np.interp(delivered, instants, total) - np.interp(entries, instants, total)
    return waited
