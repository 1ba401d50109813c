"""Random sequences of operations on a real platform: no illegal state, no orphan, nothing lost.

Hypothesis makes the sequences; messages are sent and containers are killed in between. Most are
played on processes and NATS, which start fast, some on containers and RabbitMQ. In the environment,
HOPBENCH_FLOW_EXAMPLES and HOPBENCH_FLOW_EXAMPLES_DOCKER are how many sequences are tried, where
more are wanted than the few of a usual run. That the machine finds what goes wrong is shown with
sequences that are written down: nothing is left to chance there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import docker.errors
import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.broker import connect
from runtime.broker.nats_server import NatsServer
from runtime.control import legal
from runtime.control.crew import Crew, Member
from runtime.errors import StateError
from runtime.flows import LEGAL, FlowEntry, Operation
from runtime.launch import Launcher
from runtime.launch.broker_container import start_broker
from runtime.launch.docker import DockerLauncher
from runtime.launch.engine import connect as connect_engine
from runtime.launch.owner import RUN, RUN_LABEL
from runtime.launch.process import ProcessLauncher
from runtime.launch.watch import ROLE_LABEL
from runtime.model import FlowState, FlowType
from runtime.platform import Platform
from tests.fakes.platforms import World, wait_for

RUN_ID = "test-flow-states"
LAYOUTS = (("a=pass", "b=pass"), ("b=pass", "a=pass"), ("a=pass",), ("a=pass", "b=raise"))
EXAMPLES, STEPS, KILLS = 10, 20, 3
EXAMPLES_DOCKER, STEPS_DOCKER = 2, 12
KEPT_S = 10.0
PLANTED_GRACE_S, PLANTED_KEPT_S = 0.5, 1.0
"""For containers that do not answer anyway, and for messages that are gone for good."""
FLOW = "flow"
UP = LEGAL[Operation.SUSPEND]


class Parts(Protocol):
    """What flows are run on. ``lag_s`` is how long what has ended may still seem to live."""

    launcher: Launcher
    url: str
    url_inside: str
    lag_s: float

    def alive(self, folder: Path) -> list[Any]:
        """What lives of the steps that write below a folder."""

    def kill(self, one: Any) -> None:
        """End one of them as a crash does."""


class Processes:
    """Steps as processes."""

    lag_s = 0.0

    def __init__(self, url: str) -> None:
        self.launcher: Launcher = ProcessLauncher(RUN_ID)
        self.url = self.url_inside = url

    def alive(self, folder: Path) -> list[int]:
        """Ids of processes."""
        mine = []
        for process in psutil.process_iter():
            try:
                variables = process.environ()
            except psutil.Error:
                continue
            spool = variables.get("HOPBENCH_SPOOL", "")
            if variables.get(RUN) == RUN_ID and spool.startswith(str(folder)):
                mine.append(process.pid)
        return mine

    def kill(self, one: int) -> None:
        """SIGKILL, which may come too late."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


