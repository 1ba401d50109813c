"""Runs that choose the number of their trials themselves, on processes and the embedded server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import UNDECIDED, main
from bench.precision import Wish
from bench.session import run
from reports.precision import look
from reports.results import analyse
from tests.fakes.runs import QUIET, ask, healthy, small_scenario

MESSAGES = 25
"""Enough for a median: ten lie beyond it, and the first message is cold."""

SCENARIO = """
name = "precise"
title = "Two steps"
flow_type = "realtime"
[[steps]]
id = "source"
component = "source"
function = "tick"
[[steps]]
id = "action"
component = "action"
function = "consume"
[load]
arrivals = "constant"
rate = "50/s"
payload = "1 KiB"
[profiles.quick]
starts = 3
messages = 25
"""


def stored(folder: Path) -> dict[str, Any]:
    """The run.json of a run."""
    document: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return document


def test_a_wide_precision_is_reached_and_confirmed(tmp_path: Path) -> None:
    """Five starts, a second look with a quarter more, and the run is over before its budget."""
    asked = ask(tmp_path / "run", healthy(tmp_path, messages=MESSAGES))
    result = run(replace(asked, wish=Wish(1000.0, 300.0, look)), QUIET)
    document = stored(result.folder)
    precision = document["precision"]
    assert (document["status"], precision["ended"]) == ("complete", "reached")
    assert precision == result.precision
    assert document["planned_trials"] == len(document["trials"]) >= 7
    (cell,) = precision["cells"]
    assert cell["valid"] == 7
    assert [figure["reached"] for figure in cell["figures"]] == [True] * 3
    assert all(figure["starts"] == 7 for figure in cell["figures"])


def test_a_run_of_which_nothing_can_be_used_is_given_up(tmp_path: Path) -> None:
    """A flow that always fails ends the run long before its budget, and says why."""
    asked = ask(tmp_path / "run", small_scenario(tmp_path, "raises"))
    result = run(replace(asked, wish=Wish(0.05, 300.0, look)), QUIET)
    precision = stored(result.folder)["precision"]
    assert precision["ended"] == "given up"
    assert precision["cells"][0]["given_up"] == "3 of 3 trials cannot be used"
    assert len(result.problems) == 3
    assert analyse(result.folder)["precision"]["cells"][0]["figures"] == []


def test_what_cannot_be_measured_in_time_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run ends with its budget, exit code 3, and what it would take; so do its results."""
    path = tmp_path / "precise.toml"
    path.write_text(SCENARIO)
    out = tmp_path / "run"
    options = ("--precision", "0.01%", "--budget", "30s", "--launcher", "process")
    code = main(["run", str(path), *options, "--broker", "nats", "--out", str(out)])
    said = " ".join(capsys.readouterr().err.split())
    assert code == UNDECIDED, said
    assert "precision of 0.01 % asked for, time budget 30 s" in said
    assert "cannot be measured to 0.01 % here in this time" in said
    assert "would be needed" in said
    document = stored(out)
    assert document["precision"]["ended"] == "budget"
    assert document["planned_trials"] == len(document["trials"])
    found = analyse(out)
    assert found["damaged"] == []
    figures = found["precision"]["cells"][0]["figures"]
    assert [figure["reached"] for figure in figures] == [False] * 3
    assert all(figure["needed_starts"] > figure["starts"] for figure in figures)
