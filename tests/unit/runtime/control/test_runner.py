"""What a running flow does when something goes wrong around it, on parts in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runtime.broker import Message, Route
from runtime.control import collector, lifecycle, recovery
from runtime.control.plan import outline
from runtime.errors import BrokerUnavailable, FlowError, InputError, LaunchError, StateError
from runtime.flows import Definition
from runtime.model import FlowState, FlowType, Step, StepState
from runtime.platform import Platform
from runtime.store.actions import Outcome
from tests.fakes.flow_parts import MemoryLauncher, MemoryServer
from tests.fakes.platforms import World, wait_for

FLOW = "flow"


def test_a_flow_that_cannot_start_leaves_nothing(world: World, launcher: MemoryLauncher) -> None:
    """One of three containers is refused: the others are ended, queues removed, the reason kept."""
    world.publish(FLOW, "a=pass", "b=pass", "c=pass")
    launcher.refuse = lambda spec: "-b-" in spec.name
    with pytest.raises(LaunchError, match="cannot be started"):
        world.platform.start(FLOW)
    entry = world.platform.status(FLOW).entry
    assert entry.state is FlowState.STOPPED
    assert "cannot be started" in (entry.reason or "")
    assert launcher.alive() == []
    assert world.platform.history(FLOW)[0].outcome is Outcome.FAILED
    launcher.refuse = lambda _: False
    world.platform.start(FLOW)
    assert world.platform.status(FLOW).entry.reason is None


def test_a_step_that_never_consumes_ends_the_start(
    world: World, launcher: MemoryLauncher, tmp_path: Path
) -> None:
    """After the time limit the start fails, names the step, and no container is left."""
    world.publish(FLOW, "a=pass", "b=pass")
    launcher.consumes = lambda spec: "-a-" in spec.name
    object.__setattr__(world.place, "start_timeout_s", 0.05)
    with pytest.raises(FlowError, match="step b: not consuming after"):
        world.platform.start(FLOW)
    assert launcher.alive() == []
    assert tmp_path.exists()


def test_without_a_broker_nothing_starts(world: World, server: MemoryServer) -> None:
    """The flow is stopped, and the reason is the broker."""
    world.publish(FLOW, "a=pass")
    server.is_up = False
    with pytest.raises(BrokerUnavailable):
        world.platform.start(FLOW)
    entry = world.platform.status(FLOW).entry
    assert entry.state is FlowState.STOPPED
    assert "nobody answers" in (entry.reason or "")


def test_a_broker_that_goes_away_stops_the_flow(
    world: World, server: MemoryServer, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says that what waits could not be looked at; an operation then is refused."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)

    def gone(*_: object) -> None:
        raise BrokerUnavailable("the connection failed")

    server.is_up = False
    monkeypatch.setattr("tests.fakes.flow_parts.MemoryBroker.receive", gone)
    wait_for(lambda: world.platform.status(FLOW).entry.state is FlowState.STOPPED)
    reason = world.platform.status(FLOW).entry.reason or ""
    assert reason.startswith("the connection failed")
    assert "could not be looked at" in reason
    assert launcher.alive() == []
    with pytest.raises(StateError, match="There is nothing to stop"):
        world.platform.stop(FLOW)
    monkeypatch.undo()


def test_an_error_of_the_platform_itself_is_said(
    world: World, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised in a flow's thread ends its containers and is the reason."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)

    def wrong(_: object) -> float:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(lifecycle.Realtime, "turn", wrong)
    wait_for(lambda: world.platform.status(FLOW).entry.state is FlowState.STOPPED)
    reason = world.platform.status(FLOW).entry.reason or ""
    assert "an error within the platform: ZeroDivisionError: a bug" in reason
    assert launcher.alive() == []


def test_an_operation_waits_for_the_one_before_it(world: World, launcher: MemoryLauncher) -> None:
    """A stop during a start waits its turn; when its patience ends, it is refused."""
    world.publish(FLOW, "a=pass")
    may_start, is_starting = threading.Event(), threading.Event()

    def slow(_: object) -> bool:
        is_starting.set()
        return not may_start.wait(30)

    launcher.refuse = slow
    starting = threading.Thread(target=world.platform.start, args=(FLOW,))
    starting.start()
    assert is_starting.wait(30)
    world.platform._patience_s = 0.05
    with pytest.raises(StateError, match=r"is starting, and another operation has had it for more"):
        world.platform.stop(FLOW)
    assert world.platform.status(FLOW).steps[0].state is StepState.STARTING
    world.platform._patience_s = 30.0
    stopping = threading.Thread(target=world.platform.stop, args=(FLOW,))
    stopping.start()
    may_start.set()
    starting.join()
    stopping.join()
    assert world.platform.status(FLOW).entry.state is FlowState.STOPPED
    assert [one.outcome for one in world.platform.history(FLOW)][:3] == [
        Outcome.DONE,
        Outcome.FAILED,
        Outcome.DONE,
    ]


def test_logs_are_there_after_a_containers_end(world: World, launcher: MemoryLauncher) -> None:
    """Those of the last containers of a step, the ended ones first; an unknown step is refused."""
    world.publish(FLOW, "a=pass")
    assert world.platform.logs(FLOW, "a") == ""
    world.platform.start(FLOW)
    launcher.instances[-1].end(1)
    wait_for(lambda: len(launcher.instances) == 2)
    wait_for(lambda: len(world.platform.logs(FLOW, "a", 5).splitlines()) == 2)
    assert world.platform.logs(FLOW, "a", 5) == "flow-a-1 said 5\nflow-a-2 said 5"
    with pytest.raises(InputError, match="has no step 'x'"):
        world.platform.logs(FLOW, "x")
    world.platform.stop(FLOW)
    assert "flow-a-2 said" in world.platform.logs(FLOW, "a")


def test_out_of_memory_names_its_step(world: World, launcher: MemoryLauncher) -> None:
    """How a container ended is in the step's status while another one takes its place."""
    world.publish(FLOW, "a=pass", {"step": "hungry=pass", "limits": {"memory": "64 MiB"}})
    world.platform.start(FLOW)
    next(one for one in launcher.instances if "-hungry-" in one.name).end(137, oom_killed=True)
    wait_for(lambda: world.platform.status(FLOW).steps[1].restarts)
    error = world.platform.status(FLOW).steps[1].error or ""
    assert "step 'hungry'" in error
    assert "out of memory" in error
    assert "64 MiB" in error
    assert world.platform.status(FLOW).steps[0].error is None


