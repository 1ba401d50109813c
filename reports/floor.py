"""The machine's floor as figures, and whether it moved between before and after the trials.

A floor is one batch of observations. The intervals of its quantiles are those of order statistics,
which hold whatever the distribution (H. A. David and H. N. Nagaraja, "Order Statistics", 2003,
section 7.1). That of the ratio of two medians puts the two together on the logarithm, side by side
(G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures", 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from reports.machine_records import FloorRecord
from reports.render.numbers import batches, plain, quantity, reading
from reports.stats import CONFIDENCE, can_give, quantile

MOVED_LIMIT = 1.25
"""A median hop after the run that is so many times that before it, or back, has moved."""
MEMBERS = {
    "broker_hop": ("broker_hop_ms", "ms", 1_000_000, "messages"),
    "loopback_tcp": ("loopback_tcp_us", "us", 1_000, "round trips"),
    "scheduling_jitter": ("scheduling_jitter_us", "us", 1_000, "sleeps"),
}
"""Figure: its member of a FLOOR, its unit, that in nanoseconds, and what was observed."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Floats = npt.NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FloorHops:
    """Median of the bare broker hop in ms, before and after the trials; None where not taken."""

    before_ms: float | None
    after_ms: float | None

    def median_ms(self) -> float | None:
        """The middle of those that were taken."""
        taken = [ms for ms in (self.before_ms, self.after_ms) if ms is not None]
        return sum(taken) / len(taken) if taken else None


@dataclass(frozen=True, slots=True)
class Moved:
    """The median hop after the run over that before it; ``moved`` is None where it is not known."""

    ratio: float | None
    low: float | None
    high: float | None
    moved: bool | None
    observations: int

    def words(self) -> str:
        """What happened to the floor, for a reader who must know it; empty where it stayed."""
        if self.moved is not True or self.ratio is None:
            return ""
        shown = reading(
            self.ratio, self.low, self.high, "x", of=batches(2, self.observations), why="unsampled"
        )
        return (
            f"the machine's floor moved during the run: the bare broker hop took "
            f"{plain(shown.words())} as long after it as before it; the limit is "
            f"{plain(quantity(MOVED_LIMIT, 'x'))}, or its reciprocal"
        )


def floor_hops(floor: FloorRecord | None) -> FloorHops:
    """The medians of the bare broker hop, from the samples where they were kept."""
    sides = [_stat("broker_hop", side) for side in _sides(floor)]
    medians = [side["p50"] if side else None for side in sides]
    return FloorHops(*(ms if ms is not None and ms > 0 else None for ms in medians))


def floor_figures(floor: FloorRecord | None) -> Json:
    """For each figure of the floor a STAT before and after, None where it was not taken."""
    before, after = _sides(floor)
    found: Json = {
        name: {"before": _stat(name, before), "after": _stat(name, after)} for name in MEMBERS
    }
    found["timer_resolution"] = {"before": _timer(before), "after": _timer(after)}
    return found


def moved(floor: FloorRecord | None) -> Moved:
    """Whether the bare hop's median left the limits, by more than its interval explains."""
    before, after = (_stat("broker_hop", side) for side in _sides(floor))
    hops = floor_hops(floor)
    if before is None or after is None or hops.before_ms is None or hops.after_ms is None:
        return Moved(None, None, None, None, 0)
    ratio = hops.after_ms / hops.before_ms
    count = int(before["messages"] + after["messages"])
    low, high = _ratio_bounds(ratio, before, after)
    if 1 / MOVED_LIMIT <= ratio <= MOVED_LIMIT:
        return Moved(ratio, low, high, False, count)
    by_chance = low is not None and high is not None and low <= 1 <= high
    return Moved(ratio, low, high, None if by_chance else True, count)


def quantile_bounds(ordered: Floats, p: float) -> tuple[float, float] | None:
    """95 % interval of quantile ``p`` of sorted, independent values; None where too few are."""
    tail = (1 - CONFIDENCE) / 2
    at_most = special.bdtr(np.arange(ordered.size), ordered.size, p)
    # P(quantile < x[k]) is the chance that at most k values lie below it.
    low = int(np.searchsorted(at_most, tail, side="right")) - 1
    high = int(np.searchsorted(at_most, 1 - tail))  # x[high] is the first that is enough
    if low < 0 or high >= ordered.size:
        return None
    return float(ordered[low]), float(ordered[high])


def _ratio_bounds(ratio: float, before: Json, after: Json) -> tuple[float | None, float | None]:
    bounds = [before["p50_low"], before["p50_high"], after["p50_low"], after["p50_high"]]
    if any(bound is None or bound <= 0 for bound in bounds):
        return None, None
    down = math.hypot(
        math.log(after["p50"] / after["p50_low"]), math.log(before["p50_high"] / before["p50"])
    )
    up = math.hypot(
        math.log(after["p50_high"] / after["p50"]), math.log(before["p50"] / before["p50_low"])
    )
    return ratio * math.exp(-down), ratio * math.exp(up)


def _sides(floor: FloorRecord | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if floor is None:
        return {}, {}
    return floor.before or {}, floor.after or {}


def _stat(name: str, side: Mapping[str, Any]) -> Json | None:
    member, unit, unit_ns, of = MEMBERS[name]
    stored = side.get(member)
    if not stored:
        return None
    found: Json = {"unit": unit, "starts": 1, "of": of, "basis": "batch"}
    samples_ns = stored.get("samples_ns")
    if not samples_ns:
        # Runs of before the samples were kept: the figures as they were stored, without intervals.
        given = {key: stored.get(key) for key in QUANTILES}
        bounds = dict.fromkeys(f"{key}_{end}" for key in QUANTILES for end in ("low", "high"))
        rest = {"messages": stored.get("n") or 0, "basis": "unsampled"}
        return found | given | bounds | rest
    ordered = np.sort(np.asarray(samples_ns, dtype=np.float64)) / unit_ns
    for key, p in QUANTILES.items():
        given_ = can_give(ordered.size, p)
        ends = quantile_bounds(ordered, p) if given_ else None
        found[key] = quantile(ordered, p) if given_ else None
        found[f"{key}_low"], found[f"{key}_high"] = ends or (None, None)
    return found | {
        "min": float(ordered[0]), "max": float(ordered[-1]), "messages": int(ordered.size),
    }  # fmt: skip


def _timer(side: Mapping[str, Any]) -> Json | None:
    """The timer's smallest step: a least, which has no interval."""
    value = side.get("timer_resolution_ns")
    if value is None:
        return None
    return {
        "value": value, "low": None, "high": None, "unit": "ns", "starts": 1,
        "messages": side.get("timer_reads"), "of": "readings", "basis": "least",
    }  # fmt: skip
