"""The agenda of searches: they come first, and what their trials found says what comes next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.agenda import InTurn
from bench.outcome import Outcome
from bench.probing import Searching
from runtime.errors import MeasurementError
from scenarios.files import CATALOGUE, load_scenario
from scenarios.search import Verdict
from tests.fakes.runs import ask


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
