"""Lays what the suite recorded of each hop beside what was on the wire, message by message.

What there is of one hop, in the order in which it happens (``*`` is on the wire):

====================== ============================================================================
``*`` emit beacon      a datagram, the component's last act before it emits
emit                   the suite: ``emit`` was called
``*`` publish          the last packet of ``basic.publish``, as it leaves the sender
handed to the socket   the suite: the write has returned
``*`` deliver          the last packet of ``basic.deliver``, as it leaves the broker
delivered              the suite: its last bytes were read from the socket
process entry          the suite: ``process`` is called
``*`` entry beacon     a datagram, the component's first act
====================== ============================================================================

The hop (emit to process entry) has its counterpart between the two beacons: they enclose it, and
what they add is the time of one system call. A message's first packet leaves while the sender is
inside of ``write``, on Linux often together with the receiver's part of the network stack, so
"publish" comes before "handed to the socket" by most of that call; "delivered" comes after
"deliver" by what it takes to wake the receiver and read. Both are inside the hop, and the
packets show their sum, but neither end of transit is an instant that a network can see.

So what is held to a bound is the hop. For its parts it is asked that every instant of the suite
lies between the packets that come before and after it. Hop 0, from the load generator, has no emit
beacon, and so no counterpart as a whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.rundir import SpanTable
from reports.trials import Trial
from runtime.spans import EMIT, LOAD_STEP, PROCESS, SEND
from tests.wire.packets import Sighting, Traffic

Ints = npt.NDArray[np.int64]
EMITTED, HANDED, DELIVERED, ENTERED = range(4)
NO_BEACON = -1
BOUND_SHARE = 0.05
BOUND_NS = 50_000
"""Suite and packets may differ by the larger of this share of the p50 and this."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of every warm execution; the last axis is the execution, the first the instant.

    ``suite`` holds EMITTED, HANDED, DELIVERED, ENTERED; ``wire`` emit beacon, last publish packet,
    last deliver packet, entry beacon; nanoseconds of CLOCK_MONOTONIC.
    """

    index: int
    suite: Ints
    wire: Ints

    def difference_ns(self, start: int, end: int) -> Ints:
        """For each message: the interval by the suite less the same by the packets."""
        own: Ints = self.suite[end] - self.suite[start]
        seen: Ints = self.wire[end] - self.wire[start]
        return own - seen

    def misplaced(self, slack_ns: int) -> dict[str, int]:
        """Of how many messages an instant of the suite is not where its packets allow it to be."""
        emitted, handed, delivered, entered = self.suite
        emit_beacon, published, sent_on, entry_beacon = self.wire
        wrong = {
            "emit before its beacon": emitted - emit_beacon,
            "emit after its message left": published - emitted,
            "handed to the socket before the message left": handed - published,
            "delivered before the broker sent it": delivered - sent_on,
            "process entry before delivery": entered - delivered,
            "process entry after its beacon": entry_beacon - entered,
        }
        if not self.index:
            del wrong["emit before its beacon"]
        return {what: int((gap_ns < -slack_ns).sum()) for what, gap_ns in wrong.items()}


@dataclass(frozen=True, slots=True)
class Agreement:
    """One hop by the suite and by the packets, medians in nanoseconds.

    ``difference_ns`` is the median of what each message's two figures differ by. ``wake_ns`` is the
    median from the broker's last packet to "delivered", ``write_ns`` from the sender's last packet
    to "handed to the socket": what transit has and lacks beside the time between those packets.
    """

    index: int
    messages: int
    suite_ns: float
    wire_ns: float
    difference_ns: float
    wake_ns: float
    write_ns: float

    @property
    def limit_ns(self) -> float:
        """What the two may differ by."""
        return max(BOUND_SHARE * self.suite_ns, BOUND_NS)

    @property
    def holds(self) -> bool:
        """Whether they agree, by the median of the differences of the same messages.

        Not by the difference of the medians: two medians of a few hundred messages on a busy
        machine may be further apart than any of these messages' own two figures.
        """
        return abs(self.difference_ns) <= self.limit_ns

    def __str__(self) -> str:
        return (
            f"hop {self.index}, {self.messages} messages: p50 {self.suite_ns / 1e3:.1f} us by the "
            f"suite, {self.wire_ns / 1e3:.1f} us by the packets, median difference "
            f"{self.difference_ns / 1e3:+.1f} us, limit {self.limit_ns / 1e3:.1f} us; packet to "
            f"delivered {self.wake_ns / 1e3:.1f} us, packet to handed {self.write_ns / 1e3:.1f} us"
        )


def agreement(hop: Hop) -> Agreement:
    """Compare a hop, from emit to process entry, with the time between its two beacons."""
    return Agreement(
        index=hop.index,
        messages=hop.suite.shape[1],
        suite_ns=float(np.median(hop.suite[ENTERED] - hop.suite[EMITTED])),
        wire_ns=float(np.median(hop.wire[ENTERED] - hop.wire[EMITTED])),
        difference_ns=float(np.median(hop.difference_ns(EMITTED, ENTERED))),
        wake_ns=float(np.median(hop.suite[DELIVERED] - hop.wire[DELIVERED])),
        write_ns=float(np.median(hop.suite[HANDED] - hop.wire[HANDED])),
    )


@dataclass(frozen=True, slots=True)
class Census:
    """How often the wire and the suite saw each message of each hop: ``(hop, message)``."""

    published: Counter[tuple[int, int]]
    delivered: Counter[tuple[int, int]]
    sent: Counter[tuple[int, int]]
    handled: Counter[tuple[int, int]]


def census(spans: SpanTable, traffic: Traffic, exchange: str) -> Census:
    """Count the messages of a trial on both sides. The wire's hop is that of the routing key."""
    ours = [one for one in traffic.sightings if one.exchange == exchange]
    emitted = np.isin(spans.kind, (SEND, EMIT))
    handled = spans.kind == PROCESS
    sources = np.where(spans.step == LOAD_STEP, 0, spans.step.astype(np.int64) + 1)
    return Census(
        published=Counter((_hop(o), o.message) for o in ours if o.method == "publish"),
        delivered=Counter((_hop(o), o.message) for o in ours if o.method == "deliver"),
        sent=_count(sources[emitted], spans.message[emitted]),
        handled=_count(spans.step[handled], spans.message[handled]),
    )


