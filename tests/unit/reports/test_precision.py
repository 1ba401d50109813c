"""How precisely figures are known: half widths, what more they would take, and what a run says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.precision import Wanted, look, unmet
from reports.results import analyse
from tests.fakes.rundir import Json, Plan, amend, write_run

REALTIME = Plan("realtime", "Three containers", starts=6)
WARM_UP = Plan("warmup", "Warm-up", rate_hz=20.0, messages=40, starts=6)
ORDINARY = Plan("ordinary", "Ordinary", "ordinary", rate_hz=0.5, messages=3, starts=3)
LENGTH = Plan("length", "Lengths", containers=(2, 8), messages=60, starts=5)

FIGURE = Wanted(
    scenario="realtime", containers=3, cell="3 containers, 1024 B", name="mean hop",
    value=2.0, low=1.8, high=2.2, starts=10, messages=4000, trials=10, trial_s=6.0,
)  # fmt: skip


def asked(precision: float | None, *cells: Json, ended: str | None = "budget") -> Json:
    """What run.json says of a precision that was asked for."""
    return {
        "asked": precision, "budget_s": 300.0, "spent_s": 290.0, "minimum_starts": 5,
        "ended": ended, "cells": list(cells),
    }  # fmt: skip


def cell(scenario: str, containers: int, trials: int, given_up: str | None = None) -> Json:
    """A cell of it; what else it says of its figures is computed anew."""
    return {
        "scenario": scenario, "containers": containers, "trials": trials, "valid": trials,
        "given_up": given_up, "figures": [],
    }  # fmt: skip


def section(run: Path, precision: Json) -> Any:
    """What the results say of a run that was asked for a precision."""
    amend(run / "run.json", lambda content: content.update(precision=precision))
    return analyse(run)["precision"]


def test_half_width_is_relative() -> None:
    """From 1.8 to 2.2 around 2 is 10 % to either side."""
    assert FIGURE.half_width == pytest.approx(0.1)


@pytest.mark.parametrize(
    "figure",
    [replace(FIGURE, low=None), replace(FIGURE, high=None), replace(FIGURE, value=0.0)],
    ids=["low", "high", "zero"],
)
def test_without_an_interval_nothing_is_known(figure: Wanted) -> None:
    """No interval, or a value of zero: no half width, no forecast, and not reached."""
    assert (figure.half_width, figure.needed_trials(0.05)) == (None, None)
    document = figure.document(0.5)
    assert (document["reached"], document["needed_starts"]) == (False, None)


def test_half_the_width_takes_four_times_the_starts() -> None:
    """The interval shrinks with the square root of the starts; the time is that of all of them."""
    document = FIGURE.document(0.05)
    assert (document["reached"], document["needed_starts"]) == (False, 40)
    assert document["needed_s"] == pytest.approx(240.0)


def test_executions_are_starts_of_their_own() -> None:
    """Four executions a trial: the starts that are needed are executions, the time is of trials."""
    document = replace(FIGURE, starts=40).document(0.05)
    assert document["needed_starts"] == 160
    assert document["needed_s"] == pytest.approx(240.0)


def test_no_precision_no_verdict() -> None:
    """With a budget alone the half width is shown, and nothing is reached or missed."""
    document = FIGURE.document(None)
    assert document["half_width"] == pytest.approx(0.1)
    assert (document["reached"], document["needed_starts"]) == (None, None)


def test_the_wanted_figures(tmp_path: Path) -> None:
    """Realtime: hop, execution, its median, the warm-up a claim names; ordinary: the execution."""
    found = look(write_run(tmp_path / "run", (REALTIME, WARM_UP, ORDINARY)))
    names: dict[str, list[str]] = {}
    for figure in found:
        names.setdefault(figure.scenario, []).append(figure.name)
    three = ["mean hop", "end-to-end mean", "end-to-end p50"]
    assert names == {
        "realtime": three, "warmup": [*three, "mean warm-up"], "ordinary": ["mean execution"],
    }  # fmt: skip
    starts = {figure.name: (figure.starts, figure.trials) for figure in found}
    assert starts["mean execution"] == (9, 3)
    assert starts["mean warm-up"] == (6, 6)


def test_each_length_is_a_cell_of_its_own(tmp_path: Path) -> None:
    """The number of steps names the start-level cell."""
    found = look(write_run(tmp_path / "run", (LENGTH,)))
    assert {(figure.containers, figure.trials) for figure in found} == {(2, 5), (8, 5)}


def test_two_starts_give_no_interval(tmp_path: Path) -> None:
    """What one start tells of itself is no interval over starts, however many messages it has."""
    found = look(write_run(tmp_path / "run", (replace(REALTIME, starts=2),)))
    assert [figure.half_width for figure in found] == [None] * 3
    assert all(figure.value is not None for figure in found)


def test_results_have_what_was_asked_and_reached(tmp_path: Path) -> None:
    """The figures are those of the cells, whatever run.json said of them when the run ended."""
    run = write_run(tmp_path / "run", (REALTIME,))
    stale = cell("realtime", 3, 6) | {"figures": [{"name": "mean hop", "value": 99.0}]}
    found = section(run, asked(0.5, stale))
    hop = analyse(run)["figures"]["realtime"]["cells"][0]["hop"]
    first = found["cells"][0]["figures"][0]
    assert [first[key] for key in ("value", "low", "high", "starts")] == [
        hop[key] for key in ("mean", "mean_low", "mean_high", "starts")
    ]
    assert (found["asked"], found["ended"], found["cells"][0]["valid"]) == (0.5, "budget", 6)
    assert not unmet(found)


def test_one_figure_that_falls_short_is_enough(tmp_path: Path) -> None:
    """A precision that only some figures have is not reached."""
    run = write_run(tmp_path / "run", (REALTIME,))
    widths = sorted(figure.half_width or 0.0 for figure in look(run))
    assert unmet(section(run, asked(widths[1], cell("realtime", 3, 6))))


def test_a_cell_without_figures_is_unmet(tmp_path: Path) -> None:
    """What gave nothing usable is not precise, and says that it was given up."""
    run = write_run(tmp_path / "run", (REALTIME,))
    gone = cell("realtime", 8, 3, "3 of 3 trials cannot be used")
    found = section(run, asked(0.9, cell("realtime", 3, 6), gone, ended="given up"))
    assert found["cells"][1]["figures"] == []
    assert found["cells"][1]["given_up"] == "3 of 3 trials cannot be used"
    assert unmet(found)


def test_a_budget_alone_is_never_unmet(tmp_path: Path) -> None:
    """Nothing was promised."""
    assert not unmet(
        section(write_run(tmp_path / "run", (REALTIME,)), asked(None, cell("realtime", 3, 6)))
    )


def test_other_runs_have_no_such_section(tmp_path: Path) -> None:
    """Where the profile said how many trials, nothing is said of precision."""
    assert analyse(write_run(tmp_path / "run", (REALTIME,)))["precision"] is None


def test_a_damaged_section_is_damage(tmp_path: Path) -> None:
    """A member of the wrong type is named, not computed with."""
    from runtime.errors import FormatError

    run = write_run(tmp_path / "run", (REALTIME,))
    with pytest.raises(FormatError, match=r"precision\.asked is 'much'"):
        section(run, asked(0.5) | {"asked": "much"})
