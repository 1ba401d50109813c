"""What docs/platform.md shows a stranger is what happens, command by command."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "platform.md"
ELLIPSIS = "…"
START_S, LOOK_S = 90.0, 20.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A command, and what the document says it prints."""

    command: str
    output: str


def session(name: str) -> list[Shown]:
    """The commands of one of the document's sessions."""
    found = re.search(
        rf"<!-- session: {name} -->\n```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    assert found is not None
    shown = []
    for part in re.split(r"^\$ ", found.group(1), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        shown.append(Shown(command, output))
    return shown


def is_as_shown(output: str, shown: str) -> bool:
    """Whether an output is the shown one; dots stand for anything, blanks for blanks."""
    pattern = r"\s*".join(
        r".*?".join(re.sub(r"(\\ )+", r"\\s+", re.escape(part)) for part in line.split(ELLIPSIS))
        for line in map(str.rstrip, shown.splitlines())
    )
    return re.fullmatch(rf"\s*{pattern}\s*", output, re.DOTALL) is not None


def environment(store: Path) -> dict[str, str]:
    """That of a stranger who has activated this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HOPBENCH_STORE": str(store), "COLUMNS": "200"}


@contextmanager
def served(command: str, store: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A platform in a terminal of its own; told to stop at the end, as by Ctrl-C."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            shlex.split(command), cwd=ROOT, env=environment(store), stderr=output
        )
    try:
        deadline = time.monotonic() + START_S
        while "serving" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def run(command: str, store: Path) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    return subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=environment(store),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", id="as-shown", marks=[pytest.mark.docker]),
        pytest.param(" --launcher process --broker nats", id="processes"),
    ],
)
def test_a_strangers_session(tmp_path: Path, options: str) -> None:
    """Every command of the document succeeds, and prints what the document shows."""
    store, log = tmp_path / "platform", tmp_path / "serve.log"
    (serve,) = session("serve")
    with served(serve.command + options, store, log) as process:
        assert is_as_shown(log.read_text(), serve.output), log.read_text()
        for shown in session("operate"):
            deadline = time.monotonic() + LOOK_S
            done = run(shown.command, store)
            # A message is under way for a moment: who looks again sees where it has come to.
            while not is_as_shown(done.stdout, shown.output) and time.monotonic() < deadline:
                assert re.search(r" (errors|queues|status) ", shown.command), done
                time.sleep(0.2)
                done = run(shown.command, store)
            assert (done.returncode, done.stderr) == (0, ""), shown.command
            assert is_as_shown(done.stdout, shown.output), f"{shown.command}\n{done.stdout}"
    assert process.returncode == 0, log.read_text()
    assert not (store / "platform.json").exists()


@pytest.mark.timeout(300)
def test_a_killed_platform(tmp_path: Path) -> None:
    """After SIGKILL the next platform has the flow stopped, says why, and takes its operations."""
    store, log = tmp_path / "platform", tmp_path / "serve.log"
    command = "python -m bench flow serve --launcher process --broker nats"
    with served(command, store, log) as process:
        for shown in session("operate")[:4]:
            assert run(shown.command, store).returncode == 0
        process.kill()
        process.wait(60)
    assert "no platform runs" in run("python -m bench flow status", store).stderr
    again = tmp_path / "again.log"
    with served(command, store, again):
        assert "left by a platform that ended without closing: flow greet: the platform ended" in (
            again.read_text()
        )
        (flow,) = json.loads(run("python -m bench flow status --json", store).stdout)
        assert (flow["state"], flow["steps"]) == ("stopped", [])
        assert flow["reason"]
        history = json.loads(run("python -m bench flow history greet --json", store).stdout)
        assert all(action["ended_at"] for action in history)
        assert run("python -m bench flow start greet", store).stdout == "greet: realtime, running\n"


@pytest.mark.timeout(120)
def test_ctrl_c_again_and_again(tmp_path: Path) -> None:
    """Whoever is impatient gets the same end, in order, with exit code 0."""
    log = tmp_path / "serve.log"
    command = "python -m bench flow serve --launcher process --broker nats"
    with served(command, tmp_path / "platform", log) as process:
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
    assert process.returncode == 0, log.read_text()
    assert not (tmp_path / "platform" / "platform.json").exists()


@pytest.mark.timeout(120)
def test_told_to_stop_while_it_opens(tmp_path: Path) -> None:
    """Ctrl-C before it serves ends it at once, in order, as the user's wish."""
    store, log = tmp_path / "platform", tmp_path / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*(sys.executable, "-m", "bench", "flow", "serve"), "--launcher", "process"],
            cwd=ROOT,
            env=environment(store),
            stderr=output,
        )
    deadline = time.monotonic() + START_S
    while "steps as" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    # It may have come to serve by then: that is an end in order, too.
    assert code in {130, 0}, log.read_text()
    assert "Traceback" not in log.read_text()
    assert not (store / "platform.json").exists()


def test_the_file_is_the_one_that_is_shown() -> None:
    """The definition in the document is the file that its commands use."""
    found = re.search(r"<!-- file: (\S+) -->\n```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    assert (ROOT / found.group(1)).read_text() == found.group(2)


def test_the_commands_are_those_there_are() -> None:
    """The document's table and the program's own help name the same commands and options."""
    listed = set(re.findall(r"^ {4}([a-z]+) {2,}", run_help(), re.MULTILINE))
    text = DOCUMENT.read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    shown = set(re.findall(r"`([a-z]+)(?: [A-Z\[][^`]*)?`[,|` ]", text)) & (listed | {"nothing"})
    assert shown == listed
    for command in sorted(listed):
        for option in set(re.findall(r"(--[a-z]+)", run_help(command))) - {"--help"}:
            assert f"`{option}" in text, f"{command} {option}"


def run_help(*command: str) -> str:
    """What ``bench flow ... --help`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "flow", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
