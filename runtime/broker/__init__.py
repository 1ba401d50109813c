"""The Broker protocol: what the runtime needs of a message queue, and nothing else.

A broker object is one connection, owned by one thread. It never calls back on its own: settlements
and deliveries happen inside :meth:`Broker.receive` and :meth:`Broker.settle`.
Loaded by every worker, so adapters are imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from runtime.errors import InputError

Headers = Mapping[str, str | int]
Settled = Callable[[bool, int], None]
"""Called once per publish: accepted or not, and the instant in nanoseconds that we learned it."""


class Queue(NamedTuple):
    """A bounded queue. When it is full, publishes are refused (reject-publish)."""

    name: str
    max_length: int = 10_000
    max_bytes: int = 256 * 1024 * 1024


class Binding(NamedTuple):
    """Messages published with ``key`` go to ``queue``."""

    key: str
    queue: str


class Topology(NamedTuple):
    """One exchange, its queues and bindings: all that one flow needs.

    ``delays_ms`` are the delays with which messages may be published later: what a broker makes for
    them when the first one comes is deleted with the rest. Deleting with an empty ``exchange``
    deletes the queues alone.
    """

    exchange: str
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]
    delays_ms: tuple[int, ...] = ()


class Route(NamedTuple):
    """Where a message is published."""

    exchange: str
    key: str


class Message(NamedTuple):
    """A body and its headers, as they cross the broker."""

    body: bytes
    headers: Headers
    persistent: bool = False


class Delivery(NamedTuple):
    """A message that arrived. ``delivered_ns`` is when its last bytes left the socket."""

    message: Message
    tag: object
    delivered_ns: int
    redelivered: bool


class QueueDepth(NamedTuple):
    """Messages waiting in a queue, and how many consumers it has.

    ``unacknowledged`` is what consumers have; None where that was not asked, or is not said.
    """

    ready: int
    consumers: int
    unacknowledged: int | None = None


class Broker(Protocol):
    """One connection to a broker. All methods raise BrokerUnavailable when it is gone."""

    def declare(self, topology: Topology) -> None:
        """Create exchange, queues and bindings; return when they exist."""

    def delete(self, topology: Topology) -> None:
        """Remove what :meth:`declare` created, with the messages in it. Absent is fine."""

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Send a message and return the instant (ns) at which the socket had all of it.

        Does not wait for the broker. ``settled`` is called from a later call into this object with
        True when the broker took responsibility, with False when it refused (full queue, no route).
        """

    def publish_later(
        self, route: Route, message: Message, delay_ms: int, settled: Settled | None = None
    ) -> int:
        """Like :meth:`publish`, but the message reaches its queue ``delay_ms`` later.

        It waits on the broker, not here, and holds up no message with another delay. Accepted means
        that the broker keeps it. Each delay that is used must be in the topology's ``delays_ms``.
        """

    def seal(self, topology: Topology) -> None:
        """Let no message into these queues any more; what is in them stays. Absent is fine.

        Publishes are refused, or break the connection that makes them. Only to be deleted next.
        """

    def hasten(self, topology: Topology) -> int:
        """Let what was published later come now, to who subscribes through this connection.

        Returns how many messages that concerns. For who empties queues that nobody consumes from.
        Raises PublishRefused where a queue has no room for what is to come.
        """

    def subscribe(self, queue: str, *, prefetch: int) -> None:
        """Start to consume; return when the broker has said that deliveries may come."""

    def receive(self, timeout_s: float) -> Delivery | None:
        """The next delivery, or None after ``timeout_s``. Runs settlements while it waits.

        A ``timeout_s`` of 0 runs what is due and returns without waiting.
        """

    def ack(self, delivery: Delivery) -> None:
        """Take a delivery off its queue. Sent at once."""

    def reject(self, delivery: Delivery) -> None:
        """Give up a delivery without requeueing it. Sent at once."""

    def settle(self, timeout_s: float) -> bool:
        """Wait until every publish is settled; False when ``timeout_s`` passed first."""

    def keep_alive(self) -> None:
        """Answer heartbeats. Called from a second thread while a handler holds the first one.

        The owner must not be inside any other method meanwhile, or a lock must see to it; the
        adapters bring that lock.
        """

    def wake(self) -> None:
        """Make a waiting :meth:`receive` return early. For signal handlers and other threads."""

    def depth(self, queue: str) -> QueueDepth:
        """Look at a queue without changing it."""

    def get(self, queue: str) -> Delivery | None:
        """Take one message off a queue without subscribing, None when it is empty."""

    def close(self) -> None:
        """Close the connection in good order: what was acked before stays acked. Idempotent."""


@runtime_checkable
class Counting(Protocol):
    """A broker that tells those who use it what consumers have. JetStream does; AMQP does not."""

    def count(self, queue: str) -> QueueDepth:
        """Look at a queue without changing it, and at what was delivered from it."""


def connect(url: str, *, name: str, timeout_s: float = 10.0) -> Broker:
    """Connect to ``amqp://user:password@host:port/vhost`` or ``nats://user:password@host:port``.

    ``name`` is shown in the broker's own connection list. Raises BrokerUnavailable when it cannot
    be reached within ``timeout_s``, InputError for another scheme.
    """
    scheme = url.partition("://")[0]
    if scheme == "amqp":
        from runtime.broker.rabbitmq import RabbitBroker

        return RabbitBroker(url, name=name, timeout_s=timeout_s)
    if scheme == "nats":
        from runtime.broker.nats import NatsBroker

        return NatsBroker(url, name=name, timeout_s=timeout_s)
    raise InputError(
        f"no broker speaks {scheme!r}",
        where=url.partition("@")[2] or url,
        remedy="Give an amqp:// or nats:// URL",
    )
