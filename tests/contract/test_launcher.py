"""What every launcher must do: one suite, run on containers and on processes."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import psutil
import pytest

from runtime.errors import LaunchError
from runtime.launch import Instance, Launcher, Spec, owner
from runtime.launch.owner import RUN, RUN_LABEL
from runtime.model import Component, Function, Limits, Revision

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
POLITE = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
    "print('up', flush=True); time.sleep(600)"
)
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)"
)
ECHO = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("up", flush=True)
while True:
    peer, _ = server.accept()
    peer.sendall(peer.recv(100).upper())
"""
CALL = """
import socket, sys, time
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
peer.sendall(b"hello")
print(peer.recv(100).decode(), flush=True)
time.sleep(600)
"""
RUN_IDS = (f"test-launcher-{psutil.Process().pid}-{number}" for number in count(1))


def until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition; fails with ``what`` when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s} s for: {what}")
        time.sleep(0.01)


def make_launcher(kind: str) -> Launcher:
    """A launcher with a run of its own."""
    if kind == "docker":
        from runtime.launch.docker import DockerLauncher

        return DockerLauncher(next(RUN_IDS))
    from runtime.launch.process import ProcessLauncher

    return ProcessLauncher(next(RUN_IDS))


def run_id_of(launcher: Launcher) -> str:
    """The run that a launcher of these tests belongs to."""
    run_id: str = vars(launcher)["run_id"]
    return run_id


def left_of(launcher: Launcher) -> list[str]:
    """What still exists of a run, as engine and kernel say it."""
    run_id = run_id_of(launcher)
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN) == run_id:
                left.append(f"process {process.pid}")
        except (psutil.Error, OSError):
            continue
    if launcher.name == "docker":
        from runtime.launch.engine import connect

        client = connect()
        try:
            mine = {"label": f"{RUN_LABEL}={run_id}"}
            left += [each["Id"] for each in client.containers(all=True, filters=mine)]
            left += [each["Name"] for each in client.networks(filters=mine)]
        finally:
            client.close()
    return left


def remove_image(reference: str) -> None:
    """Remove an image that a test had built."""
    from runtime.launch.engine import connect

    client = connect()
    try:
        client.remove_image(reference, force=True)
    finally:
        client.close()


class Bench:
    """A launcher, and short ways to start a Python program with it."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self._numbers = count(1)

    def spec(
        self,
        program: str,
        *arguments: str,
        name: str = "",
        env: dict[str, str] | None = None,
        spool: Path | None = None,
        ports: tuple[int, ...] = (),
        limits: Limits | None = None,
    ) -> Spec:
        """A spec that runs a program's text."""
        image = self.launcher.worker_image()
        return Spec(
            name=name or f"one-{next(self._numbers)}",
            role="step",
            image=image,
            env=env or {},
            limits=limits or Limits(),
            spool=spool,
            ports=ports,
            argv=(image.argv[0], "-c", program, *arguments),
        )

    def start(self, spec: Spec, *, until_up: bool = True) -> Instance:
        """Start it, and by default wait for its first line."""
        instance = self.launcher.start(spec)
        if until_up:
            until(instance.logs, "the first line")
        return instance

    def port(self) -> int:
        """A port for a server: processes share this host's, containers have their own."""
        if self.launcher.isolates:
            return 8123
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        return port