class Containers:
    """Steps and broker as containers."""

    lag_s = 20.0
    """The engine lists a container as running until its network has been taken down."""

    def __init__(self, launcher: DockerLauncher, url: str, url_inside: str) -> None:
        self.launcher: Launcher = launcher
        self.url, self.url_inside = url, url_inside
        self._engine = connect_engine()

    def alive(self, folder: Path) -> list[str]:
        """Ids of the steps' containers that mount a folder in there."""
        mine = {"label": [f"{RUN_LABEL}={RUN_ID}", f"{ROLE_LABEL}=step"]}
        return [
            found["Id"]
            for found in self._engine.containers(filters=mine)
            if any(mount["Source"].startswith(str(folder)) for mount in found["Mounts"])
        ]

    def kill(self, one: str) -> None:
        """SIGKILL, which may come too late."""
        with contextlib.suppress(docker.errors.APIError):
            self._engine.kill(one)

    def close(self) -> None:
        """Let the engine go."""
        self._engine.close()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes on NATS."""
    server = NatsServer.start(RUN_ID, tmp_path_factory.mktemp("broker"))
    parts = Processes(server.url)
    yield parts
    parts.launcher.close()
    server.stop()


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """Containers on RabbitMQ, which is one, too."""
    launcher = DockerLauncher(RUN_ID)
    broker = start_broker(launcher)
    parts = Containers(launcher, broker.url_host, broker.url_inside)
    yield parts
    parts.close()
    broker.stop()
    launcher.close()


class FlowStates(RuleBasedStateMachine):
    """One flow, and what must be true of it after each operation."""

    parts: ClassVar[Parts]
    place: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="flow-states-"))
        self.folder.chmod(0o755)  # A container's user is another one.
        parts = self.parts
        self.world = World(
            self.folder / "world", parts.launcher, parts.url, parts.url_inside, **self.place
        )
        self.sent: set[int] = set()
        self.dropped: set[int] = set()
        self.kills = 0

    @initialize(kind=st.sampled_from(FlowType))
    def make(self, kind: FlowType) -> None:
        """A flow with one version."""
        self.world.component("pass")
        self.world.component("raise", "raise ValueError('no')")
        self.world.publish(FLOW, *LAYOUTS[0], kind=kind)
        self.world.platform.start(FLOW)

    @rule(name=st.sampled_from(("start", "stop", "suspend", "resume", "switch")))
    def operate(self, name: str) -> None:
        """An operation: done where it is legal, refused and without effect where not."""
        before = self.world.platform.status(FLOW).entry
        operation = Operation(name)
        waiting = self._unhandled() if name == "stop" else set()
        try:
            getattr(self.world.platform, name)(FLOW)
        except StateError:
            assert before.state not in LEGAL[operation]
            # What works just then may have gone to sleep, or woken up.
            after = self.world.platform.status(FLOW).entry
            assert dataclasses.replace(after, state=before.state) == before
            assert (after.state in UP) == (before.state in UP)
            return
        assert before.state in LEGAL[operation]
        after = self.world.platform.status(FLOW).entry
        is_realtime = after.flow_type is FlowType.REALTIME
        up = {FlowState.RUNNING} if is_realtime else UP
        ends_in = {
            "start": up,
            "resume": up,
            "stop": {FlowState.STOPPED},
            "suspend": {FlowState.SUSPENDED},
            "switch": {FlowState.STOPPED},
        }
        assert after.state in ends_in[name]
        if name == "stop":
            self.dropped |= waiting

    @rule()
    @precondition(lambda self: self.state() not in UP)
    def go_on(self) -> None:
        """What is down comes up again."""
        self.operate("start" if self.state() is FlowState.STOPPED else "resume")

    @rule(name=st.sampled_from(("suspend", "suspend", "stop")))
    @precondition(lambda self: self.state() in UP)
    def interrupt(self, name: str) -> None:
        """What is up comes down, in the middle of its work perhaps."""
        self.send(3)
        self.operate(name)

    @rule(layout=st.sampled_from(LAYOUTS), timeout=st.sampled_from(("0 s", "1 s")))
    @precondition(lambda self: self.state() is not FlowState.SUSPENDED)
    def replace(self, layout: tuple[str, ...], timeout: str) -> None:
        """A version takes over from another one, in the middle of its work perhaps."""
        if self.state() in UP:
            self.send(3)
        self.publish(layout, timeout)

    @rule(layout=st.sampled_from(LAYOUTS), timeout=st.sampled_from(("0 s", "1 s")))
    def publish(self, layout: tuple[str, ...], timeout: str) -> None:
        """A draft, of other steps perhaps, is published; while suspended that is refused."""
        entry = self.world.platform.status(FLOW).entry
        kind = entry.flow_type.value
        self.world.draft(FLOW, *layout, kind=kind, shutdown_timeout=timeout)
        try:
            self.world.platform.publish(FLOW)
        except StateError:
            assert entry.state is FlowState.SUSPENDED
            after = self.world.platform.status(FLOW).entry
            assert (after.published, after.has_draft) == (entry.published, True)
            return
        assert entry.state is not FlowState.SUSPENDED
        assert self.world.platform.status(FLOW).entry.published == (entry.published or 0) + 1

    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        """Messages come, also while the flow is suspended; a stopped one takes none."""
        entry = self.world.platform.status(FLOW).entry
        if entry.state is FlowState.STOPPED:
            with pytest.raises(StateError):
                self.world.send(FLOW, 1)
        else:
            self.sent |= set(self.world.send(FLOW, count))

    @rule()
    @precondition(lambda self: self.world.platform.errors(FLOW))
    def retry(self) -> None:
        """Errors are sent again where there are queues."""
        if self.world.platform.status(FLOW).entry.running is None:
            with pytest.raises(StateError):
                self.world.platform.retry(FLOW)
        else:
            self.world.platform.retry(FLOW)

    @rule()
    @precondition(lambda self: self.kills < KILLS and self.state() in UP)
    def kill(self) -> None:
        """A container dies; below the limit of restarts its step goes on."""
        living = self.parts.alive(self.folder)
        if living:
            self.kills += 1
            self.parts.kill(living[0])

    @rule()
    @precondition(lambda self: self.state() in UP)
    def work(self) -> None:
        """The flow is given the time to handle what waits."""
        wait_for(lambda: not any(self.world.waiting(FLOW).values()))

    @invariant()
    def state_and_containers_agree(self) -> None:
        """Between operations no state is passed through, and no container lives that should not."""
        status = self.world.platform.status(FLOW)
        state = status.entry.state
        assert state not in {FlowState.STARTING, FlowState.STOPPING}
        assert (status.entry.running is None) == (state is FlowState.STOPPED)
        if state in {FlowState.STOPPED, FlowState.SUSPENDED}:
            wait_for(self.nothing_lives, timeout_s=self.parts.lag_s)
        if state is FlowState.STOPPED:
            assert self.world.platform.queues(FLOW) == {}
        if state is FlowState.SUSPENDED:
            wait_for(self.keeps_what_it_took, timeout_s=KEPT_S)
        assert all(action.ended_at for action in self.world.platform.history())
        assert self.world.store.actions.unfinished() == ()

    def nothing_lives(self) -> bool:
        """Whether no step of this example is there."""
        return not self.parts.alive(self.folder)

    def keeps_what_it_took(self) -> bool:
        """Whether as much waits as has neither come out, nor failed, nor been dropped.

        Asked until it is so: who has just left may be counted as a consumer for a moment.
        """
        open_ones = self._unhandled() - set(self.world.failed(FLOW)) - self.dropped
        return sum(self.world.waiting(FLOW).values()) >= len(open_ones)

    def teardown(self) -> None:
        """At the end: what was sent was handled, has failed, or was dropped by an explicit stop."""
        try:
            self.world.platform.close()
            lost = self._unhandled() - set(self.world.failed(FLOW)) - self.dropped
            assert lost == set()
            wait_for(self.nothing_lives, timeout_s=self.parts.lag_s)
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    def state(self) -> FlowState:
        """The flow's state."""
        return self.world.platform.status(FLOW).entry.state

    def freeze(self) -> None:
        """The containers that live hold still from now on: what is sent waits for them."""
        for pid in self.parts.alive(self.folder):
            os.kill(pid, signal.SIGSTOP)
            process = psutil.Process(pid)
            wait_for(partial(_is_stopped, process))

    def _unhandled(self) -> set[int]:
        """What was sent and has not come out at the end of a version."""
        return self.sent - self.world.finished(FLOW)


