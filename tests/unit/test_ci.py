"""What .ci/run counts and says, tried in a tree whose steps are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("provision", "tests", "lint", "types", "imports", "micro", "certify", "measure", "gate")


def script(path: Path, body: str) -> None:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with the real .ci/run, and programs that only say what they were asked."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    # A stand-in fails when the word in FAILS is among its arguments.
    say = 'echo "$(basename "$0") $* CI=$CI"; case " $* " in *" $FAILS "*) exit 7;; esac'
    script(tmp_path / ".ci" / "provision.sh", say)
    script(tmp_path / "path" / "sudo", 'exec "$@"')
    script(tmp_path / "path" / "python3", say)
    script(tmp_path / ".venv" / "bin" / "nox", say)
    script(tmp_path / ".nox" / "hopbench" / "bin" / "python", say)
    (tmp_path / "README.md").write_text(
        "```sh\npython3 -m venv .venv && .venv/bin/nox -s bench\n```\n"
        "```sh\npython3 -m venv .venv && .venv/bin/nox -s tests\n```\n"
    )
    return tmp_path


def run(tree: Path, *, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
    """Run .ci/run in the tree; the step that is asked for ``fails`` ends with code 7."""
    path = f"{tree / 'path'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [tree / ".ci" / "run"],
        env={**os.environ, "PATH": path, "FAILS": fails},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_steps_pass(tree: Path) -> None:
    """When every step passes, the last line counts them and the exit code is 0."""
    done = run(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{len(STEPS)} passed, 0 failed"
    kept = {path.stem for path in (tree / ".ci-artifacts").glob("*.log")}
    assert kept == set(STEPS)


def test_steps_know_that_they_run_in_ci(tree: Path) -> None:
    """The README's test command is run word for word, with CI=true in its environment."""
    run(tree)
    log = (tree / ".ci-artifacts" / "tests.log").read_text()
    assert log.splitlines() == ["python3 -m venv .venv CI=true", "nox -s tests CI=true"]


@pytest.mark.parametrize(
    "session", ["tests", "lint", "types", "imports", "micro", "certify", "bench", "gate"]
)
def test_one_failing_step_fails_the_run(tree: Path, session: str) -> None:
    """The failure of any step fails the run, is named, and keeps no other step from running."""
    done = run(tree, fails=session)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    # The measurement is the session called bench; the gate is "python -m bench gate".
    failed = {"bench": {"measure", "gate"}}.get(session, {session})
    assert {line for line in lines if line.startswith("failed:")} == {
        f"failed: {name} (exit 7)" for name in failed
    }
    assert lines[-1] == f"{len(STEPS) - len(failed)} passed, {len(failed)} failed"


def test_certificate_goes_with_the_measured_run(tree: Path) -> None:
    """What certify has made is given to the measurement, also when it is not valid."""
    folder = ".ci-artifacts/certificate"
    body = (
        'echo "$(basename "$0") $*"; case " $* " in *" certify "*) '
        f'mkdir -p {folder}; echo "{{}}" > {folder}/certificate.json; exit 3;; esac'
    )
    script(tree / ".venv" / "bin" / "nox", body)
    done = run(tree)
    assert "failed: certify (exit 3)" in done.stdout.splitlines()
    measured = (tree / ".ci-artifacts" / "measure.log").read_text()
    assert f"--certificate {folder}" in measured


def test_without_a_certificate_the_run_is_measured(tree: Path) -> None:
    """A certify that made nothing fails, and the measurement is made without a certificate."""
    run(tree, fails="certify")
    measured = (tree / ".ci-artifacts" / "measure.log").read_text()
    assert "-s bench" in measured
    assert "--certificate" not in measured


def test_readme_without_test_command_stops_the_run(tree: Path) -> None:
    """A README that lost its test command is an error, not a run without tests."""
    (tree / "README.md").write_text("# nothing\n")
    done = run(tree)
    assert done.returncode == 2
    assert "exactly one command" in done.stderr
    assert not (tree / ".ci-artifacts").exists()
