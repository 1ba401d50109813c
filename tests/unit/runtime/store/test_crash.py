"""A store survives the death of its process at every step: nothing half done, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Make = Callable[..., Path]
MEMORY = Path("/dev/shm")
"""Killing a process needs no disk: its writes are the kernel's, flushed or not."""
ROOT = Path(__file__).parents[4]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: some thousand flushes are quick there."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="hopbench-test-", dir=MEMORY) as made:
        yield Path(made)


@pytest.mark.timeout(300)
def test_no_step_at_which_a_kill_leaves_half_of_anything(
    make: Make, tmp_path: Path, folder: Path
) -> None:
    """Killed before each statement and each change of a file, opened again, and gone on with.

    What had returned is there, to the last pin; what was under way is there whole or not at all; no
    revision lacks its content; the lock of the dead process is free; and the rest of the work then
    leads to the same store as without a kill.
    """
    components = tmp_path / "revisions"
    for revision, name in (("1", "one"), ("1", "two"), ("2", "one")):
        (components / revision).mkdir(parents=True, exist_ok=True)
        make(name, revision).rename(components / revision / name)
    run = subprocess.run(
        [sys.executable, "-m", "tests.fakes.store_crash", str(folder), str(components)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line for line in lines if line["wrong"]] == []
    assert len(lines) > 150
    assert [line["killed"] for line in lines] == [True] * (len(lines) - 1) + [False]
    # Every work was cut short at some step, and the last child did all of them.
    assert {line["done"] for line in lines} == set(range(lines[-1]["done"] + 1))
