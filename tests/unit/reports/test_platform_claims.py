"""Claims about the platform: each is met, missed and left open by what messages say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.results import analyse
from tests.fakes import tiny
from tests.fakes.changing import changed_run, listening_run
from tests.fakes.rundir import Json, amend

ABOUT = {"component": "revision", "field": "revision"}
OF_REVISIONS = ("newest_at_start", "kept_revision", "update_path", "loaded_by_restart")
MODES = (("ordinary", "ordinary"), ("realtime", "realtime"), ("again", "ordinary"))


def judged(root: Path, metric: str, scenario: str, **more: Any) -> tuple[str, str]:
    """The verdict on one claim, and its reason."""
    amend(root / "run.json", lambda run: tiny.only_claim(run, metric, scenario, **more))
    (claim,) = analyse(root)["claims"]
    return claim["verdict"], claim["reason"]


def deploy_end_ns(trial: Json) -> int:
    """When the second revision had been deployed."""
    return max(int(deed["until_ns"]) for deed in trial["deeds"] if deed["deed"] == "deploy")


@pytest.mark.parametrize("metric", OF_REVISIONS)
def test_old_until_the_relaunch_then_new_meets_all(tmp_path: Path, metric: str) -> None:
    """S15 to S18: three passes, each message says what it must."""
    root = changed_run(tmp_path)
    verdict, reason = judged(root, metric, "redeploy", **ABOUT)
    assert (verdict, "in 3 passes" in reason) == ("met", True), reason


def test_a_running_flow_that_picks_up_the_new_revision(tmp_path: Path) -> None:
    """S16 and S18 are missed; the start itself ran what was the newest then."""

    def said(trial: Json, at_ns: int) -> str:
        return "2" if trial["phase"]["index"] or at_ns > deploy_end_ns(trial) else "1"

    root = changed_run(tmp_path, said=said)
    assert judged(root, "kept_revision", "redeploy", **ABOUT)[0] == "missed"
    verdict, reason = judged(root, "loaded_by_restart", "redeploy", **ABOUT)
    assert verdict == "missed"
    assert "messages before the stop say revision 2" in reason
    assert judged(root, "update_path", "redeploy", **ABOUT)[0] == "met"


def test_a_relaunch_that_runs_the_old_revision(tmp_path: Path) -> None:
    """S15, S17 and S18 are missed: the messages say so, whatever was deployed."""
    root = changed_run(tmp_path, said=lambda _trial, _at_ns: "1")
    for metric in ("newest_at_start", "update_path", "loaded_by_restart"):
        verdict, reason = judged(root, metric, "redeploy", **ABOUT)
        assert (verdict, "say revision 1" in reason) == ("missed", True), reason
    assert judged(root, "kept_revision", "redeploy", **ABOUT)[0] == "met"


@pytest.mark.parametrize("metric", OF_REVISIONS)
def test_nothing_observed_is_undecided(tmp_path: Path, metric: str) -> None:
    """No messages, no verdict."""
    root = changed_run(tmp_path)
    for file in root.glob("trials/*/observed.parquet"):
        file.unlink()
    assert judged(root, metric, "redeploy", **ABOUT)[0] == "undecided"


@pytest.mark.parametrize("metric", OF_REVISIONS)
def test_a_pass_that_is_not_whole_is_left_out(tmp_path: Path, metric: str) -> None:
    """With the only relaunch failed, nothing is shown; a late generator changes nothing."""
    root = changed_run(tmp_path, passes=1)
    file = root / "trials" / "0002" / "trial.json"
    amend(file, lambda t: t.update(status="invalid", reasons=["the load generator was late"]))
    assert judged(root, metric, "redeploy", **ABOUT)[0] == "met"
    amend(file, lambda t: t.update(status="failed", reasons=["a step exited"]))
    assert judged(root, metric, "redeploy", **ABOUT)[0] == "undecided"


def test_an_update_in_another_order(tmp_path: Path) -> None:
    """S17: a draft that was saved before the deploy is not the path that is claimed."""
    root = changed_run(tmp_path, passes=1)

    def swap(trial: Json) -> None:
        deeds = trial["deeds"]
        deeds[3], deeds[4] = deeds[4], deeds[3]

    amend(root / "trials" / "0001" / "trial.json", swap)
    assert judged(root, "update_path", "redeploy", **ABOUT)[0] == "missed"


def test_warm_up_again(tmp_path: Path) -> None:
    """S21: a warm-up takes many times what a warm message does; a limit above that is missed."""
    root = changed_run(tmp_path)
    more = {"unit": "x", "upper": False}
    verdict, reason = judged(root, "warm_up_again_x", "redeploy", limit=1.0, **more)
    assert (verdict, "warm-up of the start before it" in reason) == ("met", True), reason
    assert judged(root, "warm_up_again_x", "redeploy", limit=1e6, **more)[0] == "missed"


def test_switched_there_and_back(tmp_path: Path) -> None:
    """S14: met; open with two definitions, or without the second switch; missed by a failure."""
    root = changed_run(tmp_path, name="switch", phases=MODES, passes=1)
    assert judged(root, "switched_modes", "switch")[0] == "met"
    first, last = (root / "trials" / f"{index:04d}" / "trial.json" for index in (1, 3))
    amend(first, lambda trial: trial.update(flow_digest="another"))
    assert judged(root, "switched_modes", "switch")[0] == "undecided"
    amend(first, lambda trial: trial.update(flow_digest="x"))
    for index in (2, 3):
        amend(
            root / "trials" / f"{index:04d}" / "trial.json",
            lambda trial: trial.update(flow_digest="x"),
        )
    assert judged(root, "switched_modes", "switch")[0] == "met"
    amend(last, lambda trial: trial.update(deeds=[]))
    assert judged(root, "switched_modes", "switch")[0] == "undecided"
    amend(last, lambda trial: trial.update(status="failed", reasons=["a step exited"]))
    assert judged(root, "switched_modes", "switch") == ("missed", "trial 3 failed: a step exited")


def test_careless_and_guarded(tmp_path: Path) -> None:
    """S24 and S25: copies that grow with the calls, and one copy each; each misses the other."""
    careless = listening_run(tmp_path / "careless", copies=lambda calls: calls)
    guarded = listening_run(tmp_path / "guarded", copies=lambda _calls: 1)
    verdict, reason = judged(careless, "copies_grow", "listen", field="event")
    assert (verdict, "the detector names listen" in reason) == ("met", True), reason
    verdict, reason = judged(careless, "single_copies", "listen", field="event")
    assert (verdict, "29 of 30 events" in reason) == ("missed", True), reason
    assert judged(guarded, "single_copies", "listen", field="event")[0] == "met"
    assert judged(guarded, "copies_grow", "listen", field="event")[0] == "missed"


def test_calls_go_on(tmp_path: Path) -> None:
    """S23: met when the trigger is called to the end; missed where it falls silent."""
    root = listening_run(tmp_path, copies=lambda _calls: 1)
    assert judged(root, "calls_go_on", "listen")[0] == "met"

    def longer(trial: Json) -> None:
        trial["load_end_ns"] += 10 * (trial["load_end_ns"] - trial["load_start_ns"])
        trial["end_ns"] = trial["load_end_ns"]

    amend(root / "trials" / "0001" / "trial.json", longer)
    assert judged(root, "calls_go_on", "listen")[0] == "missed"


@pytest.mark.parametrize("metric", ["copies_grow", "single_copies"])
def test_no_event_is_undecided(tmp_path: Path, metric: str) -> None:
    """Without what the messages say there is no verdict."""
    root = listening_run(tmp_path, copies=lambda _calls: 1)
    (root / "trials" / "0001" / "observed.parquet").unlink()
    assert judged(root, metric, "listen", field="event")[0] == "undecided"


def test_a_damaged_table_of_what_was_said_is_named(tmp_path: Path) -> None:
    """The trial is left out, with the file named, and nothing that rests on it is met."""
    root = changed_run(tmp_path)
    file = root / "trials" / "0001" / "observed.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    verdict, _ = judged(root, "newest_at_start", "redeploy", **ABOUT)
    assert verdict == "undecided"
    assert [one["file"] for one in analyse(root)["damaged"]] == [str(file)]
