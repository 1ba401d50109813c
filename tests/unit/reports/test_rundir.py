"""Reading run directories: sound, damaged, newer, and cut off."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from reports.rundir import Damage, read_run
from runtime.errors import DataError, FormatError
from tests.fakes.rundir import Json, Plan, amend, write_run

PLAN = Plan("realtime", "R", messages=10, starts=3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run of three trials."""
    return write_run(tmp_path / "run", (PLAN,))


def interrupt(run: Path, status: str = "interrupted") -> None:
    """Let the run have ended early."""
    amend(run / "run.json", lambda r: r.update(status=status, finished=None))


def the_damage(run: Path) -> Damage:
    """The one thing that is damaged; the trials that are sound are read."""
    data = read_run(run)
    (found,) = data.damaged
    assert len(data.trials) == 2
    return found


def test_complete_run(run: Path) -> None:
    """A sound run is read with all its records, and without problems."""
    data = read_run(run)
    assert [trial.record.index for trial in data.trials] == [1, 2, 3]
    assert sum(trial.spans.kind.size for trial in data.trials) == 3 * 10 * 6 + 3 * 12
    assert (data.problems, data.damaged) == ((), ())


def harm(path: Path, damage: str) -> None:
    """Damage a JSON file."""
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text("[1, 2]")


@pytest.mark.parametrize("damage", ["missing", "truncated", "not an object"])
def test_damaged_run(run: Path, damage: str) -> None:
    """A run.json that is missing, cut off or something else is an error that names it."""
    harm(run / "run.json", damage)
    with pytest.raises(FormatError) as caught:
        read_run(run)
    assert str(run / "run.json") in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "truncated", "not an object"])
def test_damaged_trial(run: Path, damage: str) -> None:
    """A trial.json that is missing, cut off or something else is named; the rest is kept."""
    path = run / "trials/0002/trial.json"
    harm(path, damage)
    found = the_damage(run)
    assert (found.file, found.scenario) == (str(path), "realtime")


@pytest.mark.parametrize("file", ["spans.parquet", "resources.parquet"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "column"])
def test_damaged_table(run: Path, file: str, damage: str) -> None:
    """A table that is missing, cut off, overwritten or lacks a column is named, the rest kept."""
    path = run / "trials/0002" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    else:
        other = "spans.parquet" if file == "resources.parquet" else "resources.parquet"
        shutil.copy(path.with_name(other), path)
    found = the_damage(run)
    assert (found.file, found.scenario) == (str(path), "realtime")
    assert "Measure again" in str(found)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("status", 7, "status"),
        ("instances", {}, "instances"),
        ("flow_start_ns", "soon", "flow_start_ns"),
        ("start_ns", True, "start_ns"),
        ("accounting", {"sent": 1}, "accounting.accepted"),
        ("status", "excellent", "excellent"),
    ],
)
def test_wrong_values_are_named(run: Path, key: str, value: object, named: str) -> None:
    """A value of the wrong type is damage; the file and the key are named."""
    file = run / "trials/0001/trial.json"
    amend(file, lambda t: t.update({key: value}))
    found = the_damage(run)
    assert found.file == str(file)
    assert named in found.what


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("environment.memory_bytes", "much"),
        ("environment.packages", ["pika"]),
        ("floor.before.problems", "slow"),
        ("floor.after.broker_hop_ms", 0.6),
        ("floor.after.broker_hop_ms.mean", "<b>"),
        ("floor.before.scheduling_jitter_us.p50", 10**400),
        ("seed", 2**64),
    ],
)
def test_what_is_only_shown_is_checked_too(run: Path, path: str, value: object) -> None:
    """A member of the floor or the environment that could not be shown is named."""
    *parents, last = path.split(".")

    def plant(content: Json) -> None:
        for parent in parents:
            content = content[parent]
        content[last] = value

    amend(run / "run.json", plant)
    with pytest.raises(FormatError, match=re.escape(path)):
        read_run(run)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have(run: Path, number: str) -> None:
    """Python would read them; no figure may be computed from one."""
    file = run / "trials/0001/trial.json"
    amend(file, lambda t: t.update(floor={"p50": "HERE"}))
    file.write_text(file.read_text().replace('"HERE"', number))
    assert number in the_damage(run).what


def test_missing_key_is_named(run: Path) -> None:
    """A key that is needed and not there is named, down to the element."""

    def forget(trial: Json) -> None:
        del trial["instances"][1]["id"]

    amend(run / "trials/0001/trial.json", forget)
    assert "instances[1].id is missing" in the_damage(run).what


