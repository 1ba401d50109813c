"""The policy of tests/conftest.py, seen from outside: pytest runs small test files under it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import IN_ONE_LANE, TESTS, lane

ROOT = Path(__file__).resolve().parents[2]
NEEDS_ENGINE = """
import pytest

@pytest.mark.docker
def test_with_an_engine():
    raise AssertionError("must not be reached")
"""
LEAVES_A_PROCESS = """
import os, subprocess
from runtime.launch import owner

def test_that_leaves_a_process():
    subprocess.Popen(["sleep", "60"], env={**os.environ, **owner.environment("left")})
"""


def run_under_policy(
    folder: Path, source: str, *options: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run one test file under the conftest of this project, in a pytest of its own."""
    (folder / "test_it.py").write_text(source)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"),
            *("-rs", "-c", os.devnull, "--rootdir", str(folder), str(folder)),
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "CI": "", "DOCKER_HOST": "unix:///nowhere/docker.sock", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_missing_engine_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    """On a laptop without an engine, a test that needs one is skipped, and says why."""
    done = run_under_policy(tmp_path, NEEDS_ENGINE)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "needs docker: unix:///nowhere/docker.sock" in done.stdout


def test_missing_engine_is_a_failure_in_ci(tmp_path: Path) -> None:
    """With CI=true the same test does not pass for want of an engine."""
    done = run_under_policy(tmp_path, NEEDS_ENGINE, CI="true")
    assert done.returncode == 1, done.stdout
    assert "CI must have docker" in done.stdout
    assert "must not be reached" not in done.stdout


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("unit/bench/test_ci.py::test_a[1]", "unit/bench/test_ci.py::TestB::test_b", True),
        ("integration/test_trials.py::test_a", "integration/test_faults.py::test_a", False),
        ("e2e/test_certify.py::test_a", "integration/test_leftovers.py::test_b", True),
        ("unit/runtime/control/test_states.py::test_a", "e2e/test_certify.py::test_b", True),
        ("unit/runtime/controls/test_a.py::test_a", "e2e/test_certify.py::test_b", False),
    ],
)
def test_who_shares_a_lane(one: str, other: str, is_same: bool) -> None:
    """Tests of one file, and all those whose runs lose their owners."""
    assert (lane(f"tests/{one}") == lane(f"tests/{other}")) is is_same


def test_what_must_share_a_lane_is_there() -> None:
    """A file that was renamed does not leave its lane unseen."""
    assert [one for one in IN_ONE_LANE if not (TESTS / one).exists()] == []


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one", "lanes"])
def test_process_left_behind_fails_the_session(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A session whose tests all passed fails when one of them left a process, and names it.

    In one lane or in several.
    """
    done = run_under_policy(tmp_path, LEAVES_A_PROCESS, *options)
    left = re.search(r"left behind by these tests: process sleep \((\d+)\)", done.stdout)
    assert left, done.stdout + done.stderr
    os.kill(int(left.group(1)), signal.SIGKILL)
    assert "1 passed" in done.stdout
    assert done.returncode == 1
