"""The agenda that learns: its rounds, its order, its end, and that it keeps its budget."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.adaptive import Adaptive
from bench.outcome import Outcome, Plan
from bench.precision import MIN_STARTS, Wish
from runtime.errors import InputError, MeasurementError
from scenarios.files import CATALOGUE, COMPONENTS, load_scenario
from scenarios.model import Scenario
from tests.fakes.figures import Figure

LATE = ["the load generator was late by 60.0 ms (p99)"]
TRIAL_S = 10.0
Reasons = Callable[[Plan], list[str]]


@dataclass(slots=True)
class World:
    """Trials that take ten seconds, of a clock that stands still otherwise."""

    precision: float | None
    budget_s: float
    scenarios: tuple[Scenario, ...]
    spread: Callable[[str, int], float]
    reasons: Reasons = lambda _: []
    seed: int = 1
    now_s: float = 100.0
    made: list[Plan] = field(default_factory=list)
    looks: int = 0

    def run(self) -> Adaptive:
        """Make trials until the agenda has no more."""
        wish = Wish(self.precision, self.budget_s, self.look)
        agenda = Adaptive(
            self.scenarios, "quick", self.seed, wish, Path("run"), clock_s=lambda: self.now_s
        )
        agenda.reserve(5.0)
        while (plan := agenda.following()) is not None:
            self.now_s += TRIAL_S
            self.made.append(plan)
            reasons = self.reasons(plan)
            document: dict[str, Any] = {"status": "invalid" if reasons else "valid"}
            agenda.took(plan, Outcome(document | {"reasons": reasons}, {}, {}), TRIAL_S)
        return agenda

    def look(self, run_dir: Path) -> Sequence[Figure]:
        """Half widths that shrink with the square root of the valid trials."""
        assert run_dir == Path("run")
        self.looks += 1
        counted = Counter(key(plan) for plan in self.made if not self.reasons(plan))
        return [Figure(*cell, self.spread(*cell) / n**0.5, n) for cell, n in counted.items()]


def key(plan: Plan) -> tuple[str, int]:
    """The start-level cell of a plan."""
    return plan.scenario.name, plan.containers or len(plan.scenario.steps)


def scenario(name: str) -> Scenario:
    """A scenario of the catalogue."""
    return load_scenario(CATALOGUE / f"{name}.toml", COMPONENTS)


def document(agenda: Adaptive) -> dict[str, Any]:
    """What run.json says of the precision."""
    found: dict[str, Any] = agenda.members()["precision"]
    return found


def test_trials_are_added_where_they_are_lacking() -> None:
    """Each cell gets five starts, and the one that spreads most gets most of the others."""
    world = World(0.05, 1e6, (scenario("length"),), lambda _, n: {8: 0.4}.get(n, 0.02))
    agenda = world.run()
    counted = Counter(containers for _, containers in map(key, world.made))
    assert document(agenda)["ended"] == "reached"
    # Five, and a quarter more to be sure.
    assert [counted[n] for n in (2, 3, 5)] == [7, 7, 7]
    # (0.4 / 0.05)^2 = 64, and a quarter more to be sure.
    assert 80 <= counted[8] <= 100
    assert world.looks < 15


def test_the_budget_is_kept() -> None:
    """No trial begins that would not end in time, the floor at the end included."""
    world = World(0.01, 300.0, (scenario("realtime"), scenario("length")), lambda _, __: 0.5)
    agenda = world.run()
    assert document(agenda)["ended"] == "budget"
    # 300 s less 5 s for the floor and 3 s to clean up hold 29 trials of 10 s.
    assert len(world.made) == 29
    assert agenda.planned == agenda.members()["planned_trials"] == 29


def test_a_budget_alone_makes_whole_rounds_in_random_order() -> None:
    """Each round has one start of every cell, and the rounds differ in their order."""
    world = World(None, 500.0, (scenario("length"),), lambda _, __: 0.5)
    agenda = world.run()
    cells = [containers for _, containers in map(key, world.made)]
    rounds = [tuple(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    assert len(cells) == 49
    assert all(set(one) == {2, 3, 5, 8} for one in rounds[:-1])
    assert len(set(rounds)) > 3
    assert (document(agenda)["asked"], document(agenda)["ended"]) == (None, "budget")


def test_the_order_comes_from_the_seed() -> None:
    """The same outcomes with the same seed give the same trials; another seed gives others."""

    def order(seed: int) -> list[tuple[int, tuple[str, int], int]]:
        asked = (scenario("length"), scenario("realtime"))
        world = World(0.1, 2000.0, asked, lambda _, n: n / 10, seed=seed)
        world.run()
        return [(plan.index, key(plan), plan.seed) for plan in world.made]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert [index for index, _, _ in order(1)] == list(range(1, len(order(1)) + 1))


def test_late_trials_are_replaced_and_named() -> None:
    """A late trial is no start of its cell; the one that takes its place says which it replaces."""
    draws = random.Random(1)
    late = {index for index in range(1, 100) if draws.random() < 0.2}
    world = World(
        0.05, 1e5, (scenario("realtime"),), lambda _, __: 0.02,
        reasons=lambda plan: LATE if plan.index in late else [],
    )  # fmt: skip
    agenda = world.run()
    valid = [plan for plan in world.made if plan.index not in late]
    assert document(agenda)["ended"] == "reached"
    assert len(valid) == 7 < len(world.made)
    replaced = {plan.repeats for plan in world.made if plan.repeats is not None}
    assert replaced <= late
    assert replaced


def test_a_hopeless_cell_is_given_up() -> None:
    """What never gives a usable trial is not tried until the budget is used; the others go on."""
    world = World(
        0.05, 1e5, (scenario("length"),), lambda _, __: 0.02,
        reasons=lambda plan: ["12 messages were lost"] if plan.containers == 8 else [],
    )  # fmt: skip
    agenda = world.run()
    cells = {cell["containers"]: cell for cell in document(agenda)["cells"]}
    assert document(agenda)["ended"] == "given up"
    assert (cells[8]["trials"], cells[8]["valid"], cells[8]["figures"]) == (3, 0, [])
    assert cells[8]["given_up"] == "3 of 3 trials cannot be used"
    assert [cells[n]["given_up"] for n in (2, 3, 5)] == [None] * 3
    assert [cells[n]["valid"] for n in (2, 3, 5)] == [7, 7, 7]


def test_a_run_that_ends_early_has_what_it_had() -> None:
    """Before the agenda has ended, the end is open and the figures are those of the last look."""
    world = World(0.05, 1e5, (scenario("realtime"),), lambda _, __: 0.4)
    wish = Wish(0.05, 1e5, world.look)
    agenda = Adaptive(world.scenarios, "quick", 1, wish, Path("run"), clock_s=lambda: world.now_s)
    for _ in range(MIN_STARTS + 1):
        plan = agenda.following()
        assert plan is not None
        world.made.append(plan)
        agenda.took(plan, Outcome({"status": "valid", "reasons": []}, {}, {}), TRIAL_S)
    found = document(agenda)
    assert found["ended"] is None
    assert found["cells"][0]["trials"] == MIN_STARTS + 1
    assert found["cells"][0]["figures"] == [{"half_width": 0.4 / 5**0.5, "asked": 0.05}]
    assert agenda.members()["planned_trials"] == 8


def test_a_budget_below_every_schedule_is_refused() -> None:
    """Before anything starts: 210 messages at 50 a second take more than a second."""
    world = World(0.05, 1.0, (scenario("realtime"),), lambda _, __: 0.1)
    with pytest.raises(InputError, match="holds no trial: the shortest schedule takes 4 s"):
        world.run()


def test_a_budget_that_preparing_used_up_is_an_error() -> None:
    """Where not even the first trial fits, nothing was measured, and the run says why."""
    world = World(0.05, 12.0, (scenario("realtime"),), lambda _, __: 0.1)
    with pytest.raises(MeasurementError, match="no trial fits into the budget"):
        world.run()
    assert world.made == []
