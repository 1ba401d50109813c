"""Exchanges and queues on RabbitMQ: made, removed, and those that hold messages back for a while.

Loaded by who administers a flow, and by a step when it first publishes later. A message that is
published later goes to a fan-out exchange for its delay, with the key that leads to its queue; the
one queue behind has that delay as its time to live, and lets messages go to the flow's own exchange
with the key they came with. So messages of one delay wait in the order in which they end, and none
waits behind one with a longer delay. The queue is a quorum queue, as only those let a message go
when its destination has confirmed it (dead-letter-strategy at-least-once; RabbitMQ 3.10): a
classic one would lose what returns to a full queue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.broker import Binding, Queue, Topology

Done = Callable[[Any], None]
Rpc = Callable[[Callable[[Done], object], str], Any]
"""Makes a request of the broker, says what it is for where it fails, and returns the answer."""


def declare(rpc: Rpc, channel: Any, topology: Topology) -> None:
    """Create the exchange (direct), its queues and bindings.

    All is asked for at once, and the last answer awaited: one channel's requests are worked off in
    order, and a mistake closes it with a text that names what it was about.
    """
    requests: list[Callable[[Done | None], object]] = [
        partial(_declare_exchange, channel, topology.exchange),
        *(partial(_declare_queue, channel, queue) for queue in topology.queues),
        *(partial(_bind, channel, topology.exchange, binding) for binding in topology.bindings),
    ]
    for request in requests[:-1]:
        request(None)
    rpc(requests[-1], f"declaring {topology.exchange!r}")


def delete(rpc: Rpc, channel: Any, topology: Topology) -> None:
    """Delete the queues and the exchange; AMQP counts deleting what is absent as done."""
    names = [queue.name for queue in topology.queues]
    names += delay_names(topology)
    # Without an answer each, but for the last: one channel's requests are worked off in order.
    for name in names[:-1]:
        channel.queue_delete(name)
    for name in names[-1:]:
        rpc(partial(_delete_queue, channel, name), f"deleting queue {name!r}")
    if topology.exchange:
        # A delay's exchange goes with its queue: it deletes itself.
        rpc(
            lambda done: channel.exchange_delete(topology.exchange, callback=done),
            f"deleting exchange {topology.exchange!r}",
        )


def delay_name(exchange: str, delay_ms: int) -> str:
    """The name of the exchange, and of the queue, that hold a flow's messages back so long."""
    return f"{exchange}.after-{delay_ms}-ms"


def delay_names(topology: Topology) -> list[str]:
    """The names of all queues that may hold a flow's messages back."""
    return [delay_name(topology.exchange, delay_ms) for delay_ms in topology.delays_ms]


def declare_delay(rpc: Rpc, channel: Any, exchange: str, delay_ms: int) -> None:
    """Create what holds messages to an exchange back for a delay. Does nothing where it is."""
    name = delay_name(exchange, delay_ms)
    rpc(
        lambda done: channel.exchange_declare(
            name, exchange_type="fanout", durable=True, auto_delete=True, callback=done
        ),
        f"declaring exchange {name!r}",
    )
    arguments = {
        **_bounds(Queue(name)),
        "x-queue-type": "quorum",
        "x-message-ttl": delay_ms,
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
    }
    rpc(
        lambda done: channel.queue_declare(name, durable=True, arguments=arguments, callback=done),
        f"declaring queue {name!r}",
    )
    rpc(partial(_bind, channel, name, Binding("", name)), f"binding queue {name!r}")


def _bounds(queue: Queue) -> dict[str, Any]:
    return {
        "x-max-length": queue.max_length,
        "x-max-length-bytes": queue.max_bytes,
        "x-overflow": "reject-publish",
    }


def _declare_exchange(channel: Any, exchange: str, done: Done | None) -> None:
    channel.exchange_declare(exchange, exchange_type="direct", durable=True, callback=done)


def _declare_queue(channel: Any, queue: Queue, done: Done | None) -> None:
    channel.queue_declare(queue.name, durable=True, arguments=_bounds(queue), callback=done)


def _bind(channel: Any, exchange: str, binding: Binding, done: Done | None) -> None:
    channel.queue_bind(binding.queue, exchange, routing_key=binding.key, callback=done)


def _delete_queue(channel: Any, name: str, done: Done) -> None:
    channel.queue_delete(name, callback=done)
