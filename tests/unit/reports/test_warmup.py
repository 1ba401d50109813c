"""The warm-up and its phases."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.results import analyse
from tests.fakes import tiny
from tests.fakes.rundir import MS, Json, Plan, Trial, write_run

INSTANTS_MS = {
    "create_ns": 5, "engine_create_ns": 15, "engine_start_ns": 115, "start_call_ns": 117,
    "first_instruction_ns": 135, "imported_ns": 200, "connected_ns": 210, "consuming_ns": 212,
    "first_message_ns": 300,
}  # fmt: skip


def known(index: int) -> Trial:
    """A trial whose steps all reached each phase at a known instant after the flow's start."""
    trial = tiny.trial(tiny.message(1), index=index)
    origin_ns = trial.meta["flow_start_ns"]
    for number, instance in enumerate(trial.meta["instances"]):
        instance |= {key: origin_ns + (ms + number) * MS for key, ms in INSTANTS_MS.items()}
    return trial


def warm_up(root: Path, scenario: str = "realtime") -> Json:
    """The warm-up of the scenario's first cell."""
    found: Json = analyse(root)["figures"][scenario]["cells"][0]["warm_up"]
    return found


def test_phases_of_a_step(tmp_path: Path) -> None:
    """Each phase runs from the instant before to its own, in ms after the flow's start."""
    found = warm_up(tiny.run(tmp_path, [known(i) for i in (1, 2, 3)]))
    mapper = [p for p in found["phases"] if p["step"] == "mapper"]
    assert [(p["phase"], p["from_ms"]["mean"], p["to_ms"]["mean"]) for p in mapper] == [
        ("create", 6, 16), ("start", 16, 116), ("first instruction", 116, 136),
        ("imports", 136, 201), ("connected", 201, 211), ("consuming", 211, 213),
        ("first message", 213, 301),
    ]  # fmt: skip


def test_total_ends_with_the_last_step(tmp_path: Path) -> None:
    """The warm-up ends when the last step has handled its first message."""
    found = warm_up(tiny.run(tmp_path, [known(i) for i in (1, 2, 3)]))
    assert (found["total"]["mean"], found["total"]["starts"]) == (302.0, 3)


def test_unseen_instants_have_no_phase(tmp_path: Path) -> None:
    """Where the engine said nothing, the next phase begins at the last instant that was seen."""
    trials = [known(i) for i in (1, 2, 3)]
    for trial in trials:
        for instance in trial.meta["instances"]:
            instance |= {"engine_create_ns": None, "engine_start_ns": None}
    found = warm_up(tiny.run(tmp_path, trials))
    source = [p for p in found["phases"] if p["step"] == "source"]
    assert (
        source[0]["phase"], source[0]["from_ms"]["mean"], source[0]["to_ms"]["mean"],
    ) == ("first instruction", 5.0, 135.0)  # fmt: skip


def test_ordinary_phases_count_from_their_execution(tmp_path: Path) -> None:
    """An ordinary flow warms up in every execution, its steps one after another."""
    plan = Plan("ordinary", "O", "ordinary", rate_hz=0.5, messages=3, starts=1)
    found = warm_up(write_run(tmp_path, (plan,)), "ordinary")
    creates = [p for p in found["phases"] if p["phase"] == "create"]
    begins = [p["from_ms"]["mean"] for p in creates]
    assert begins[0] == 0.0
    assert begins == sorted(begins)
    assert creates[0]["from_ms"]["messages"] == 3
    assert found["total"]["mean"] == pytest.approx(1200, abs=150)
