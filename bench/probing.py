"""The agenda of searches: each trial tries one rate, and what it found says which comes next."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.outcome import Outcome, Plan
from scenarios.model import Scenario
from scenarios.search import Verdict, next_rate

Judge = Callable[[Path, int], Verdict]
"""What the stored trial of that index, in this run directory, says of its rate."""

LEAST = 120
"""Messages of a start at least: of a hundred or fewer warm ones, no mean gets an interval."""


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
