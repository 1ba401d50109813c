"""A store survives the death of its process at every step: nothing half done, nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Make = Callable[..., Path]
ROOT = Path(__file__).parents[4]


def test_no_step_at_which_a_kill_leaves_half_of_anything(make: Make, tmp_path: Path) -> None:
    """Killed before each statement and each change of a file, opened again, and gone on with.

    What had returned is there, to the last pin; what was under way is there whole or not at all; no
    revision lacks its content; the lock of the dead process is free; and the rest of the work then
    leads to the same store as without a kill.
    """
    components = tmp_path / "revisions"
    for revision, name in (("1", "one"), ("1", "two"), ("2", "one")):
        (components / revision).mkdir(parents=True, exist_ok=True)
        make(name, revision).rename(components / revision / name)
    folder = tmp_path / "stores"
    folder.mkdir()
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
