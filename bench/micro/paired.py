"""Compares two things that take time by pairs: small batches in turn, so that drift cancels out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import binom

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Comparison:
    """Median times of subject and floor in ``unit``, and the median of their ratios by pairs.

    ``low`` and ``high`` bound the ratio's median at ``LEVEL``, as far as the pairs suffice.
    """

    subject: float
    floor: float
    unit: str
    ratio: float
    low: float
    high: float
    pairs: int

    def document(self) -> dict[str, Any]:
        """For pytest-benchmark's ``extra_info``."""
        return {
            "subject": self.subject,
            "floor": self.floor,
            "unit": self.unit,
            "ratio": self.ratio,
            "ratio_low": self.low,
            "ratio_high": self.high,
            "pairs": self.pairs,
        }


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Order statistics that enclose the median with at least ``LEVEL`` confidence.

    The number of values below the median is binomial (the sign test turned around; Conover,
    Practical Nonparametric Statistics, 3.2). With fewer than six values the extremes are given,
    whose confidence is lower.
    """
    ordered = sorted(values)
    rank = int(binom.ppf((1 - LEVEL) / 2, len(ordered), 0.5))
    index = max(0, rank - 1)
    return ordered[index], ordered[-1 - index]


def compare(subject: Sequence[float], floor: Sequence[float], unit: str) -> Comparison:
    """The comparison of times that were taken in pairs."""
    ratios = [one / other for one, other in zip(subject, floor, strict=True)]
    low, high = median_interval(ratios)
    return Comparison(
        subject=statistics.median(subject),
        floor=statistics.median(floor),
        unit=unit,
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        pairs=len(ratios),
    )


def calls_us(call: Callable[[], object], batch_us: float = 2000.0) -> Callable[[], float]:
    """A way to time a call: microseconds per call, over a batch of about ``batch_us``."""
    count = 1
    while (taken := _batch_us(call, count)) < batch_us / 2:
        count = max(count + 1, round(count * min(10.0, batch_us / max(taken, 0.1))))
    return lambda: _batch_us(call, count) / count


def in_turn(
    benchmark: BenchmarkFixture,
    subject: Callable[[], float],
    floor: Callable[[], float],
    pairs: int,
) -> Comparison:
    """Compare two times in milliseconds by pairs, as rounds of a benchmark, after one to warm up.

    The comparison becomes the benchmark's ``extra_info``; its own time is that of a pair.
    """
    random = Random(1)
    times: tuple[list[float], list[float]] = ([], [])

    def pair() -> None:
        for which in random.sample((0, 1), 2):
            times[which].append((subject, floor)[which]())

    benchmark.pedantic(pair, rounds=pairs, warmup_rounds=1)  # type: ignore[no-untyped-call]
    comparison = compare(times[0][1:], times[1][1:], "ms")
    benchmark.extra_info.update(comparison.document())
    return comparison


def compare_calls(
    subject: Callable[[], object], floor: Callable[[], object], pairs: int = 60
) -> Comparison:
    """Compare two calls that take microseconds."""
    random = Random(1)
    timed = (calls_us(subject), calls_us(floor))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        for which in random.sample((0, 1), 2):
            times[which].append(timed[which]())
    return compare(*times, "us")


def _batch_us(call: Callable[[], object], count: int) -> float:
    before = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - before) / 1000
