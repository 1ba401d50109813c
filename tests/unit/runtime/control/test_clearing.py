"""What a stop leaves to be done when nobody waits any more: the last errors, and the queues."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime.broker import Message, Route, Topology
from runtime.control import recovery
from runtime.control.collector import Collector
from runtime.errors import BrokerUnavailable
from runtime.model import FlowState
from runtime.store.actions import Outcome
from tests.fakes.flow_parts import MemoryBroker, MemoryLauncher, MemoryServer
from tests.fakes.platforms import World

FLOW = "flow"


@contextmanager
def deletion_fails() -> Iterator[None]:
    """The broker is not to be had for deleting queues."""

    def refused(_broker: MemoryBroker, _topology: Topology) -> None:
        raise BrokerUnavailable("the connection failed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MemoryBroker, "delete", refused)
        yield


def test_a_stop_does_not_wait_for_its_queues(
    world: World, launcher: MemoryLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returns with no container left; the next start waits until the queues are gone."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    world.send(FLOW, 2)
    may_delete = threading.Event()
    delete = MemoryBroker.delete

    def slowly(broker: MemoryBroker, topology: Topology) -> None:
        assert may_delete.wait(30)
        delete(broker, topology)

    monkeypatch.setattr(MemoryBroker, "delete", slowly)
    world.platform.stop(FLOW)
    entry = world.platform.status(FLOW).entry
    assert (entry.state, entry.reason) == (FlowState.STOPPED, None)
    assert launcher.alive() == []
    assert [one.operation for one in world.store.actions.unfinished()] == ["stop"]
    starting = threading.Thread(target=world.platform.start, args=(FLOW,))
    starting.start()
    starting.join(0.1)
    assert starting.is_alive()
    may_delete.set()
    starting.join()
    assert world.waiting(FLOW) == {"a": 0}
    assert world.store.actions.unfinished() == ()


def test_who_reads_errors_or_history_sees_a_stop_done(
    world: World, server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is collected only after the stop has returned is there, and so is its end."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    route = Route(world.platform.entry_route(FLOW).exchange, "errors")
    finish = Collector.finish
    is_read = threading.Event()

    def late(collector: Collector) -> None:
        is_read.wait(0.1)
        server.connect("", name="test").publish(route, Message(b"the last one", {}))
        finish(collector)

    monkeypatch.setattr(Collector, "finish", late)
    world.platform.stop(FLOW)
    assert world.store.failures.count(FLOW) == 0
    assert len(world.platform.errors(FLOW)) == 1
    world.platform.start(FLOW)
    world.platform.stop(FLOW)
    assert [one.outcome for one in world.platform.history()][:2] == [Outcome.DONE, Outcome.DONE]
    is_read.set()


def test_queues_that_cannot_be_deleted_are_at_the_next_start(world: World) -> None:
    """The flow is stopped and says so; a start is refused until they can, then what waited is gone.

    The stop's row has its end when they are.
    """
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    world.send(FLOW, 2)
    with deletion_fails():
        world.platform.stop(FLOW)
        assert world.platform.history(FLOW)[0].ended_at is None
        entry = world.platform.status(FLOW).entry
        assert entry.state is FlowState.STOPPED
        assert entry.reason == (
            "what its stop has left is cleared away at its next start: the connection failed"
        )
        with pytest.raises(BrokerUnavailable):
            world.platform.start(FLOW)
        assert world.state(FLOW) == "stopped"
    world.platform.start(FLOW)
    assert world.waiting(FLOW) == {"a": 0}
    outcomes = [(one.operation, one.outcome) for one in world.platform.history(FLOW)][:3]
    assert outcomes == [
        ("start", Outcome.DONE),
        ("start", Outcome.FAILED),
        ("stop", Outcome.DONE),
    ]


def test_closing_tries_again(world: World, server: MemoryServer) -> None:
    """What a stop could not delete is gone when the platform has been closed."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    with deletion_fails():
        world.platform.stop(FLOW)
        world.platform.history()
    assert server.queues
    world.platform.close()
    assert not server.queues
    assert world.store.actions.unfinished() == ()


def test_the_next_platform_clears_what_one_could_not(world: World, server: MemoryServer) -> None:
    """It has the unfinished stop to know it by; what waits is kept as errors, not lost."""
    world.publish(FLOW, "a=pass")
    world.platform.start(FLOW)
    world.send(FLOW, 2)
    with deletion_fails():
        world.platform.stop(FLOW)
        world.platform.history()
        with pytest.raises(BrokerUnavailable):
            world.platform.close()
    world.platform._controls.clear()  # It is gone, with what it knew.
    said = recovery.recover(world.store, world.place)
    assert any(f"{recovery.CLEARING}; 2 messages that waited are among" in one for one in said)
    assert len(world.failed(FLOW)) == 2
    assert not server.queues