@pytest.fixture(
    scope="module", params=[pytest.param("docker", marks=pytest.mark.docker), "process"]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Which launcher."""
    return str(request.param)


@pytest.fixture(scope="module")
def bench(kind: str) -> Iterator[Bench]:
    """A launcher that is shared by the tests that do not close it."""
    launcher = make_launcher(kind)
    yield Bench(launcher)
    launcher.close()


@pytest.fixture
def own(kind: str) -> Iterator[Bench]:
    """A launcher that the test may close."""
    launcher = make_launcher(kind)
    yield Bench(launcher)
    launcher.close()


def test_exit_code_is_reported(bench: Bench) -> None:
    """An instance that ends by itself gives its exit code, and no signal of ours."""
    instance = bench.start(bench.spec("raise SystemExit(5)"), until_up=False)
    ended = instance.wait(20.0)
    assert ended is not None
    assert (ended.code, ended.signal, ended.oom_killed) == (5, None, False)
    assert instance.stop(grace_s=1.0) == ended


def test_alive_follows_the_instance(bench: Bench) -> None:
    """An instance is alive while it runs and not after; waiting for it ends when time is up."""
    instance = bench.start(bench.spec(POLITE))
    assert instance.alive()
    assert instance.wait(0.05) is None
    instance.stop(grace_s=10.0)
    assert not instance.alive()


def test_sigterm_is_enough_for_those_that_listen(bench: Bench) -> None:
    """An instance that handles SIGTERM ends with the exit code it chose."""
    ended = bench.start(bench.spec(POLITE)).stop(grace_s=10.0)
    assert (ended.code, ended.signal) == (7, "SIGTERM")


def test_sigkill_ends_those_that_do_not(bench: Bench) -> None:
    """An instance that ignores SIGTERM is killed after the grace, and that is recorded."""
    ended = bench.start(bench.spec(DEAF)).stop(grace_s=0.2)
    assert (ended.code, ended.signal, ended.oom_killed) == (137, "SIGKILL", False)


def test_stop_is_idempotent(bench: Bench) -> None:
    """A second stop changes nothing and says the same."""
    instance = bench.start(bench.spec(POLITE))
    assert instance.stop(grace_s=10.0) == instance.stop(grace_s=0.0)


def test_stop_from_two_threads(bench: Bench) -> None:
    """Two threads that stop one instance both get its one end."""
    instance = bench.start(bench.spec(POLITE))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: instance.stop(grace_s=10.0), range(2))
    assert first == second


def ticks(bench: Bench, folder: Path) -> Instance:
    """An instance that writes a dot every 10 ms to the file ``ticks`` of its spool folder."""
    program = (
        "import sys, time, pathlib; print('up', flush=True)\n"
        "with open(pathlib.Path(sys.argv[1], 'ticks'), 'a', buffering=1) as file:\n"
        "    while True: print('.', file=file); time.sleep(0.01)"
    )
    return bench.start(bench.spec(program, bench.launcher.inside(folder), spool=folder))


def test_frozen_instance_stands_still(bench: Bench, tmp_path: Path) -> None:
    """What is frozen does nothing, is alive all the same, and goes on when it is thawed."""
    instance = ticks(bench, tmp_path)
    seen = tmp_path / "ticks"
    until(lambda: seen.exists() and seen.stat().st_size > 10, "the first ticks")
    instance.freeze()
    instance.freeze()
    size = seen.stat().st_size
    time.sleep(0.2)
    assert seen.stat().st_size == size
    assert instance.alive()
    assert instance.wait(0.0) is None
    instance.thaw()
    instance.thaw()
    until(lambda: seen.stat().st_size > size, "the ticks after the thaw")
    instance.stop(grace_s=0.0)


def test_frozen_instance_is_stopped_in_order(bench: Bench) -> None:
    """Stopping thaws first: what handles SIGTERM ends by itself although it was frozen."""
    instance = bench.start(bench.spec(POLITE))
    instance.freeze()
    ended = instance.stop(grace_s=10.0)
    assert (ended.code, ended.signal) == (7, "SIGTERM")


def test_freezing_what_has_ended_is_an_error(bench: Bench) -> None:
    """An instance that has ended cannot be frozen, which is said; thawing it does nothing."""
    instance = bench.start(bench.spec("print('up')"))
    assert instance.wait(20.0) is not None
    with pytest.raises(LaunchError, match=instance.name):
        instance.freeze()
    instance.thaw()
    instance.stop(grace_s=0.0)


def test_what_dies_frozen_is_thawed_without_an_error(bench: Bench) -> None:
    """A frozen instance that is killed from outside can be thawed and stopped as any other."""
    instance = bench.start(bench.spec(SLEEP))
    assert instance.pid is not None
    victim = psutil.Process(instance.pid)
    instance.freeze()
    victim.kill()
    instance.thaw()
    assert instance.wait(20.0) is not None
    assert instance.stop(grace_s=0.0).code == 137


def test_instants_are_in_order(bench: Bench) -> None:
    """Asked for, started, ended: in this order on one clock."""
    before_ns = time.monotonic_ns()
    instance = bench.start(bench.spec("print(1)"), until_up=False)
    ended = instance.wait(20.0)
    assert ended is not None
    instants = [before_ns, instance.create_ns, instance.started_ns]
    assert sorted(instants) == instants
    assert instance.create_ns < ended.ended_ns < time.monotonic_ns()
    instance.stop(grace_s=0.0)


def test_parallel_starts(bench: Bench) -> None:
    """Starts from several threads give instances of their own, all of which run."""
    specs = [bench.spec(SLEEP) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        instances = list(pool.map(bench.start, specs))
    assert len({instance.id for instance in instances}) == 4
    assert [instance.name for instance in instances] == [spec.name for spec in specs]
    assert all(instance.alive() for instance in instances)
    for instance in instances:
        instance.stop(grace_s=0.0)


def test_environment_is_what_was_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the spec arrive; those of the caller's own environment do not."""
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    instance = bench.start(bench.spec(program, env={"GIVEN": "a b", "PYTHONUNBUFFERED": "0"}))
    seen = json.loads(instance.logs())
    assert seen["GIVEN"] == "a b"
    assert seen["PYTHONUNBUFFERED"] == "0"
    assert "SECRET_OF_THE_CALLER" not in seen
    instance.stop(grace_s=0.0)


def test_spool_is_shared(bench: Bench, tmp_path: Path) -> None:
    """What the host puts into the spool folder is read inside, and the other way round."""
    (tmp_path / "order").write_text("from the host")
    program = (
        "import sys, pathlib; spool = pathlib.Path(sys.argv[1]);"
        "(spool / 'answer').write_text((spool / 'order').read_text().upper())"
    )
    inside = bench.launcher.inside(tmp_path)
    instance = bench.start(bench.spec(program, inside, spool=tmp_path), until_up=False)
    ended = instance.wait(20.0)
    assert ended is not None
    assert ended.code == 0, instance.logs()
    assert (tmp_path / "answer").read_text() == "FROM THE HOST"
    instance.stop(grace_s=0.0)


def test_logs_stay_readable(bench: Bench) -> None:
    """Both streams' last lines can be read while it runs, after its end, and after its removal."""
    program = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)"
    instance = bench.start(bench.spec(program), until_up=False)
    assert instance.wait(20.0) is not None
    # Two streams: which line comes first is not certain.
    assert sorted(instance.logs().splitlines()) == ["err", "out"]
    instance.stop(grace_s=0.0)
    assert sorted(instance.logs().splitlines()) == ["err", "out"]
    assert len(instance.logs(1).splitlines()) == 1


