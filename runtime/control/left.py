"""What becomes of messages that wait in queues which nobody will consume from any more.

They move to the step's new queue where it has one, or are kept as failures, with the reason: a
message that was accepted is dropped by an explicit stop, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

from runtime.broker import Broker, Delivery, Message, Route, Topology, connect
from runtime.control.collector import Collector
from runtime.control.plan import Plan
from runtime.errors import BrokerError, BrokerUnavailable
from runtime.store import Store
from runtime.store.failures import Failure
from runtime.worker.failures import error_input

_BATCH = 64
_WAIT_S = 0.1
_SETTLE_S = 30.0

_GONE = "the version that was published has no such step"
_FULL = "the queue of the version that was published is full"

Take = Callable[[Sequence[Message]], None]


def collect(url: str, plan: Plan, store: Store) -> None:
    """Keep what a flow's steps have left in its error and snapshot queues, where there are any."""
    wiring = plan.wiring
    with closing(connect(url, name="hopbench left")) as broker:
        if all(_exists(broker, queue) for queue in (wiring.error_queue, wiring.snapshot_queue)):
            collector = Collector(broker, store, plan.flow, wiring)
            collector.subscribe()
            collector.finish()


def are_there(url: str, plans: Sequence[Plan]) -> list[bool]:
    """Of each plan, whether the broker has any of its queues."""
    with closing(connect(url, name="hopbench left")) as broker:
        return [any(_exists(broker, queue) for queue in plan.wiring.queues) for plan in plans]


def remove(url: str, plan: Plan) -> None:
    """Delete a flow's queues with all that is in them. Absent is fine."""
    with closing(connect(url, name="hopbench left")) as broker:
        broker.delete(plan.wiring.topology)


def report(url: str, plan: Plan, store: Store, reason: str) -> int:
    """Keep all that waits for a flow's steps as failures, with the reason; return how many.

    What its steps had left for the platform is kept first.
    """
    collect(url, plan, store)
    places = _places(plan)
    takes = [
        (queue, _reporting(store, plan.flow, step, key, reason)) for step, key, queue in places
    ]
    return _empty_all(url, plan, takes)


def move(url: str, old: Plan, new: Plan, store: Store) -> int:
    """Move what waits for a flow's steps to the queues of another version; return how many.

    What waits for a step that the other one lacks, or what its queue refuses, becomes a failure.
    What was sent back for later comes at once.
    """
    keys = {step: key for step, key, _ in _places(new)}
    exchange = new.wiring.topology.exchange
    takes = []
    with closing(connect(url, name="hopbench move")) as broker:
        for step, key, queue in _places(old):
            gone = _reporting(store, old.flow, step, key, _GONE)
            full = _reporting(store, old.flow, step, key, _FULL)
            there = step in keys
            take = _publishing(broker, Route(exchange, keys[step]), full) if there else gone
            takes.append((queue, take))
        return _empty_all(url, old, takes)


def publish_all(broker: Broker, route: Route, messages: Sequence[Message]) -> list[bool]:
    """Publish, and say of each message whether the broker took it. Raises BrokerUnavailable."""
    accepted = [False] * len(messages)

    def settled(index: int, taken: bool, _learned_ns: int) -> None:
        accepted[index] = taken

    for index, message in enumerate(messages):
        broker.publish(route, message, partial(settled, index))
    if not broker.settle(_SETTLE_S):
        raise BrokerUnavailable(
            f"has not confirmed within {_SETTLE_S:g} s",
            where=f"{route.exchange}, key {route.key}",
            remedy="See whether the broker runs, and has disk space",
        )
    return accepted


def _empty_all(url: str, plan: Plan, takes: Sequence[tuple[str, Take]]) -> int:
    """Take all messages off queues that will be deleted, with those that were to come later."""
    count = sum(_empty(url, queue, take) for queue, take in takes)
    topology = plan.wiring.topology
    with closing(connect(url, name="hopbench left")) as broker:
        later = broker.hasten(topology)
        # Somebody outside may publish still: nothing must be accepted after the last look.
        broker.seal(topology)
    hastened = topology if later else None
    return count + sum(_empty(url, queue, take, hastened) for queue, take in takes)


def _empty(url: str, queue: str, take: Take, hastened: Topology | None = None) -> int:
    """Take all messages off a queue, each acknowledged when it was taken; none without a queue."""
    with closing(connect(url, name="hopbench left")) as broker:
        if not _exists(broker, queue):
            return 0
        if hastened is not None:
            broker.hasten(hastened)
        elif not broker.depth(queue).ready:
            return 0
        broker.subscribe(queue, prefetch=_BATCH)
        count = 0
        for batch in _batches(broker, queue):
            take([delivery.message for delivery in batch])
            for delivery in batch:
                broker.ack(delivery)
            count += len(batch)
        return count


def _exists(broker: Broker, queue: str) -> bool:
    try:
        broker.depth(queue)
    except BrokerUnavailable:
        raise
    except BrokerError:
        return False
    return True


def _batches(broker: Broker, queue: str) -> Iterator[list[Delivery]]:
    while True:
        delivery = broker.receive(_WAIT_S)
        if delivery is not None:
            batch = [delivery]
            while len(batch) < _BATCH and (more := broker.receive(0.0)) is not None:
                batch.append(more)
            yield batch
        elif not broker.depth(queue).ready:
            return


def _reporting(store: Store, flow: str, step: str, key: str, reason: str) -> Take:
    def take(messages: Sequence[Message]) -> None:
        store.failures.add(
            flow,
            [Failure(step, reason, cause=error_input(one, key, whole=True)) for one in messages],
        )

    return take


def _publishing(broker: Broker, route: Route, refused: Take) -> Take:
    def take(messages: Sequence[Message]) -> None:
        accepted = publish_all(broker, route, messages)
        left = [one for one, taken in zip(messages, accepted, strict=True) if not taken]
        if left:
            refused(left)

    return take


def _places(plan: Plan) -> list[tuple[str, str, str]]:
    """Step, key and queue of each step."""
    wiring = plan.wiring
    steps = [step.id for step in plan.definition.steps]
    return list(zip(steps, wiring.keys, wiring.queues, strict=True))
