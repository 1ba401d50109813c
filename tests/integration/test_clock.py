"""A clock's id differs where the clock does: in a time namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.clock import clock_id

ROOT = Path(__file__).parents[2]
PROGRAM = "import json, runtime.clock as c; print(json.dumps([c.clock_id(), c.now_ns()]))"
AHEAD_S = 1000


def ask(*before: str) -> tuple[str, int]:
    """The clock id and instant of another process, started by the command ``before``."""
    said = subprocess.check_output([*before, sys.executable, "-c", PROGRAM], cwd=ROOT)
    clock, at_ns = json.loads(said)
    return clock, at_ns


def test_another_process_has_the_same_clock() -> None:
    """Two processes of one machine name one clock, and it goes on from one to the other."""
    before_ns = time.monotonic_ns()
    clock, at_ns = ask()
    assert clock == clock_id()
    assert before_ns < at_ns < time.monotonic_ns()


@pytest.mark.time_namespace
def test_another_time_namespace_is_another_clock() -> None:
    """Where CLOCK_MONOTONIC is set apart, the id is another: such instants are never subtracted."""
    before_ns = time.monotonic_ns()
    clock, at_ns = ask("unshare", "--time", "--monotonic", str(AHEAD_S))
    assert at_ns - before_ns >= AHEAD_S * 1_000_000_000
    assert clock != clock_id()
    assert clock.split()[0] == clock_id().split()[0]
