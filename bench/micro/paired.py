"""Compares two things that take time by pairs: small batches in turn, so that drift cancels out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import binom

LEVEL = 0.95
T = TypeVar("T")
Timed = Callable[[], float]
"""Does something once, and returns how long it took."""
TimedParts = Callable[[], Mapping[str, float]]
"""Does something once, and returns how long each of its parts took."""


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


def compare_starts(starts: Sequence[Comparison]) -> Comparison:
    """What comparisons of several starts come to: the median of their ratios, and its interval.

    A start's pairs share its luck (placement in memory, which core, how connections were opened):
    an interval from the pairs of one start says nothing of the next one.
    """
    ratios = [start.ratio for start in starts]
    low, high = median_interval(ratios)
    return Comparison(
        subject=statistics.median(start.subject for start in starts),
        floor=statistics.median(start.floor for start in starts),
        unit=starts[0].unit,
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        pairs=sum(start.pairs for start in starts),
    )


def calls_us(call: Callable[[], object], batch_us: float = 2000.0) -> Callable[[], float]:
    """A way to time a call: microseconds per call, over a batch of about ``batch_us``."""
    count = 1
    while (taken := _batch_us(call, count)) < batch_us / 2:
        count = max(count + 1, round(count * min(10.0, batch_us / max(taken, 0.1))))
    return lambda: _batch_us(call, count) / count


def in_turn(benchmark: BenchmarkFixture, subject: Timed, floor: Timed, pairs: int) -> Comparison:
    """Compare two times in milliseconds by pairs, as rounds of a benchmark, after one to warm up.

    The comparison becomes the benchmark's ``extra_info``; its own time is that of a pair.
    """
    comparison = compare(*_pairs_of(benchmark, subject, floor, pairs), "ms")
    benchmark.extra_info.update(comparison.document())
    return comparison


def parts_in_turn(
    benchmark: BenchmarkFixture, subject: TimedParts, floor: TimedParts, pairs: int
) -> Mapping[str, Comparison]:
    """As :func:`in_turn`, for what has several parts: each is compared with the floor's.

    They become ``parts`` of the benchmark's ``extra_info``, and are judged as ``NAME[PART]``.
    """
    subjects, floors = _pairs_of(benchmark, subject, floor, pairs)
    found = {
        part: compare([one[part] for one in subjects], [one[part] for one in floors], "ms")
        for part in subjects[0]
    }
    benchmark.extra_info["parts"] = {part: one.document() for part, one in found.items()}
    return found


def _pairs_of(
    benchmark: BenchmarkFixture, subject: Callable[[], T], floor: Callable[[], T], pairs: int
) -> tuple[list[T], list[T]]:
    """What both return, call by call, in pairs of random order; without the one to warm up."""
    random = Random(1)
    found: tuple[list[T], list[T]] = ([], [])

    def pair() -> None:
        for which in random.sample((0, 1), 2):
            found[which].append((subject, floor)[which]())

    benchmark.pedantic(pair, rounds=pairs, warmup_rounds=1)  # type: ignore[no-untyped-call]
    return found[0][1:], found[1][1:]


def in_turn_by_start(
    benchmark: BenchmarkFixture,
    begin: Callable[[int], AbstractContextManager[tuple[Timed, Timed]]],
    starts: int,
    pairs: int,
) -> Comparison:
    """Compare subject and floor by pairs within each of several starts of both.

    ``begin`` starts both and gives their ways to be timed, in milliseconds. A round of the
    benchmark is one start: a first pair to warm up, then ``pairs``.
    """
    random = Random(1)
    found: list[Comparison] = []

    def start() -> None:
        times: tuple[list[float], list[float]] = ([], [])
        with begin(len(found)) as timed:
            for _ in range(1 + pairs):
                for which in random.sample((0, 1), 2):
                    times[which].append(timed[which]())
        found.append(compare(times[0][1:], times[1][1:], "ms"))

    benchmark.pedantic(start, rounds=starts)  # type: ignore[no-untyped-call]
    comparison = compare_starts(found)
    benchmark.extra_info.update(comparison.document())
    benchmark.extra_info["starts"] = [start.document() for start in found]
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
