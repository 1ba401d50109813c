"""The search for the highest rate that a flow holds: an agenda whose trials each try one rate.

A rate's starts vote. From one vote on it is known where the search goes; what the answer rests on,
the two ends of the bracket, is tried again until one side is ahead by two votes, or three starts
were made. Rates first double, then halve the bracket on a logarithmic scale. A rate that the load
generator did not reach, or at which the mean lies too near the limit, closes the bracket without
being an answer: it neither held nor failed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.outcome import Outcome, Plan
from scenarios.model import Scenario, Search, Verdict, bracket, settled, votes

Judge = Callable[[Path, int], Verdict]
"""What the stored trial of that index, in this run directory, says of its rate."""

STARTS = 3
"""Starts of one rate at most."""
LEAST = 120
"""Messages of a start at least: of a hundred or fewer warm ones, no mean gets an interval."""
_AHEAD = 2
_DIGITS = 3


class Searching:
    """The searches of some scenarios, one after another.

    How many trials they take is not known beforehand: ``planned`` grows with them. It judges trials
    by their index in the run, so that nothing comes before it.
    """

    def __init__(
        self, scenarios: Sequence[Scenario], seed: int, judge: Judge, run_dir: Path
    ) -> None:
        self._left = list(scenarios)
        self._drawn = random.Random(seed)
        self._judge, self._run_dir = judge, run_dir
        self._index = 0
        self._probes: list[tuple[float, Verdict]] = []
        self._last: tuple[int, float] | None = None

    @property
    def planned(self) -> int:
        """Trials made; at least one more while a search has not ended."""
        return self._index + (1 if self._left and self._last is None else 0)

    def following(self) -> Plan | None:
        """The next rate of the search; the first one of the next search."""
        if self._last is not None:
            index, rate_hz = self._last
            self._probes.append((rate_hz, self._judge(self._run_dir, index)))
            self._last = None
        while self._left:
            scenario = self._left[0]
            assert scenario.search is not None
            due_hz = next_rate(scenario.search, self._probes)
            if due_hz is not None:
                return self._plan(scenario, due_hz, scenario.search.probe_s)
            self._left.pop(0)
            self._probes = []
        return None

    def took(self, plan: Plan, _outcome: Outcome, _took_s: float) -> None:
        """Remember what is to be judged."""
        assert plan.probe_hz is not None
        self._last = (plan.index, plan.probe_hz)

    def reserve(self, took_s: float) -> None:
        """Nothing: it has all the time."""

    def members(self) -> Mapping[str, Any]:
        """How many trials it has come to."""
        return {"planned_trials": self.planned}

    def _plan(self, scenario: Scenario, rate_hz: float, probe_s: float) -> Plan:
        self._index += 1
        return Plan(
            index=self._index,
            scenario=scenario.at_rate(rate_hz),
            containers=None,
            messages=max(LEAST, round(rate_hz * probe_s)),
            seed=self._drawn.getrandbits(31),
            probe_hz=rate_hz,
        )


def next_rate(search: Search, probes: Sequence[tuple[float, Verdict]]) -> float | None:
    """The rate to try next; None where the bracket is as narrow as asked, and sure."""
    by_rate = votes(probes)
    for rate_hz, verdicts in by_rate.items():
        if settled(verdicts) in (Verdict.OPEN, Verdict.LATE) and len(verdicts) < STARTS:
            return rate_hz
    known = bracket(probes)
    above = [*known.open_hz, *([] if known.failed_hz is None else [known.failed_hz])]
    upper_hz = min(above, default=None)
    if known.held_hz is None:
        return _unsure(by_rate, above) if by_rate else search.lowest_hz
    if upper_hz is None:
        if known.held_hz < search.highest_hz:
            return min(2 * known.held_hz, search.highest_hz)
        return _unsure(by_rate, [known.held_hz])
    if upper_hz / known.held_hz > search.factor:
        middle_hz = _rounded(math.sqrt(known.held_hz * upper_hz))
        if known.held_hz < middle_hz < upper_hz:
            return middle_hz
    return _unsure(by_rate, [known.held_hz, upper_hz])


def _unsure(by_rate: Mapping[float, Sequence[Verdict]], ends: Sequence[float]) -> float | None:
    """The end of the bracket that has had the fewest starts and is not sure yet."""
    lacking = [rate_hz for rate_hz in ends if not _sure(by_rate[rate_hz])]
    return min(lacking, key=lambda rate_hz: len(by_rate[rate_hz]), default=None)


def _sure(verdicts: Sequence[Verdict]) -> bool:
    ahead = abs(verdicts.count(Verdict.HOLDS) - verdicts.count(Verdict.FAILS))
    return ahead >= _AHEAD or len(verdicts) >= STARTS


def _rounded(rate_hz: float) -> float:
    """To three digits: a rate that can be read, and written into a scenario again."""
    return float(f"{rate_hz:.{_DIGITS}g}")
