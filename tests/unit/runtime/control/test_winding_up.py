"""What a flow does with its queues while the engine still clears its containers away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runtime.broker import Message, Route
from runtime.errors import BrokerUnavailable
from runtime.model import FlowState
from runtime.spans import MARK, OK, Mark, Span, encode
from runtime.spool import has_stopped
from tests.fakes.flow_parts import MemoryInstance, MemoryLauncher, MemoryServer
from tests.fakes.platforms import World, wait_for

FLOW = "flow"
GENEROUS_S = 60.0


def say_stopping(spool: Path) -> None:
    """Add the last record of a worker."""
    with spool.open("ab") as file:
        file.write(encode(Span(MARK, OK, 0, 0, 0, 0, Mark.STOPPING, 0, 1, 0, 0, 0, 2)))


class SlowEngine:
    """Containers whose processes end at once, while the engine takes until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.may_clear_away = threading.Event()
        stop = MemoryInstance.stop

        def slow(instance: MemoryInstance, *, grace_s: float) -> object:
            for spool in folder.rglob(f"{instance.name}/spans.spool"):
                if not has_stopped(spool):
                    say_stopping(spool)
            assert self.may_clear_away.wait(GENEROUS_S)
            return stop(instance, grace_s=grace_s)

        monkeypatch.setattr(MemoryInstance, "stop", slow)


def stop_in_background(world: World) -> tuple[threading.Thread, list[BaseException]]:
    """Begin to stop the flow; the thread, and what it raises."""
    raised: list[BaseException] = []

    def stop() -> None:
        try:
            world.platform.stop(FLOW)
        except BaseException as error:  # noqa: BLE001  # looked at by the test
            raised.append(error)

    thread = threading.Thread(target=stop)
    thread.start()
    return thread, raised


def test_queues_go_while_the_engine_clears_away(
    world: World, server: MemoryServer, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all processes silent the queues go first; stop returns when no container is left."""
    world.publish(FLOW, "a=pass", "b=pass")
    world.platform.start(FLOW)
    engine = SlowEngine(monkeypatch, world.place.folder)
    stopping, raised = stop_in_background(world)
    wait_for(lambda: not server.queues)
    assert len(launcher.alive()) == 2
    assert stopping.is_alive()
    assert world.platform.status(FLOW).entry.state is FlowState.STOPPING
    engine.may_clear_away.set()
    stopping.join(GENEROUS_S)
    assert not raised
    assert launcher.alive() == []
    assert world.platform.status(FLOW).entry.state is FlowState.STOPPED


def test_an_error_while_containers_end_leaves_none_of_them(
    world: World, server: MemoryServer, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker goes meanwhile: all containers are ended before the stop says so."""
    world.publish(FLOW, "a=pass", "b=pass")
    world.platform.start(FLOW)
    engine = SlowEngine(monkeypatch, world.place.folder)
    is_looking = threading.Event()

    def gone(*_: object) -> None:
        is_looking.set()
        raise BrokerUnavailable("the connection failed")

    monkeypatch.setattr("tests.fakes.flow_parts.MemoryBroker.depth", gone)
    server.is_up = False
    stopping, raised = stop_in_background(world)
    assert is_looking.wait(GENEROUS_S)
    assert stopping.is_alive()
    engine.may_clear_away.set()
    stopping.join(GENEROUS_S)
    assert len(raised) == 1
    assert isinstance(raised[0], BrokerUnavailable)
    assert launcher.alive() == []
    assert world.platform.status(FLOW).entry.state is FlowState.STOPPED


def test_a_process_that_is_not_silent_keeps_the_queues(
    world: World, server: MemoryServer, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last one publishes while the others are silent is collected."""
    world.publish(FLOW, "a=pass", "b=pass")
    world.platform.start(FLOW)
    exchange = world.platform.entry_route(FLOW).exchange
    stop = MemoryInstance.stop

    def late(instance: MemoryInstance, *, grace_s: float) -> object:
        if instance.alive() and "-b-" in instance.name:
            other = next(one for one in launcher.instances if "-a-" in one.name)
            assert other.wait(GENEROUS_S) is not None
            server.connect("", name="late").publish(Route(exchange, "errors"), Message(b"late", {}))
        return stop(instance, grace_s=grace_s)

    monkeypatch.setattr(MemoryInstance, "stop", late)
    world.platform.stop(FLOW)
    assert len(world.platform.errors(FLOW)) == 1
    assert not server.queues


def test_only_the_last_record_says_that_a_worker_stopped(tmp_path: Path) -> None:
    """Neither a file that is not there, nor an empty, torn or damaged one, counts as silent."""
    spool = tmp_path / "spans.spool"
    assert not has_stopped(spool)
    spool.write_bytes(b"")
    assert not has_stopped(spool)
    spool.write_bytes(bytes(128))
    say_stopping(spool)
    sound = spool.read_bytes()
    assert has_stopped(spool)
    spool.write_bytes(sound[:-1])
    assert not has_stopped(spool)
    spool.write_bytes(sound[:-30] + bytes([sound[-30] ^ 1]) + sound[-29:])
    assert not has_stopped(spool)
