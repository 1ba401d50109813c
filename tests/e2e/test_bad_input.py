"""Bad input through the front door: it says what it is, keeps what is sound, never gives a "met".

The run directories are synthetic where a file is damaged afterwards, and real where a run is killed
or a spool damaged while it is made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.launch import leftovers
from tests.e2e.test_front_door import ROOT, SCENARIO, _bench
from tests.fakes.rundir import Plan, amend, write_run

PLANS = (
    Plan("realtime", "R", messages=40, starts=5),
    Plan("warmup", "W", messages=30, starts=5, rate_hz=20.0),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete, sound run of two scenarios, of which claims are met."""
    return write_run(tmp_path / "run", PLANS)


def trial_of(run: Path, scenario: str) -> Path:
    """The folder of the first trial of a scenario."""
    entries = json.loads((run / "run.json").read_text())["trials"]
    path: str = next(entry["path"] for entry in entries if entry["scenario"] == scenario)
    return run / path


def claims_of(run: Path) -> list[dict[str, Any]]:
    """The claims as the report has just judged them."""
    found: list[dict[str, Any]] = json.loads((run / "results.json").read_text())["claims"]
    return found


def met(run: Path, scenario: str) -> set[str]:
    """Ids of the claims about a scenario that are met."""
    return {c["id"] for c in claims_of(run) if (c["verdict"], c["scenario"]) == ("met", scenario)}


def cut(file: Path) -> None:
    """Cut a file in half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path) -> None:
    """Flip a bit in the middle of a file's first page."""
    content = bytearray(file.read_bytes())
    content[60] ^= 1
    file.write_bytes(content)


def test_sound_run_is_met(run: Path) -> None:
    """The same run undamaged has claims of both scenarios met, and passes (a guard)."""
    assert _bench("report", str(run)).returncode == 0
    assert met(run, "realtime")
    assert met(run, "warmup")
    assert _bench("gate", str(run)).returncode == 0


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "table truncated": ("spans.parquet", cut, "damaged"),
    "record corrupt": ("spans.parquet", flip, "damaged"),
    "samples missing": ("resources.parquet", Path.unlink, "missing"),
    "trial cut off": ("trial.json", cut, "not JSON"),
    "trial newer": ("trial.json", lambda f: amend(f, lambda t: t.update(format=9)), "newer than 1"),
    "trial missing": ("trial.json", lambda f: shutil.rmtree(f.parent), "missing"),
}
"""A file of a trial, what is done to it, and what is said of it."""


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_trial(run: Path, name: str) -> None:
    """Exit 2; the file and the remedy are named; the other scenario keeps its verdicts."""
    member, harm, said = DAMAGE[name]
    file = trial_of(run, "realtime") / member
    harm(file)
    report = _bench("report", str(run))
    assert report.returncode == 2, report.stdout + report.stderr
    assert f"{file}: " in report.stderr
    assert said in report.stderr
    assert re.search(r"Measure again|Use the version|Give the folder", report.stderr)
    assert "Traceback" not in report.stderr
    assert report.stdout.splitlines()[-1] == str((run / "index.html").resolve())
    assert (met(run, "realtime"), bool(met(run, "warmup"))) == (set(), True)
    results = json.loads((run / "results.json").read_text())
    assert results["figures"]["realtime"]["cells"][0]["starts"] == 4
    assert str(file) in (run / "index.html").read_text()
    gate = _bench("gate", str(run))
    assert gate.returncode == 2
    assert f"damaged: {file}: " in gate.stdout.splitlines()[-1]


@pytest.mark.parametrize("command", ["report", "gate"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: amend(f, lambda r: r.update(format=2)), "newer than 1"),
        (cut, "not JSON"),
        (Path.unlink, "missing"),
    ],
    ids=["newer", "cut off", "missing"],
)
def test_damaged_run(run: Path, command: str, harm: Callable[[Path], object], said: str) -> None:
    """Without a run.json that can be read there is no report: exit 2, the file is named."""
    harm(run / "run.json")
    done = _bench(command, str(run))
    assert done.returncode == 2
    assert f"{run / 'run.json'}: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (run / "results.json").exists()


def test_two_clocks(run: Path) -> None:
    """Spans of two clock ids: the trial is in no figure, the clocks are named, nothing is met."""
    amend(
        trial_of(run, "realtime") / "trial.json",
        lambda t: t["clock_ids_seen"].append("another-boot time:[1]"),
    )
    assert _bench("report", str(run)).returncode == 0
    assert (met(run, "realtime"), bool(met(run, "warmup"))) == (set(), True)
    (claim,) = [c for c in claims_of(run) if c["id"] == "S11"]
    assert "2 different clocks were seen" in claim["reason"]
    assert "another-boot" in (run / "index.html").read_text()
    gate = _bench("gate", str(run), "--strict")
    assert gate.returncode == 3
    assert "S11" in gate.stdout.splitlines()[-1]


def test_trials_missing(run: Path) -> None:
    """A run that calls itself complete and lists too few trials: exit 2, and nothing is met."""
    amend(run / "run.json", lambda r: r.update(trials=r["trials"][:6]))
    for entry in (run / "trials").iterdir():
        if int(entry.name) > 6:
            shutil.rmtree(entry)
    report = _bench("report", str(run))
    assert report.returncode == 2
    assert "6 of 10 planned trials" in report.stderr
    assert {c["verdict"] for c in claims_of(run)} == {"undecided"}
    assert _bench("gate", str(run)).returncode == 2


def test_run_that_was_killed(tmp_path: Path) -> None:
    """A real run, ended by SIGKILL half-way: what it saved is reported, and nothing is met."""
    scenario, out = tmp_path / "realtime.toml", tmp_path / "run"
    scenario.write_text(SCENARIO.replace('name = "tiny"', 'name = "realtime"')
                        .replace("starts = 3", "starts = 40"))  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", str(scenario), "--launcher", "process",
         "--broker", "nats", "--seed", "3", "--out", str(out)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while not (out / "trials/0004/trial.json").exists() and time.monotonic() < deadline:
            assert started.poll() is None
            time.sleep(0.05)
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    finally:
        started.kill()
        started.wait()
        leftovers.clean()
    report = _bench("report", str(out))
    assert report.returncode == 0, report.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["status"] == "interrupted"
    assert results["counts"]["trials"] >= 4
    assert results["figures"]["realtime"]["cells"][0]["messages"] >= 60
    assert "met" not in {claim["verdict"] for claim in results["claims"]}
    assert "This run was interrupted." in (out / "index.html").read_text()
    gate = _bench("gate", str(out))
    assert gate.returncode == 2
    assert "of 40 trials were made" in gate.stdout.splitlines()[-1]