def _is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def play_at_random(parts: Parts, examples: int, steps: int) -> None:
    """Play so many sequences of so many steps; the same ones each time."""
    FlowStates.parts = parts
    run_state_machine_as_test(
        FlowStates,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(0)
def test_no_sequence_of_operations_goes_wrong(processes: Processes) -> None:
    """Each sequence leaves legal states only, no process that is too many, no message lost."""
    play_at_random(processes, int(os.environ.get("HOPBENCH_FLOW_EXAMPLES", EXAMPLES)), STEPS)


@pytest.mark.docker
@pytest.mark.timeout(0)
def test_no_sequence_goes_wrong_in_containers(containers: Containers) -> None:
    """The same with containers and RabbitMQ."""
    examples = int(os.environ.get("HOPBENCH_FLOW_EXAMPLES_DOCKER", EXAMPLES_DOCKER))
    play_at_random(containers, examples, STEPS_DOCKER)


# -- the machine itself: it finds what is planted --------------------------------------------------


def publish_while_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that the state forbids is let through."""
    check = legal.check

    def lenient(entry: FlowEntry, operation: Operation) -> None:
        if operation is not Operation.PUBLISH:
            check(entry, operation)

    monkeypatch.setattr("runtime.platform.check", lenient)


def leave_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all containers are to end, the first one is forgotten."""
    end = Crew.end

    def forgetful(crew: Crew, members: Sequence[Member] | None = None, **told: Any) -> None:
        if members is None:
            crew._members = crew._members[1:]
        end(crew, members, **told)

    monkeypatch.setattr(Crew, "end", forgetful)


def lose_at_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what waits while a flow is suspended, one message of each queue is dropped."""
    suspend = Platform.suspend

    def dropping(platform: Platform, flow: str) -> None:
        suspend(platform, flow)
        entry = platform.status(flow).entry
        with closing(connect(FlowStates.parts.url, name="thief")) as broker:
            for queue in platform._running(entry).wiring.queues:
                broker.get(queue)

    monkeypatch.setattr(Platform, "suspend", dropping)


def lose_at_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the version before is not moved to the one that takes over."""
    monkeypatch.setattr("runtime.control.left.move", lambda *_: 0)


PUBLISH_SUSPENDED = (
    lambda machine: machine.interrupt("suspend"),
    lambda machine: machine.publish(LAYOUTS[1], "0 s"),
)
SUSPEND = (lambda machine: machine.interrupt("suspend"),)
SUSPEND_WAITING = (FlowStates.freeze, lambda machine: machine.interrupt("suspend"))
REPLACE_WAITING = (FlowStates.freeze, lambda machine: machine.replace(LAYOUTS[1], "0 s"))
PLANTED = {
    "illegal": (
        publish_while_suspended,
        PUBLISH_SUSPENDED,
        "assert (after.published, after.has_draft) ==",
    ),
    "orphan": (leave_a_container, SUSPEND, "wait_for(self.nothing_lives"),
    "lost-at-suspend": (lose_at_suspend, SUSPEND_WAITING, "wait_for(self.keeps_what_it_took"),
    "lost-at-publish": (lose_at_publish, REPLACE_WAITING, "assert lost == set()"),
}


def play(parts: Parts, moves: Iterable[Callable[[FlowStates], None]]) -> None:
    """Make these moves on a realtime flow; after each one, and at the end, all must be as ever."""
    FlowStates.parts = parts
    machine = FlowStates()
    try:
        machine.make(FlowType.REALTIME)
        machine.state_and_containers_agree()
        for move in moves:
            move(machine)
            machine.state_and_containers_agree()
    finally:
        machine.teardown()


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Moves that go well on the platform fail with the fault in it, by the meant assertion."""
    plant, moves, finds = PLANTED[planted]
    monkeypatch.setattr(FlowStates, "place", {"grace_s": PLANTED_GRACE_S})
    play(processes, moves)
    plant(monkeypatch)
    monkeypatch.setattr(f"{__name__}.KEPT_S", PLANTED_KEPT_S)
    with pytest.raises(AssertionError) as caught:
        play(processes, moves)
    assert finds in "".join(traceback.format_exception(caught.value))
