"""The search for a capacity: it brackets the true one, and says where it cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.agenda import InTurn
from bench.outcome import Outcome
from bench.probing import STARTS, Searching, next_rate
from runtime.errors import MeasurementError
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Bracket, Search, Verdict, bracket
from tests.fakes.runs import ask

SEARCH = Search(lowest_hz=50, highest_hz=3200, factor=1.1, limit_ms=15, probe_s=2)
ROUNDING = 1.01
"""Rates are rounded to three digits."""


def searched(answer: Any, search: Search = SEARCH) -> list[tuple[float, Verdict]]:
    """The probes of a search whose starts say what ``answer`` says of a rate and its turn."""
    probes: list[tuple[float, Verdict]] = []
    while (rate_hz := next_rate(search, probes)) is not None:
        turn = sum(rate == rate_hz for rate, _ in probes)
        probes.append((rate_hz, answer(rate_hz, turn)))
        assert len(probes) < 100
    return probes


@given(
    capacity=st.floats(1, 10_000),
    factor=st.floats(1.02, 2),
    lowest=st.floats(10, 400),
    span=st.floats(1.5, 100),
)
def test_the_bracket_contains_the_capacity_of_a_monotone_flow(
    capacity: float, factor: float, lowest: float, span: float
) -> None:
    """Whatever it is, to the factor that was asked for, or beyond the end that it lies behind."""
    search = Search(lowest, lowest * span, factor, 15, 2)
    found = bracket(
        searched(lambda hz, _: Verdict.HOLDS if hz <= capacity else Verdict.FAILS, search)
    )
    assert found.open_hz == ()
    if found.held_hz is None:
        assert found.failed_hz == lowest > capacity
    elif found.failed_hz is None:
        assert found.held_hz == search.highest_hz <= capacity
    else:
        assert found.held_hz <= capacity < found.failed_hz
        assert found.failed_hz / found.held_hz <= factor * ROUNDING


@given(verdicts=st.lists(st.sampled_from(Verdict), max_size=60))
def test_it_ends_whatever_the_starts_say(verdicts: list[Verdict]) -> None:
    """Nothing is tried more than three times, and what held lies below what did not."""
    said = iter(verdicts)
    probes = searched(lambda _hz, _turn: next(said, Verdict.OPEN))
    assert max(Counter(rate for rate, _ in probes).values()) <= STARTS
    found = bracket(probes)
    if found.held_hz is not None and found.failed_hz is not None:
        assert found.held_hz < found.failed_hz


@given(capacity=st.floats(60, 3000), reach=st.floats(60, 3000))
def test_a_generator_that_cannot_follow_is_no_flow_that_does_not_hold(
    capacity: float, reach: float
) -> None:
    """Beyond its reach nothing is decided; what failed, failed within it."""

    def answer(hz: float, _turn: int) -> Verdict:
        if hz > reach:
            return Verdict.LATE
        return Verdict.HOLDS if hz <= capacity else Verdict.FAILS

    found = bracket(searched(answer))
    assert found.held_hz is None or found.held_hz <= min(capacity, reach)
    assert found.failed_hz is None or capacity < found.failed_hz <= reach
    if reach < capacity:
        assert found.failed_hz is None
        assert found.open_hz


def test_both_ends_are_tried_again_and_one_bad_start_is_outvoted() -> None:
    """A single hiccup at a rate that holds moves the answer nowhere."""

    def answer(hz: float, turn: int) -> Verdict:
        if hz > 500:
            return Verdict.FAILS
        held = bracketed == hz and turn == 1
        return Verdict.FAILS if held else Verdict.HOLDS

    bracketed = bracket(searched(lambda hz, _: (
        Verdict.HOLDS if hz <= 500 else Verdict.FAILS))).held_hz  # fmt: skip
    probes = searched(answer)
    counted = Counter(rate for rate, _ in probes)
    found = bracket(probes)
    assert found.held_hz == bracketed
    assert found.failed_hz is not None
    assert (counted[found.held_hz or 0], counted[found.failed_hz]) == (3, 2)


def test_what_lies_too_near_the_limit_is_undecided() -> None:
    """It is tried three times, and is neither end."""
    probes = searched(
        lambda hz, _: Verdict.HOLDS if hz < 90 else Verdict.OPEN if hz < 150 else Verdict.FAILS
    )
    found = bracket(probes)
    assert found.held_hz is not None
    assert found.held_hz < 90
    assert found.open_hz[0] >= 90
    assert bracket([]) == Bracket(None, None)


def outcome() -> Outcome:
    """A trial that was made."""
    return Outcome({"status": "valid", "reasons": []}, {}, {})


def test_a_search_comes_first_and_its_trials_are_judged_from_the_run_directory(
    tmp_path: Path,
) -> None:
    """Each trial is one rate; then come the other scenarios, numbered on."""
    capacity, warmup = (load_scenario(CATALOGUE / f"{n}.toml") for n in ("capacity", "warmup"))
    seen: list[tuple[Path, int]] = []
    rates: list[float] = []

    def judge(run_dir: Path, index: int) -> Verdict:
        seen.append((run_dir, index))
        return Verdict.HOLDS if rates[index - 1] <= 500 else Verdict.FAILS

    agenda = Searching([capacity], 1, judge, tmp_path)
    while (plan := agenda.following()) is not None:
        rates.append(plan.scenario.load.rate_hz)
        assert plan.probe_hz == plan.scenario.load.rate_hz
        assert plan.messages == round(2 * plan.probe_hz)
        assert plan.label == f"capacity ({plan.probe_hz:g}/s)"
        agenda.took(plan, outcome(), 1.0)
    assert rates[:3] == [200, 400, 800]
    assert seen == [(tmp_path, index + 1) for index in range(len(rates))]
    assert agenda.planned == len(rates)
    request = ask(tmp_path, warmup, capacity)
    with pytest.raises(MeasurementError, match="nothing says what the trials of capacity find"):
        request.agenda()
    both = replace(request, judge=judge).agenda()
    assert isinstance(both, InTurn)
    names = []
    rates.clear()
    while (plan := both.following()) is not None:
        names.append(plan.scenario.name)
        rates.append(plan.scenario.load.rate_hz)
        both.took(plan, outcome(), 1.0)
        assert plan.index == len(names)
    assert names == sorted(names)
    assert both.planned == len(names)
