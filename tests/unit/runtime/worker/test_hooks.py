"""Lifecycle hooks: their results, their errors, their limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import ComponentError
from runtime.worker import hooks

ROOT = Path(__file__).resolve().parents[4]
HANGING = """
import time
from runtime.worker import hooks
hooks.run("init", time.sleep, 600, step="mapper", limit_s=0.2)
"""


def test_a_hook_gets_its_arguments_and_its_result_is_returned() -> None:
    """What a hook returns in time is returned."""
    assert hooks.run("startup", lambda *given: given, 1, 2, step="s", limit_s=60.0) == (1, 2)


def test_a_hook_that_fails_is_named() -> None:
    """Its error becomes one that names the step, the hook and what it raised."""

    def fails(_cfg: object) -> None:
        raise KeyError("token")

    with pytest.raises(ComponentError, match=r"step s: .*init hook failed: KeyError: 'token'"):
        hooks.run("init", fails, {}, step="s", limit_s=60.0)


def test_a_hook_that_hangs_ends_the_process() -> None:
    """An exit code of its own, and the hook, the step and the limit are named."""
    done = subprocess.run(
        [sys.executable, "-c", HANGING], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == hooks.EXIT_HOOK == 6
    assert "step mapper: the component's init hook has not returned within 0.2 s" in done.stderr


def test_startup_state_is_kept(tmp_path: Path) -> None:
    """What the startup hook returned is there for the shutdown hook of another process."""
    path = str(tmp_path / "startup.json")
    assert hooks.kept(path) is None
    hooks.keep(path, {"webhook": 7})
    assert hooks.kept(path) == {"webhook": 7}
    with pytest.raises(ComponentError, match="no JSON"):
        hooks.keep(path, {1, 2})
