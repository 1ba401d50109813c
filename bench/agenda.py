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


class InTurn:
    """One agenda after another, their trials numbered throughout."""

    def __init__(self, first: Agenda, second: Agenda) -> None:
        self._first, self._second = first, second
        self._offset: int | None = None

    @property
    def planned(self) -> int:
        """The trials of both."""
        return self._first.planned + self._second.planned

    def following(self) -> Plan | None:
        """The first one's next, then the second's."""
        if self._offset is None:
            plan = self._first.following()
            if plan is not None:
                return plan
            self._offset = self._first.planned
        plan = self._second.following()
        return None if plan is None else self._moved(plan, self._offset)

    def took(self, plan: Plan, outcome: Outcome, took_s: float) -> None:
        """Tell the one it came from."""
        if self._offset is None:
            self._first.took(plan, outcome, took_s)
        else:
            self._second.took(self._moved(plan, -self._offset), outcome, took_s)

    def reserve(self, took_s: float) -> None:
        """Keep so much time for what follows the last trial."""
        self._second.reserve(took_s)

    def members(self) -> Mapping[str, Any]:
        """What the second says, of the trials of both."""
        return {**self._second.members(), "planned_trials": self.planned}

    @staticmethod
    def _moved(plan: Plan, by: int) -> Plan:
        repeats = None if plan.repeats is None else plan.repeats + by
        return replace(plan, index=plan.index + by, repeats=repeats)


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
        # A phase is not made alone, and what it shows rests on messages, not on their latency.
        again = outcome.only_late and plan.repeats is None and plan.phase is None
        if again and self._spare:
            self._spare -= 1
            self._waiting.append(replace(plan, index=self.planned + 1, repeats=plan.index))

    def reserve(self, took_s: float) -> None:
        """Nothing: it has all the time."""

    def members(self) -> Mapping[str, Any]:
        """Nothing: what was planned stands in run.json from the beginning."""
        return {}


def plan_trials(scenarios: Sequence[Scenario], profile: str, seed: int) -> tuple[Plan, ...]:
    """The trials of a profile, in random order from the seed.

    The phases of one pass through a scenario stay together, in their order.
    """
    drawn = random.Random(seed)
    cells = [
        (scenario, containers, number)
        for scenario in scenarios
        for containers in scenario.start_cells()
        for number in range(scenario.profiles[profile].starts)
    ]
    drawn.shuffle(cells)
    plans: list[Plan] = []
    for scenario, containers, number in cells:
        messages = scenario.profiles[profile].messages
        whole = Plan(0, scenario, containers, messages, 0)
        for plan in passing(whole, number) if scenario.phases else (whole,):
            plans.append(replace(plan, index=len(plans) + 1, seed=drawn.getrandbits(31)))
    return tuple(plans)


def passing(plan: Plan, number: int) -> tuple[Plan, ...]:
    """One pass through the phases of a plan's scenario."""
    return tuple(
        replace(
            plan,
            scenario=plan.scenario.in_phase(phase),
            messages=phase.messages or plan.messages,
            phase=index,
            passing=number,
        )
        for index, phase in enumerate(plan.scenario.phases)
    )
