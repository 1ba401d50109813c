"""Calls triggers when they are due, by cron line or interval: one thread for all flows.

Intervals are counted on CLOCK_MONOTONIC from when they were added, so that setting the machine's
clock moves none of them, and lateness does not add up. A cron line names instants of the wall clock
in the scheduler's time zone. An instant that nobody was there for (the call before it took too
long, the machine slept) is counted as missed; of several that passed, the last is ticked, once.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count

from runtime.clock import now_ns
from runtime.cron import cron_instants
from runtime.errors import InputError, StateError
from runtime.flows import Trigger, TriggerKind

SCHEDULED = frozenset({TriggerKind.CRON, TriggerKind.INTERVAL})
"""The kinds of trigger that a scheduler calls."""

_LOOK_AGAIN_NS = 5_000_000_000
"""How long a cron line is left alone at most: the wall clock may have been set meanwhile."""
_SET_BACK = timedelta(seconds=1)
_MOST_COUNTED = 1_000
_KEPT = 1_000
_log = logging.getLogger("hopbench.scheduler")


@dataclass(frozen=True, slots=True)
class Tick:
    """One call of a trigger: the ``sequence``-th of its flow since it was added, from 1.

    ``due_ns`` and ``at_ns`` are CLOCK_MONOTONIC; ``due`` is the wall clock's reading, in UTC, for
    the instant it was due. ``missed`` instants passed without a tick just before this one.
    """

    sequence: int
    due: datetime
    due_ns: int
    at_ns: int
    missed: int

    def body(self) -> dict[str, int | str]:
        """What the trigger's message says of it."""
        return {
            "sequence": self.sequence,
            "time": self.due.isoformat(timespec="milliseconds"),
            "missed": self.missed,
        }


@dataclass(frozen=True, slots=True)
class TickCount:
    """What became of a flow's ticks. ``late_ns`` has the last thousand: tick minus due instant.

    ``failed`` calls came to nothing; ``error`` is what the last of them said. At most a thousand
    instants are counted as missed at a time: after that, a clock has been set.
    """

    ticks: int
    missed: int
    failed: int
    error: str | None
    late_ns: tuple[int, ...]


class Plan:
    """When one trigger is due. Knows no clock: it is told what both of them say."""

    def __init__(self, trigger: Trigger, zone: tzinfo, at_ns: int, wall: datetime) -> None:
        self.next_ns: int | None = None
        self._zone = zone
        self._sequence = 0
        self._instants: Iterator[datetime] = iter(())
        self._next: datetime | None = None
        if trigger.kind is TriggerKind.INTERVAL and trigger.every_s is not None:
            self._every_ns = round(trigger.every_s * 1e9)
            self._line = ""
            self.next_ns = at_ns + self._every_ns
        elif trigger.kind is TriggerKind.CRON and trigger.schedule is not None:
            self._line = trigger.schedule
            self._seen = wall
            self._restart(wall)
            self._look_again(at_ns, wall)
        else:
            raise InputError(
                f"a trigger of kind {trigger.kind.value!r} is not called by a clock",
                remedy="Give it a schedule, or an interval",
            )

    def take(self, at_ns: int, wall: datetime) -> Tick | None:
        """The tick that is due now, None where it is too early; and plan the next."""
        if self.next_ns is None or at_ns < self.next_ns:
            return None
        return self._take_cron(at_ns, wall) if self._line else self._take_interval(at_ns, wall)

    def _take_interval(self, at_ns: int, wall: datetime) -> Tick:
        assert self.next_ns is not None
        missed = (at_ns - self.next_ns) // self._every_ns
        due_ns = self.next_ns + missed * self._every_ns
        self.next_ns = due_ns + self._every_ns
        return self._tick(wall - _microseconds(at_ns - due_ns), due_ns, at_ns, missed)

    def _take_cron(self, at_ns: int, wall: datetime) -> Tick | None:
        if wall < self._seen - _SET_BACK:
            self._restart(wall)
        self._seen = wall
        due, passed = None, 0
        while self._next is not None and self._next <= wall and passed < _MOST_COUNTED:
            due, passed = self._next, passed + 1
            self._next = next(self._instants, None)
        if self._next is not None and self._next <= wall:
            # The clock has been set forward: there is no telling how late this one is.
            due = wall
            self._restart(wall)
        self._look_again(at_ns, wall)
        if due is None:
            return None
        due_ns = at_ns - (wall - due) // timedelta(microseconds=1) * 1_000
        return self._tick(due, due_ns, at_ns, passed - 1)

    def _tick(self, due: datetime, due_ns: int, at_ns: int, missed: int) -> Tick:
        self._sequence += 1
        return Tick(self._sequence, due, due_ns, at_ns, missed)

    def _restart(self, wall: datetime) -> None:
        self._instants = cron_instants(self._line, wall.astimezone(self._zone))
        self._next = next(self._instants, None)

    def _look_again(self, at_ns: int, wall: datetime) -> None:
        self.next_ns = None
        if self._next is not None:
            wait_ns = (self._next - wall) // timedelta(microseconds=1) * 1_000 + 1_000
            self.next_ns = at_ns + min(wait_ns, _LOOK_AGAIN_NS)


