"""How the load generators kept to their schedule: figures from the raw spans, and what is too bad.

Figures of several generators are those of their sends taken together, beside each one's own: they
are never made of figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.generators import GENERATOR
from runtime.spans import SEND
from runtime.spool import DTYPE, Records

LAG_LIMIT_MS = 50.0
RATE_LIMIT = 0.99
WAKING_MS = 5.0
CPU_LIMIT = 0.8
"""Share of a core from which on a generator cannot be trusted to be where its schedule is: a
process that wakes that often is late by more than it shows, and has nothing left for a burst."""
CPU_LEAST_S = 1.0
"""A shorter load says too little of the CPU that it takes: its lag is judged all the same."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a schedule, or a generator's share of it, was kept. Lag: actual minus intended send.

    ``cpu_s`` is the CPU time of ``ran_s``; both are None where the generator did not come to say.
    """

    name: str
    sent: int
    target_rate_hz: float
    achieved_rate_hz: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    cpu_s: float | None
    ran_s: float | None

    @property
    def cpu_share(self) -> float | None:
        """CPU seconds per second, of one core."""
        return self.cpu_s / self.ran_s if self.cpu_s is not None and self.ran_s else None

    def as_json(self) -> dict[str, object]:
        """For trial.json (docs/formats.md)."""
        return {
            "target_rate_hz": self.target_rate_hz,
            "achieved_rate_hz": self.achieved_rate_hz,
            "lag_p50_ms": self.lag_p50_ms,
            "lag_p99_ms": self.lag_p99_ms,
            "lag_max_ms": self.lag_max_ms,
            "cpu_s": self.cpu_s or 0.0,
            "cpu_share": self.cpu_share,
        }


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The pace of the whole schedule, and of each generator's share."""

    whole: Pace
    generators: tuple[Pace, ...]

    def as_json(self) -> dict[str, object]:
        """For trial.json; the CPU share of the whole is that of the busiest generator."""
        shares = [one.cpu_share for one in self.generators if one.cpu_share is not None]
        return {
            **self.whole.as_json(),
            "cpu_share": max(shares, default=None),
            "generators": [
                {"name": one.name, "sent": one.sent, **one.as_json()} for one in self.generators
            ],
        }


@dataclass(frozen=True, slots=True)
class Share:
    """What one generator did: its records, and what it said of its CPU time."""

    label: str
    records: Records
    cpu_s: float | None
    ran_s: float | None


def load_figures(shares: Sequence[Share], *, target_rate_hz: float) -> LoadFigures:
    """The figures of a trial's load. ``target_rate_hz`` stands in where too little was sent."""
    apart = tuple(
        pace(one.records, one.label, target_rate_hz, one.cpu_s, one.ran_s) for one in shares
    )
    merged = np.concatenate([np.empty(0, dtype=DTYPE), *(one.records for one in shares)])
    known = [one for one in shares if one.cpu_s is not None and one.ran_s is not None]
    cpu_s = sum(one.cpu_s or 0.0 for one in known) if known else None
    ran_s = max((one.ran_s or 0.0 for one in known), default=None)
    return LoadFigures(pace(merged, GENERATOR, target_rate_hz, cpu_s, ran_s), apart)


def pace(
    records: Records,
    name: str,
    target_rate_hz: float,
    cpu_s: float | None = None,
    ran_s: float | None = None,
) -> Pace:
    """Schedule lag and achieved rate, from the SEND spans in the order of their intended instants.

    The target rate is that of the schedule itself: messages over the time that it spans.
    """
    sends = records[records["kind"] == SEND]
    sends = sends[np.argsort(sends["t0_ns"], kind="stable")]
    lag_ms: NDArray[np.float64] = (sends["t1_ns"] - sends["t0_ns"]) / 1e6
    achieved_hz = target_rate_hz
    if len(sends) > 1:
        planned_s = float(sends["t0_ns"][-1] - sends["t0_ns"][0]) / 1e9
        taken_s = float(sends["t1_ns"].max() - sends["t1_ns"][0]) / 1e9
        target_rate_hz = (len(sends) - 1) / planned_s
        achieved_hz = (len(sends) - 1) / taken_s
    lags = lag_ms if len(lag_ms) else np.zeros(1)
    return Pace(
        name=name,
        sent=len(sends),
        target_rate_hz=target_rate_hz,
        achieved_rate_hz=achieved_hz,
        lag_p50_ms=float(np.quantile(lags, 0.5)),
        lag_p99_ms=float(np.quantile(lags, 0.99)),
        lag_max_ms=float(lags.max()),
        cpu_s=cpu_s,
        ran_s=ran_s,
    )


def complaints(load: LoadFigures) -> list[str]:
    """Why an open loop was none; each begins with what :data:`GENERATOR` says.

    Each generator is judged by itself, since the whole hides one of several that lags, and the
    whole where it is more than one.
    """
    found = [reason for one in load.generators for reason in (*_late(one), *_busy(one))]
    if len(load.generators) > 1:
        found += _late(load.whole)
    return found


def _late(one: Pace) -> list[str]:
    found = []
    planned_s = (one.sent - 1) / one.target_rate_hz
    taken_s = (one.sent - 1) / one.achieved_rate_hz
    # Of a schedule of a few messages, one late waking of a process is more than a hundredth.
    behind_ms = 1e3 * (taken_s - planned_s)
    if taken_s * RATE_LIMIT > planned_s and behind_ms > WAKING_MS:
        found.append(
            f"{one.name} reached {one.achieved_rate_hz:.1f} messages a second {_of(one)} where "
            f"{one.target_rate_hz:.1f} messages a second were due"
        )
    if one.lag_p99_ms > LAG_LIMIT_MS:
        found.append(f"{one.name} was late by {one.lag_p99_ms:.1f} ms {_of(one)} at p99")
    return found


def _busy(one: Pace) -> list[str]:
    share = one.cpu_share
    if share is None or one.ran_s is None or one.ran_s < CPU_LEAST_S or share <= CPU_LIMIT:
        return []
    limit = f"limit {100 * CPU_LIMIT:.0f} %; share the schedule among more (load.processes)"
    return [f"{one.name} used {100 * share:.0f} % {_of(one)} of a core, {limit}"]


def _of(one: Pace) -> str:
    """What a figure of one trial rests on, as reports write it."""
    return f"(no interval: fewer than 3 starts; 1 start, {one.sent} messages)"
