"""The fixed agenda: random order from the seed, and late trials made once more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.agenda import Fixed, InTurn, plan_trials
from bench.outcome import Outcome, Plan
from bench.precision import Wish
from runtime.errors import InputError
from scenarios.files import CATALOGUE, COMPONENTS, load_scenario
from scenarios.model import Scenario
from tests.fakes.runs import ask

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


def test_phases_stay_together_in_their_order() -> None:
    """A pass through a scenario's phases is not mixed with anything else, in whatever order."""
    for seed in range(5):
        plans = plan_trials((scenario("redeploy"), scenario("warmup")), "quick", seed)
        phased = [plan for plan in plans if plan.phase is not None]
        assert [plan.phase for plan in phased] == [0, 1] * 4
        for first, second in zip(phased[::2], phased[1::2], strict=True):
            assert (second.index, second.passing) == (first.index + 1, first.passing)
        assert {plan.passing for plan in phased} == {0, 1, 2, 3}


def test_a_phase_is_run_in_its_own_type_rate_and_number() -> None:
    """What a phase says holds in it; what it does not, is the scenario's."""
    plans = plan_trials((scenario("switch"),), "quick", 1)
    types = [str(plan.scenario.flow_type) for plan in plans]
    assert types == ["ordinary", "realtime", "ordinary"]
    assert [plan.messages for plan in plans] == [3, 40, 3]
    assert [plan.scenario.load.rate_hz for plan in plans] == [1 / 3, 20.0, 1 / 3]
    assert plans[1].label == "switch (realtime)"


def test_a_late_phase_is_not_repeated() -> None:
    """It cannot be made alone."""
    agenda = Fixed(plan_trials((scenario("switch"),), "quick", 1))
    while (plan := agenda.following()) is not None:
        agenda.took(plan, outcome("invalid", LATE), 1.0)
    assert agenda.planned == 3


def test_two_agendas_in_turn_number_their_trials_throughout() -> None:
    """The second one's trials follow the first one's, those that repeat one as well."""
    first = Fixed(plan_trials((scenario("switch"),), "quick", 1))
    second = Fixed(plan_trials((scenario("realtime"),), "quick", 1))
    agenda = InTurn(first, second)
    made = []
    while (plan := agenda.following()) is not None:
        made.append(plan)
        agenda.took(plan, outcome("invalid", LATE if len(made) == 5 else ["x"]), 1.0)
    assert [plan.index for plan in made] == list(range(1, len(made) + 1))
    assert [plan.repeats for plan in made if plan.repeats] == [5]
    assert agenda.planned == len(made) == 3 + 5 + 1
    assert agenda.members()["planned_trials"] == agenda.planned


def test_with_a_precision_what_shows_events_is_made_as_the_profile_says(tmp_path: Path) -> None:
    """More starts make no event more certain: first they, then rounds of the rest."""
    wish = Wish(None, 600.0, lambda _folder: ())
    asked = ask(tmp_path, scenario("switch"), scenario("warmup"))
    agenda = replace(asked, wish=wish).agenda()
    assert isinstance(agenda, InTurn)
    made: list[Plan] = []
    while len(made) < 6 and (plan := agenda.following()) is not None:
        made.append(plan)
        agenda.took(plan, outcome(), 1.0)
    assert [plan.scenario.name for plan in made] == ["switch"] * 3 + ["warmup"] * 3
    assert [plan.index for plan in made] == [1, 2, 3, 4, 5, 6]


def test_a_precision_of_events_alone_is_refused(tmp_path: Path) -> None:
    """There is no figure that would become more precise; nothing is started."""
    wish = Wish(0.05, 600.0, lambda _folder: ())
    with pytest.raises(InputError, match="switch becomes more precise"):
        replace(ask(tmp_path, scenario("switch")), wish=wish).agenda()