def hops(trial: Trial, spans: SpanTable, traffic: Traffic, offset_ns: int) -> tuple[Hop, ...]:
    """Every hop of a trial's warm executions. ``offset_ns``: wall clock less monotonic clock."""
    rows = trial.executions
    warm = np.flatnonzero(~rows.cold)
    traces = [int(trace) for trace in rows.trace[warm]]
    ids = {
        (int(step), int(trace)): int(message)
        for kind, step, trace, message in zip(
            spans.kind, spans.step, spans.trace, spans.message, strict=True
        )
        if kind == PROCESS
    }
    published = {o.message: o.last_ns for o in traffic.sightings if o.method == "publish"}
    delivered = {o.message: o.last_ns for o in traffic.sightings if o.method == "deliver"}
    beacons = {(b.what, b.step, b.trace): b.at_ns for b in traffic.beacons}
    found = []
    for k in range(rows.step_count):
        source = rows.send if k == 0 else rows.outputs[k - 1]
        suite = np.stack(
            [source[1, warm], source[2, warm], rows.inputs[k, 0, warm], rows.inputs[k, 1, warm]]
        )
        messages = [ids[k, trace] for trace in traces]
        seen = [
            [NO_BEACON if k == 0 else beacons["emit", k - 1, trace] for trace in traces],
            [published[message] for message in messages],
            [delivered[message] for message in messages],
            [beacons["entry", k, trace] for trace in traces],
        ]
        wire = np.array(seen, dtype=np.int64) - offset_ns
        found.append(Hop(k, suite.astype(np.int64), wire))
    return tuple(found)


def _hop(sighting: Sighting) -> int:
    """A routing key is the step's index and id; errors have a key that is none of these."""
    number = sighting.key.partition(".")[0]
    return int(number) if number.isdecimal() else -1


def _count(hop: npt.NDArray[Any], message: npt.NDArray[np.uint64]) -> Counter[tuple[int, int]]:
    return Counter((int(k), int(one)) for k, one in zip(hop, message, strict=True))
