"""When each message is to be sent, and in which cell: decided before the first one goes out.

The schedule does not know how the system fares, which is what makes the load open-loop: latencies
counted from these instants include the time a message waited because the system was slow
(coordinated omission, G. Tene, "How NOT to Measure Latency").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from runtime.errors import InputError


class Arrival(NamedTuple):
    """One message: nanoseconds after the schedule's start, and the index of its cell."""

    offset_ns: int
    cell: int


def build_schedule(
    *,
    seed: int,
    arrivals: str,
    rate_hz: float,
    delays_ms: Sequence[float],
    messages_per_cell: int,
) -> tuple[Arrival, ...]:
    """Arrivals for ``messages_per_cell`` messages of each cell, cells in seeded random order.

    ``delays_ms`` has one entry a cell: the time its execution spends waiting for something outside,
    which is added to the gap that follows it, so that cells do not queue behind slow ones.
    ``constant`` gaps are ``1 / rate_hz``; ``poisson`` gaps are exponential with that mean.
    """
    if rate_hz <= 0 or messages_per_cell <= 0 or not delays_ms:
        raise InputError(
            "a schedule needs a positive rate, messages and at least one cell",
            remedy="Check the scenario's [load]",
        )
    generator = random.Random(seed)
    cells = [cell for cell in range(len(delays_ms)) for _ in range(messages_per_cell)]
    generator.shuffle(cells)
    schedule = []
    at_s = 0.0
    for cell in cells:
        schedule.append(Arrival(round(at_s * 1e9), cell))
        gap_s = generator.expovariate(rate_hz) if arrivals == "poisson" else 1.0 / rate_hz
        at_s += gap_s + delays_ms[cell] / 1e3
    return tuple(schedule)


def deal(schedule: Sequence[Arrival], part: int, parts: int) -> tuple[tuple[int, Arrival], ...]:
    """The share of one of several generators, each arrival with its number in the whole schedule.

    Arrivals are dealt in turn, so that all of them are busy all the time, and no arrival of the
    whole is lost, moved or sent twice.
    """
    if not 0 <= part < parts:
        raise InputError(f"there is no part {part} of {parts}", remedy="Parts count from 0")
    return tuple(enumerate(schedule))[part::parts]
