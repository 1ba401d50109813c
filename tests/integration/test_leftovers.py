"""What a run leaves behind when it is killed is found by the next one, and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from runtime.errors import LaunchError
from runtime.launch import leftovers, owner
from runtime.launch.leftovers import Found, Leftover

ROOT = Path(__file__).parents[2]
RUN_ID = f"test-leftovers-{os.getpid()}"

PROCESS_OWNER = f"""
import subprocess, sys, time
from runtime.launch import Spec, owner
from runtime.launch.process import ProcessLauncher
from runtime.model import Limits

launcher = ProcessLauncher({RUN_ID!r})
image = launcher.worker_image()
sleep = "import time; time.sleep(600)"
spec = Spec("sleeper", "step", image, {{}}, Limits(), argv=(image.argv[0], "-c", sleep))
instance = launcher.start(spec)
import os
stray = subprocess.Popen(
    [sys.executable, "-c", sleep],
    env={{**os.environ, **owner.environment({RUN_ID!r})}}, start_new_session=True,
)
print(instance.pid, stray.pid, flush=True)
time.sleep(600)
"""

DOCKER_OWNER = f"""
import time
from runtime.launch import Spec
from runtime.launch.docker import DockerLauncher
from runtime.model import Limits

launcher = DockerLauncher({RUN_ID!r})
sleep = ("python3", "-c", "import time; time.sleep(600)")
spec = Spec("sleeper", "step", launcher.worker_image(), {{}}, Limits(), argv=sleep)
instance = launcher.start(spec)
# One that its owner had frozen must be removable, too.
instance.freeze()
print(instance.id, flush=True)
time.sleep(600)
"""


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition; fails with ``what`` when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s} s for: {what}")
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process runs; in a container, nobody may ask for the exit code of an orphan."""
    started = owner.start_time(pid)
    return started is not None and owner.is_alive(pid, started)


def ours() -> Found:
    """The leftovers of this module's runs; others may leave their own while we look."""
    found = leftovers.find()
    return Found(tuple(each for each in found.leftovers if each.run_id == RUN_ID), found.problem)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Whatever the test does, its leftovers go."""
    yield
    leftovers.clean(ours())


def killed(program: str) -> list[str]:
    """Run an owner until it has printed a line, then SIGKILL it; returns the line's words."""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert ours().leftovers == ()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert words, "the owner ended before it had started anything"
    return words


def kinds(found: Found) -> list[str]:
    """What kinds of leftover were found, each once."""
    return sorted({each.kind for each in found.leftovers})


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals are Linux's")
def test_processes_of_a_killed_owner() -> None:
    """Instances end with their owner; a stray process and the folder are found and removed."""
    instance, stray = map(int, killed(PROCESS_OWNER))
    until(lambda: not runs(instance), "the end of the instance")
    assert runs(stray)
    found = ours()
    assert kinds(found) == ["folder", "process"]
    assert leftovers.clean(found) == found
    until(lambda: not runs(stray), "the end of the stray process")
    assert ours().leftovers == ()
    assert not any(Path(each.id).exists() for each in found.leftovers if each.kind == "folder")


@pytest.mark.docker
def test_containers_of_a_killed_owner() -> None:
    """The container and the network of a killed owner are found, named, and removed."""
    (container,) = killed(DOCKER_OWNER)
    found = ours()
    assert kinds(found) == ["container", "network"]
    (left,) = [each for each in found.leftovers if each.kind == "container"]
    assert left.id == container
    assert str(left) == f"container hopbench-{RUN_ID}-1-sleeper of run {RUN_ID}"
    leftovers.clean(found)
    assert ours().leftovers == ()
    # Another run may have removed them between looking and removing.
    leftovers.clean(found)


def test_the_living_are_left_alone() -> None:
    """Nothing of an owner that lives is found: neither its processes nor its folders."""
    folder = owner.temporary_folder(RUN_ID)
    environment = {**os.environ, **owner.environment(RUN_ID)}
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env=environment
    )
    try:
        assert ours().leftovers == ()
    finally:
        process.kill()
        process.wait()
        owner.remove_folder(folder)


def test_an_ended_process_nobody_asked_about_is_removed() -> None:
    """A leftover is gone once it has ended, whether or not its parent asks for its exit code."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        mark = f"{process.pid}:{owner.start_time(process.pid)}"
        leftovers.clean(Found((Leftover("process", mark, "unasked", RUN_ID),)))
        assert not runs(process.pid)
        assert owner.start_time(process.pid) is not None
    finally:
        process.kill()
        process.wait()


def test_one_that_stays_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be removed is named at the end; what comes after it is removed all the same."""
    folders = [tmp_path / name for name in ("stays", "goes")]
    for folder in folders:
        folder.mkdir()
    real = owner.remove_folder

    def remove(folder: Path) -> None:
        if folder.name == "stays":
            raise PermissionError(13, "Permission denied", str(folder))
        real(folder)

    monkeypatch.setattr(owner, "remove_folder", remove)
    found = Found(tuple(Leftover("folder", str(each), str(each), RUN_ID) for each in folders))
    with pytest.raises(LaunchError, match=r"stays: cannot remove .* Permission denied"):
        leftovers.clean(found)
    assert [folder.exists() for folder in folders] == [True, False]


@pytest.mark.parametrize(
    ("status", "message", "patience_s", "says"),
    [
        (403, "network x has active endpoints", 0.3, "has been restarted"),
        (500, "out of order", 60.0, "out of order"),
        (404, "no such network", 60.0, None),
        (409, "in use elsewhere", 60.0, None),
    ],
)
def test_a_network_that_the_engine_keeps(
    monkeypatch: pytest.MonkeyPatch, status: int, message: str, patience_s: float, says: str | None
) -> None:
    """An endpoint that is still counted is waited for; then the error says what would help."""
    from docker.errors import APIError
    from requests import Response

    from runtime.launch import engine

    response = Response()
    response.status_code = status
    asked = []

    class Engine:
        def remove_network(self, network: str) -> None:
            asked.append(network)
            raise APIError("refused", response, message)

    monkeypatch.setattr(engine, "_NETWORK_PATIENCE_S", patience_s)
    client = cast("engine.Client", Engine())
    if says is None:
        engine.remove_network(client, "id", "hopbench-x")
    else:
        with pytest.raises(LaunchError, match=rf"hopbench-x: .*{says}"):
            engine.remove_network(client, "id", "hopbench-x")
    assert len(asked) == (3 if status == 403 else 1)


def test_a_number_used_again_is_not_killed() -> None:
    """A process that got the number of a leftover meanwhile is not touched."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        earlier = Leftover("process", f"{process.pid}:1", "earlier", RUN_ID)
        leftovers.clean(Found((earlier,)))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine, processes and folders are still found, and the problem is told."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    found = leftovers.find()
    assert found.problem is not None
    assert "unix:///nowhere/docker.sock" in found.problem