class _Entry:
    """A flow's trigger: its plan, whom to call, and what became of its ticks."""

    def __init__(self, plan: Plan, call: Callable[[Tick], None]) -> None:
        self.plan = plan
        self.call = call
        self.removed = False
        self.late_ns: deque[int] = deque(maxlen=_KEPT)
        self.ticks = self.missed = self.failed = 0
        self.error: str | None = None

    def counted(self) -> TickCount:
        """As it is now."""
        late_ns = tuple(self.late_ns)
        return TickCount(self.ticks, self.missed, self.failed, self.error, late_ns)


class Scheduler:
    """Ticks flows from a thread of its own, from when they are added until they are removed.

    What it calls must only hand the tick over: while it runs, all other ticks wait. What it raises
    is counted as failed and logged; the next tick comes when it is due. Thread-safe.
    """

    def __init__(self, *, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, int, _Entry]] = []
        self._serials = count()
        self._calling: _Entry | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._has_begun = False

    def add(self, flow: str, trigger: Trigger, call: Callable[[Tick], None]) -> None:
        """Tick a flow from now on; an interval's first tick comes after its length.

        Raises StateError where it is ticked already, InputError for a trigger without a clock.
        """
        entry = _Entry(Plan(trigger, self._zone, now_ns(), datetime.now(UTC)), call)
        with self._changed:
            if self._closed or flow in self._entries:
                what = "the scheduler is closed" if self._closed else "it is ticked already"
                raise StateError(what, where=f"flow {flow}", remedy="Stop the flow first")
            self._entries[flow] = entry
            self._push(entry)
            self._changed.notify_all()
            if not self._has_begun:
                self._thread.start()
                self._has_begun = True

    def remove(self, flow: str) -> TickCount | None:
        """Tick a flow no more; None where it was not. No call for it is under way on return.

        So who removes must hold no lock that the call needs; the call itself may remove.
        """
        with self._changed:
            entry = self._entries.pop(flow, None)
            if entry is None:
                return None
            entry.removed = True
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(lambda: self._calling is not entry)
            return entry.counted()

    def count(self, flow: str) -> TickCount | None:
        """What became of a flow's ticks so far; None where it is not ticked."""
        with self._changed:
            entry = self._entries.get(flow)
            return None if entry is None else entry.counted()

    def count_failure(self, flow: str, error: str) -> None:
        """A tick came to nothing after its call had returned."""
        with self._changed:
            entry = self._entries.get(flow)
            if entry is not None:
                entry.failed += 1
                entry.error = error

    def close(self) -> None:
        """End the thread; no call is under way on return. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._has_begun and threading.current_thread() is not self._thread:
            self._thread.join()

    def _push(self, entry: _Entry) -> None:
        if entry.plan.next_ns is not None:
            heapq.heappush(self._heap, (entry.plan.next_ns, next(self._serials), entry))

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            entry, tick = due
            error: str | None = None
            try:
                entry.call(tick)
            except Exception as raised:  # noqa: BLE001  # the other flows' ticks must go on
                error = f"{type(raised).__name__}: {raised}"
                _log.exception("tick %d was not taken", tick.sequence)
            with self._changed:
                if error is not None:
                    entry.failed += 1
                    entry.error = error
                self._calling = None
                self._changed.notify_all()

    def _wait(self) -> tuple[_Entry, Tick] | None:
        """Wait for the next tick and mark it as being called; None when it is time to end."""
        with self._changed:
            while not self._closed:
                while self._heap and self._heap[0][2].removed:
                    heapq.heappop(self._heap)
                wait_s = (self._heap[0][0] - now_ns()) / 1e9 if self._heap else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                entry = heapq.heappop(self._heap)[2]
                tick = entry.plan.take(now_ns(), datetime.now(UTC))
                self._push(entry)
                if tick is not None:
                    entry.ticks += 1
                    entry.missed += tick.missed
                    entry.late_ns.append(tick.at_ns - tick.due_ns)
                    self._calling = entry
                    return entry, tick
            return None


def _microseconds(ns: int) -> timedelta:
    return timedelta(microseconds=ns // 1_000)
