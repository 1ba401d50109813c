"""What was reached of a wanted precision, in the words and rows that people read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reports.render.html import render_html
from reports.render.numbers import plain
from reports.render.precision import duration, empty, lines, percent, rows, summary
from reports.render.terminal import render_terminal
from reports.results import analyse
from tests.fakes.rundir import Json, Plan, write_run

FIGURE: Json = {
    "name": "mean hop", "cell": "3 containers, 1024 B", "unit": "ms", "value": 0.66, "low": 0.613,
    "high": 0.707, "starts": 22, "messages": 9196, "half_width": 0.0712, "reached": False,
    "needed_starts": 45, "needed_s": 660.0,
}  # fmt: skip
GIVEN_UP = "3 of 3 trials cannot be used"


def section(*figures: Json, asked: float | None = 0.05, ended: str | None = "budget") -> Json:
    """What results.json says, of one cell with these figures."""
    cell = {"scenario": "realtime", "containers": 3, "trials": 22, "valid": 22, "given_up": None}
    return {
        "asked": asked, "budget_s": 300.0, "spent_s": 295.0, "minimum_starts": 5, "ended": ended,
        "cells": [cell | {"figures": list(figures)}],
    }  # fmt: skip


def test_what_falls_short_says_what_it_would_take() -> None:
    """The place, the figure, its half width, its starts, and the starts and time it needs."""
    said = lines(section(FIGURE))
    assert said[0] == (
        "precision of 5 % asked for, time budget 5 min: 22 trials in 5 min; the time budget is used"
    )
    assert said[1] == (
        "realtime, 3 containers, 1024 B: mean hop 0.660 ms (0.613 to 0.707 ms; 22 starts, 9196 "
        "messages), ±7.12 %: cannot be measured to 5 % here in this time; about 45 starts (11 min) "
        "would be needed"
    )
    assert len(said) == 2


def test_what_is_precise_enough_needs_no_line() -> None:
    """Only what falls short is told on the terminal; the rows have all."""
    fine = FIGURE | {"name": "end-to-end mean", "half_width": 0.03, "reached": True}
    found = section(fine, FIGURE)
    assert [("mean hop" in line) for line in lines(found)] == [False, True]
    takes = [plain(row["takes"]) for row in rows(found)]
    assert takes == ["reached (5 %)", "about 45 starts, 11 min"]


def test_the_least_precise_comes_first() -> None:
    """What has no interval at all comes before what has a wide one."""
    unknown = FIGURE | {"name": "end-to-end p50", "half_width": None, "needed_starts": None}
    wide = FIGURE | {"name": "end-to-end mean", "half_width": 0.5}
    told = lines(section(FIGURE, wide, unknown))[1:]
    assert ["p50" in told[0], "end-to-end mean" in told[1], "mean hop" in told[2]] == [True] * 3
    assert "how many starts it would take is not known yet" in told[0]


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        ("reached", "every figure is as precise as was asked"),
        ("given up", "too many trials could not be used"),
        (None, "the run did not come to its end"),
    ],
)
def test_every_ending_has_its_words(ended: str | None, says: str) -> None:
    """Why there were no more trials is said, also of a run that was interrupted."""
    assert summary(section(FIGURE, ended=ended)).endswith(says)


def test_a_budget_alone_asks_for_nothing() -> None:
    """Half widths are shown, and nothing is said to fall short."""
    found = section(FIGURE | {"reached": None, "needed_starts": None}, asked=None)
    assert len(lines(found)) == 1
    assert lines(found)[0].startswith("as many trials as fit, time budget 5 min")
    assert [(row["half_width"], row["takes"]) for row in rows(found)] == [("±7.12 %", "")]


def test_a_cell_that_gave_nothing_is_named() -> None:
    """Given up with its reason, or without any figure."""
    found = section()
    assert "no figures yet, after" in empty(found)[0]
    found["cells"][0]["given_up"] = GIVEN_UP
    assert empty(found)[0].endswith(f"given up, {GIVEN_UP}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (89.6, "90 s"),
        (150.0, "2 min"),
        (660.0, "11 min"),
        (9000.0, "2 h 30 min"),
    ],
)
def test_durations_are_coarse(seconds: float | None, text: str) -> None:
    """An estimate is not given to the second."""
    assert duration(seconds) == text


def test_an_unknown_half_width_is_said() -> None:
    """None is no number of per cent."""
    assert percent(None) == "unknown"


def test_page_and_terminal_show_it_where_it_was_asked_for(tmp_path: Path) -> None:
    """The section is there with its figures, and is not there in any other report."""
    results: dict[str, Any] = analyse(
        write_run(tmp_path / "run", (Plan("realtime", "Three containers", messages=30),))
    )
    assert 'id="precision"' not in render_html(results)
    results["precision"] = section(FIGURE)
    page = render_html(results)
    assert 'id="precision"' in page
    assert "±7.12" in page
    assert "Would take" in page
    console = Console(file=io.StringIO(), width=300)
    render_terminal(results, console)
    written = console.file
    assert isinstance(written, io.StringIO)
    assert "messages), ±7.12 %: cannot" in written.getvalue()