def test_queues_that_are_the_same_keep_their_name(world: World) -> None:
    """Two versions share queues where steps, order and bounds are the same, and only there."""

    def name(*steps: Step) -> str:
        world.store.flows.save_draft(FLOW, Definition(steps))
        version = world.store.flows.publish(FLOW)
        return outline(world.store, FlowType.ORDINARY, version).name

    world.component("other")
    a, b = Step("a", "pass", "go"), Step("b", "pass", "do")
    first = name(a, b)
    assert name(Step("a", "other", "go", {"x": 1}, prefetch=9), b) == first
    others = {name(a), name(b, a), name(a, Step("b", "pass", "do", max_length=5))}
    assert len(others | {first}) == 4
    assert all(one.startswith("flow-") for one in others)


def test_what_is_no_error_report_is_kept_all_the_same(world: World, server: MemoryServer) -> None:
    """Whatever arrives on the error queue is among the errors, and cannot be tried again."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    exchange = world.platform.entry_route(FLOW).exchange
    broker = server.connect("", name="test")
    for body in (b"nonsense", b"[]", b'{"error": "x", "errorInput": {"key": 1}}'):
        broker.publish(Route(exchange, "errors"), Message(body, {}))
    broker.publish(Route(exchange, "snapshots"), Message(b"{}", {"snapshotEvent": "snapshot"}))
    wait_for(lambda: len(world.platform.errors(FLOW)) == 4)
    assert world.platform.retry(FLOW) == 0
    with pytest.raises(InputError, match="no message that could be tried again"):
        world.platform.retry(FLOW, world.platform.errors(FLOW)[0].id)


def test_a_flow_in_which_all_fails_does_not_fill_the_disk(
    world: World, server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound errors stay in their queue, until some are gone; a stop keeps all."""
    monkeypatch.setattr(collector, "MOST_FAILURES", 2)
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    route = Route(world.platform.entry_route(FLOW).exchange, "errors")
    broker = server.connect("", name="test")

    def fail(number: int) -> None:
        broker.publish(route, Message(b'{"error": "%d"}' % number, {}))

    fail(1)
    wait_for(lambda: len(world.platform.errors(FLOW)) == 1)
    fail(2)
    wait_for(lambda: len(world.platform.errors(FLOW)) == 2)
    fail(3)
    wait_for(lambda: not server.queues[f"{route.exchange}.errors"])
    snapshot = b'{"step": "a", "snapshot": {"n": 1}}'
    broker.publish(Route(route.exchange, "snapshots"), Message(snapshot, {"snapshotEvent": "s"}))
    wait_for(lambda: world.store.snapshots.load(FLOW, "a") == {"n": 1})
    assert [one.error for one in world.platform.errors(FLOW)] == ["1", "2"]
    world.store.failures.remove(FLOW, [world.platform.errors(FLOW)[0].id])
    wait_for(lambda: [one.error for one in world.platform.errors(FLOW)] == ["2", "3"])
    fail(4)
    world.platform.stop(FLOW)
    assert [one.error for one in world.platform.errors(FLOW)] == ["2", "3", "4"]


def test_a_second_platform_finds_nothing_to_recover(world: World, launcher: MemoryLauncher) -> None:
    """A platform that was closed leaves a store that needs no recovery, and no message behind."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    world.send(FLOW, 2)
    world.platform.close()
    assert launcher.alive() == []
    again = Platform(world.store, world.place)
    assert again.status(FLOW).entry.reason == "the platform was closed"
    assert len(again.errors(FLOW)) == 2
    assert again.recovered == ()
    again.close()


@pytest.mark.parametrize("has_queues", [True, False])
def test_what_went_with_its_broker_is_said(
    world: World, server: MemoryServer, has_queues: bool
) -> None:
    """After a crash what waits is kept as errors; where the queues are gone, the reason says so."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    world.send(FLOW, 2)
    world.platform.suspend(FLOW)
    if not has_queues:
        server.queues.clear()
    again = Platform(world.store, world.place)
    reason = again.status(FLOW).entry.reason or ""
    assert again.recovered == (f"flow {FLOW}: {reason}",)
    assert len(again.errors(FLOW)) == (2 if has_queues else 0)
    assert ("2 messages that waited are among its errors" in reason) == has_queues
    assert (recovery.GONE in reason) != has_queues
    again.close()