def test_events_are_in_order(bench: Bench) -> None:
    """Create, start and die of an instance appear in this order, with its id and name."""
    instance = bench.start(bench.spec(POLITE))
    ended = instance.stop(grace_s=10.0)
    events = [each for each in bench.launcher.events() if each.instance_id == instance.id]
    assert [each.action for each in events] == ["create", "start", "die"]
    assert {each.name for each in events} == {instance.name}
    at_ns = [each.at_ns for each in events]
    assert at_ns == sorted(at_ns)
    assert instance.create_ns <= at_ns[0]
    assert at_ns[-1] == ended.ended_ns
    everything = [each.at_ns for each in bench.launcher.events()]
    assert everything == sorted(everything)


def test_instances_reach_one_another(bench: Bench) -> None:
    """A server is reached at its host name; the connection is listed on the client's side."""
    port = bench.port()
    server = bench.start(bench.spec(ECHO, str(port), name="echo"))
    client = bench.start(bench.spec(CALL, bench.launcher.host_name("echo"), str(port)))
    assert client.logs().strip() == "HELLO"
    assert (server.addresses()[0], port) in client.connections()
    for instance in (client, server):
        instance.stop(grace_s=0.0)


def test_ports_are_reachable_from_the_host(bench: Bench) -> None:
    """A port of the spec is reached from here, over loopback only."""
    port = bench.port()
    server = bench.start(bench.spec(ECHO, str(port), ports=(port,)))
    address = server.address(port)
    assert address[0] == "127.0.0.1"
    with socket.create_connection(address, timeout=10) as peer:
        peer.sendall(b"hello")
        assert peer.recv(100) == b"HELLO"
    server.stop(grace_s=0.0)


def test_first_process_is_visible(bench: Bench) -> None:
    """The process id is this host's own: its command line is the one we gave."""
    instance = bench.start(bench.spec(SLEEP))
    assert instance.pid is not None
    assert psutil.Process(instance.pid).cmdline()[-1] == SLEEP
    instance.stop(grace_s=0.0)


def test_what_an_instance_started_ends_with_it(bench: Bench) -> None:
    """A child that the instance leaves behind is gone when the instance has been stopped."""
    child = "import time; time.sleep(600)"
    program = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); print('up', flush=True);"
        "time.sleep(600)"
    )
    instance = bench.start(bench.spec(program))
    assert instance.pid is not None
    (child_process,) = psutil.Process(instance.pid).children()
    started = owner.start_time(child_process.pid)
    assert started is not None
    instance.stop(grace_s=0.0)
    until(lambda: not owner.is_alive(child_process.pid, started), "the end of the child")


