"""The certificate as a user gets it: made by the program, kept, and brought into another report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.certificate_file import REQUIRED, read_certificate

ROOT = Path(__file__).parents[2]
SCENARIO = """
name = "tiny"
title = "A tiny flow"
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
rate = "50/s"
payload = "1 KiB"
[profiles.quick]
starts = 1
messages = 5
"""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=300.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A quick certificate on processes and the embedded NATS server, and the exit code."""
    out = tmp_path_factory.mktemp("certify") / "run"
    done = bench(
        "certify", "--quick", "--launcher", "process", "--broker", "nats", "--seed", "4",
        "--out", str(out),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert (out / "certificate.json").exists(), done.stderr
    assert done.stdout.splitlines()[-1] == str((out / "index.html").resolve())
    return out, done.returncode


@pytest.mark.timeout(300)
def test_everything_is_measured(certified: tuple[Path, int]) -> None:
    """Every check has its figures, and the exit code is that of the verdict.

    How exact the figures are depends on what else this machine does: the verdicts on delays are not
    held to anything here. That is what the bench itself is for.
    """
    out, code = certified
    certificate = read_certificate(out)
    assert code == {"shown": 0, "not shown": 1, "undecided": 3}[certificate["verdict"]]
    checks = {check["id"]: check for check in certificate["checks"]}
    assert tuple(checks) == REQUIRED
    rows = checks["component-delays"]["rows"] + checks["network-delays"]["rows"]
    assert len(rows) == 28
    assert all(row["recovered"] and row["recovered_mean"] for row in rows)
    # What is injected is there whatever the load: it is never less, and 50 ms are not hidden.
    assert all(row["recovered"]["value"] > 40 for row in rows if row["delay_ms"] == 50)
    assert len(checks["a-against-a"]["rows"]) == 4
    assert checks["probe-overhead"]["rows"][0]["figure"]["messages"] > 100
    assert checks["conservation"]["verdict"] == "shown", checks["conservation"]["reason"]
    assert {row["verdict"] for row in checks["clocks"]["rows"]} <= {"shown", "undecided"}


@pytest.mark.timeout(300)
def test_frozen_consumer_is_seen_by_both_loops(certified: tuple[Path, int]) -> None:
    """Corrected, the p90 is what the freeze must have cost, in either loop."""
    certificate = read_certificate(certified[0])
    (freeze,) = [check for check in certificate["checks"] if check["id"] == "freeze"]
    rows = {row["loop"]: row for row in freeze["rows"]}
    assert set(rows) == {"open", "closed"}
    for row in rows.values():
        assert row["corrected"]["value"] > 0.9 * row["predicted_ms"] > 500, freeze["reason"]
    closed = rows["closed"]
    assert closed["uncorrected"]["value"] < closed["corrected"]["value"] / 3


@pytest.mark.timeout(300)
def test_report_of_the_certificate_shows_it(certified: tuple[Path, int]) -> None:
    """The page of the certificate's own run has its checks, side by side with what was found."""
    page = (certified[0] / "index.html").read_text()
    assert "The meter, measured" in page
    assert "p90 corrected: from the intended send" in page
    assert "p90 uncorrected: from the actual send" in page


@pytest.mark.timeout(300)
def test_another_run_carries_it(certified: tuple[Path, int], tmp_path: Path) -> None:
    """A run that is given the certificate keeps it, and its report says what it says."""
    scenario = tmp_path / "tiny.toml"
    scenario.write_text(SCENARIO)
    out = tmp_path / "run"
    done = bench(
        "run", str(scenario), "--launcher", "process", "--broker", "nats", "--out", str(out),
        "--certificate", str(certified[0]), "--report",
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert read_certificate(out) == read_certificate(certified[0])
    found = json.loads((out / "results.json").read_text())["certificate"]
    assert found["own"] is False
    assert any("--quick" in flag for flag in found["flags"])
    # The checkout may have been committed to between the two.
    others = [flag for flag in found["flags"] if "another" in flag]
    assert [flag for flag in others if "another hopbench commit" not in flag] == []
    run_id = json.loads((certified[0] / "run.json").read_text())["run_id"]
    assert run_id in (out / "index.html").read_text()


def test_certificate_that_cannot_be_read_starts_nothing(tmp_path: Path) -> None:
    """Exit code 2, the file's name, how to make one; no run directory."""
    scenario = tmp_path / "tiny.toml"
    scenario.write_text(SCENARIO)
    done = bench(
        "run", str(scenario), "--out", str(tmp_path / "run"), "--certificate", str(tmp_path)
    )
    assert done.returncode == 2
    assert "certificate.json" in done.stderr
    assert "bench certify" in done.stderr
    assert not (tmp_path / "run").exists()
