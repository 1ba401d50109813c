"""Which trial comes next: in random order from the run's seed, late ones once more at the end."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from bench.outcome import Outcome, Plan
from scenarios.model import Scenario

REPEATS_SHARE = 4
"""One trial in so many may be repeated where the load generator was late: a busy machine, not a
fault of the flow's. The late one is kept and shown; its figures are not used."""


class Agenda(Protocol):
    """What is still to be measured; it may learn from every trial that was made."""

    @property
    def planned(self) -> int:
        """Trials that were made, and those that are known to come."""

    def following(self) -> Plan | None:
        """The next trial to make; None when there is none. The trial before it has been saved."""

    def took(self, plan: Plan, outcome: Outcome, took_s: float) -> None:
        """What became of a trial, and how long it kept the run."""

    def reserve(self, took_s: float) -> None:
        """Keep so much time for what follows the last trial."""

    def members(self) -> Mapping[str, Any]:
        """What run.json is to say of it by now, besides the trials."""


class Fixed:
    """As many starts of every cell as the profile says, all of them known beforehand."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._waiting = deque(plans)
        self._taken = 0
        self._spare = 1 + len(plans) // REPEATS_SHARE

    @property
    def planned(self) -> int:
        """All that were handed out, and those that are waiting."""
        return self._taken + len(self._waiting)

    def following(self) -> Plan | None:
        """The next one."""
        if not self._waiting:
            return None
        self._taken += 1
        return self._waiting.popleft()

    def took(self, plan: Plan, outcome: Outcome, took_s: float) -> None:
        """Put a trial at the end once more where only the load generator was late."""
        if outcome.only_late and self._spare and plan.repeats is None:
            self._spare -= 1
            self._waiting.append(replace(plan, index=self.planned + 1, repeats=plan.index))

    def reserve(self, took_s: float) -> None:
        """Nothing: it has all the time."""

    def members(self) -> Mapping[str, Any]:
        """Nothing: what was planned stands in run.json from the beginning."""
        return {}


def plan_trials(scenarios: Sequence[Scenario], profile: str, seed: int) -> tuple[Plan, ...]:
    """The trials of a profile, in random order from the seed."""
    drawn = random.Random(seed)
    cells = [
        (scenario, containers)
        for scenario in scenarios
        for containers in scenario.start_cells()
        for _ in range(scenario.profiles[profile].starts)
    ]
    drawn.shuffle(cells)
    return tuple(
        Plan(
            index=index,
            scenario=scenario,
            containers=containers,
            messages=scenario.profiles[profile].messages,
            seed=drawn.getrandbits(31),
        )
        for index, (scenario, containers) in enumerate(cells, start=1)
    )