def test_unknown_keys_are_fine(run: Path) -> None:
    """Keys that a later release adds within the format do not disturb."""
    amend(run / "run.json", lambda r: r.update(mood="good"))
    assert len(read_run(run).trials) == 3


def test_newer_format(run: Path) -> None:
    """A newer format is refused, and the error says that it is newer."""
    amend(run / "run.json", lambda r: r.update(format=2))
    with pytest.raises(FormatError, match="newer than 1"):
        read_run(run)


def test_newer_trial(run: Path) -> None:
    """A trial of a newer format is left out; that it is newer is said, and what to do."""
    amend(run / "trials/0003/trial.json", lambda t: t.update(format=2))
    found = the_damage(run)
    assert "newer than 1" in found.what
    assert "version of hopbench that wrote it" in found.remedy


@pytest.mark.parametrize("version", [0, "1", None])
def test_impossible_format(run: Path, version: object) -> None:
    """A format number that never existed is damage."""
    amend(run / "run.json", lambda r: r.update(format=version))
    with pytest.raises(FormatError, match="damaged"):
        read_run(run)


def test_no_trials(run: Path) -> None:
    """A run without trials measured nothing, and its own error is the remedy."""
    shutil.rmtree(run / "trials")
    amend(run / "run.json", lambda r: r.update(trials=[], status="failed", error="no broker"))
    with pytest.raises(DataError, match=r"nothing was measured.*no broker"):
        read_run(run)


def test_no_readable_trial(run: Path) -> None:
    """Where every trial is damaged, the error names the first file, and nothing is reported."""
    for table in run.glob("trials/*/spans.parquet"):
        table.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"nothing was measured.*0001/spans\.parquet: damaged"):
        read_run(run)


def test_not_a_run(tmp_path: Path) -> None:
    """A folder that is no run directory is named, with what to give instead."""
    with pytest.raises(FormatError, match="missing"):
        read_run(tmp_path)


@pytest.mark.parametrize("status", ["interrupted", "running", "failed"])
def test_cut_off_trial_is_left_out(run: Path, status: str) -> None:
    """Of a run that ended early, a trial that was being written is left out and listed."""
    interrupt(run, status)
    amend(run / "run.json", lambda r: r["trials"].remove(
        next(entry for entry in r["trials"] if entry["index"] == 3)
    ))  # fmt: skip
    table = run / "trials/0003/spans.parquet"
    table.write_bytes(table.read_bytes()[:100])
    data = read_run(run)
    assert [trial.record.index for trial in data.trials] == [1, 2]
    assert [p.split()[0] for p in data.problems] == ["trials/0003"]


def test_stored_but_not_entered_trial_is_kept(run: Path) -> None:
    """A trial that was saved right before the run was killed is read, though run.json lacks it."""
    interrupt(run, "running")
    amend(run / "run.json", lambda r: r["trials"].pop())
    assert len(read_run(run).trials) == 3


def test_started_trial_is_a_problem_not_an_error(run: Path) -> None:
    """A folder of a trial that was only begun does not spoil the others."""
    interrupt(run, "running")
    (run / "trials/0004").mkdir()
    data = read_run(run)
    assert len(data.trials) == 3
    assert [p.split()[0] for p in data.problems] == ["trials/0004"]


def test_failed_trial_may_lack_tables(run: Path) -> None:
    """A trial that failed before anything was recorded is read without its tables."""
    amend(run / "trials/0001/trial.json", lambda t: t.update(status="failed", reasons=["no image"]))
    (run / "trials/0001/spans.parquet").unlink()
    (run / "trials/0001/resources.parquet").unlink()
    trial = read_run(run).trials[0]
    assert (trial.spans.kind.size, trial.resources.at_ns.size) == (0, 0)


def test_complete_run_with_too_few_trials(run: Path) -> None:
    """A run that calls itself complete and lacks trials is told on."""
    amend(run / "run.json", lambda r: r.update(planned_trials=5))
    (found,) = read_run(run).damaged
    assert found.scenario is None
    assert "lists 3 of 5 planned trials" in found.what


def test_run_json_is_plain(run: Path) -> None:
    """The synthetic run is strict JSON, as a real one (a guard for these tests)."""
    constants: list[str] = []
    document = json.loads((run / "run.json").read_text(), parse_constant=constants.append)
    assert constants == []
    assert document["format"] == 1