def test_component_is_prepared(
    bench: Bench, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A component's folder is there for workers, and its files can be run as scripts."""
    if kind == "process":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    (tmp_path / "beside.py").write_text("WORD = 'from beside'\n")
    (tmp_path / "main.py").write_text(
        "import os, sys, beside\n"
        "print(beside.WORD, sys.argv[1], sorted(os.listdir(os.environ['HOPBENCH_COMPONENT'])))\n"
    )
    functions = {"run": Function("run", "service", "main.py")}
    component = Component("tried", tmp_path, "Tried", functions)
    revision = Revision(component, f"of-{run_id_of(bench.launcher)}")
    image = bench.launcher.prepare(revision)
    assert bench.launcher.prepare(revision) == image
    spec = Spec(
        "tried", "service", image, {}, Limits(), argv=bench.launcher.script(image, "main.py", "now")
    )
    instance = bench.start(spec)
    assert instance.logs() == "from beside now ['__pycache__', 'beside.py', 'main.py']"
    instance.stop(grace_s=0.0)
    if kind == "docker":
        remove_image(image.reference)


def test_worker_is_the_default_command(bench: Bench) -> None:
    """Without a command of its own a spec runs the worker, which says what it lacks."""
    spec = Spec("idle", "step", bench.launcher.worker_image(), {}, Limits())
    instance = bench.start(spec, until_up=False)
    ended = instance.wait(20.0)
    assert ended is not None
    assert ended.code == 2
    assert "HOPBENCH_" in instance.logs() or "ELASTICIO_" in instance.logs()
    instance.stop(grace_s=0.0)


def test_load_generator_starts(bench: Bench, tmp_path: Path) -> None:
    """The load image's own command comes up and says so in its folder."""
    spec = Spec(
        name="load",
        role="load",
        image=bench.launcher.load_image(),
        env={"HOPBENCH_LOAD": bench.launcher.inside(tmp_path)},
        limits=Limits(memory_bytes=512 * 1024 * 1024),
        spool=tmp_path,
    )
    instance = bench.start(spec, until_up=False)
    until(lambda: (tmp_path / "ready").exists() or instance.wait(0.0), "the load generator", 60.0)
    assert (tmp_path / "ready").exists(), instance.logs()
    assert instance.stop(grace_s=10.0).signal == "SIGTERM"


def test_missing_program_is_an_error(own: Bench) -> None:
    """A command that is not there raises LaunchError with its name, and leaves nothing behind."""
    image = own.launcher.worker_image()
    spec = Spec("absent", "step", image, {}, Limits(), argv=("no-such-program",))
    with pytest.raises(LaunchError, match="no-such-program"):
        own.launcher.start(spec)
    own.launcher.close()
    assert left_of(own.launcher) == []


def test_close_removes_everything(own: Bench) -> None:
    """After close nothing of the run exists: running, ended, or deaf to SIGTERM; twice is fine."""
    running = own.start(own.spec(SLEEP))
    ended = own.start(own.spec("print('done')"))
    assert ended.wait(20.0) is not None
    own.start(own.spec(POLITE)).stop(grace_s=10.0)
    own.start(own.spec(SLEEP)).freeze()
    assert left_of(own.launcher)
    own.launcher.close()
    assert left_of(own.launcher) == []
    assert not running.alive()
    own.launcher.close()
    actions = [each.action for each in own.launcher.events()]
    assert (actions.count("start"), actions.count("die")) == (4, 4)


def test_close_ends_what_left_its_session(own: Bench) -> None:
    """A grandchild in a session of its own, whose parents have ended, is gone after close."""
    child = "import time; time.sleep(600)"
    program = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True);"
        "print('up', flush=True); time.sleep(600)"
    )
    instance = own.start(own.spec(program))
    assert instance.pid is not None
    (child_process,) = psutil.Process(instance.pid).children()
    started = owner.start_time(child_process.pid)
    assert started is not None
    instance.stop(grace_s=0.0)
    own.launcher.close()
    assert not owner.is_alive(child_process.pid, started)
    assert left_of(own.launcher) == []


def test_closed_launcher_starts_nothing(own: Bench) -> None:
    """A start after close is refused instead of leaving something behind."""
    spec = own.spec(SLEEP)
    own.launcher.close()
    with pytest.raises(LaunchError, match="closed"):
        own.launcher.start(spec)


def test_isolates_says_what_it_is(bench: Bench, kind: str) -> None:
    """Only containers are said to isolate: claims about containers rest on it."""
    assert (bench.launcher.name, bench.launcher.isolates) == (kind, kind == "docker")
    assert sys.platform != "win32"
