"""The fixed agenda: random order from the seed, and late trials made once more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from bench.agenda import Fixed, plan_trials
from bench.outcome import Outcome
from scenarios.files import CATALOGUE, COMPONENTS, load_scenario
from scenarios.model import Scenario

LATE = ["the load generator was late by 60.0 ms (p99)"]


def scenario(name: str) -> Scenario:
    """A scenario of the catalogue."""
    return load_scenario(CATALOGUE / f"{name}.toml", COMPONENTS)


def outcome(status: str = "valid", reasons: list[str] | None = None) -> Outcome:
    """What a trial came to, without its tables."""
    document: dict[str, Any] = {"status": status, "reasons": reasons or []}
    return Outcome(document, {}, {})


def test_every_cell_gets_the_starts_of_its_profile() -> None:
    """Each start-level cell of each scenario is planned as often as the profile says."""
    length, realtime = scenario("length"), scenario("realtime")
    plans = plan_trials((length, realtime), "quick", 1)
    counted = Counter((plan.scenario.name, plan.containers) for plan in plans)
    expected: dict[tuple[str, int | None], int] = {
        ("length", n): length.profiles["quick"].starts for n in length.axes.containers
    }
    expected["realtime", None] = realtime.profiles["quick"].starts
    assert counted == expected
    assert [plan.index for plan in plans] == list(range(1, len(plans) + 1))


def test_the_order_is_random_and_comes_from_the_seed() -> None:
    """One seed gives one order and one set of arrivals; another gives others."""
    asked = (scenario("length"), scenario("realtime"))

    def order(seed: int) -> list[tuple[str, int | None, int]]:
        plans = plan_trials(asked, "full", seed)
        return [(plan.scenario.name, plan.containers, plan.seed) for plan in plans]

    assert order(1) == order(1)
    assert order(1) != order(2)
    cells = [cell[:2] for cell in order(1)]
    assert cells != sorted(cells, key=str)


def test_a_late_trial_is_repeated_once_at_the_end() -> None:
    """What takes its place says so, and is not repeated again."""
    plans = plan_trials((scenario("realtime"),), "quick", 1)
    agenda = Fixed(plans)
    first = agenda.following()
    assert first is not None
    agenda.took(first, outcome("invalid", LATE), 1.0)
    rest = []
    while (plan := agenda.following()) is not None:
        rest.append(plan)
        agenda.took(plan, outcome("invalid", LATE) if plan.repeats else outcome(), 1.0)
    assert rest[-1] == replace(first, index=len(plans) + 1, repeats=first.index)
    assert len(rest) == len(plans)
    assert agenda.planned == len(plans) + 1


def test_only_one_trial_in_four_is_repeated() -> None:
    """Where every trial is late, the run ends all the same."""
    plans = plan_trials((scenario("length"),), "quick", 1)
    agenda = Fixed(plans)
    while (plan := agenda.following()) is not None:
        agenda.took(plan, outcome("invalid", LATE), 1.0)
    assert agenda.planned == len(plans) + 1 + len(plans) // 4


def test_what_failed_for_another_reason_is_not_repeated() -> None:
    """A lost message is a finding, not bad luck."""
    plans = plan_trials((scenario("realtime"),), "quick", 1)
    agenda = Fixed(plans)
    while (plan := agenda.following()) is not None:
        agenda.took(plan, outcome("invalid", [*LATE, "1 message was lost"]), 1.0)
    assert agenda.planned == len(plans)
