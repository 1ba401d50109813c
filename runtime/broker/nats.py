"""The NATS adapter: queues and messages on JetStream.

A queue is a stream, bounded as it is asked for; a full one refuses. Unlike RabbitMQ's, its bounds
count the messages that are delivered and not settled, too. Streams are kept in files, so what is
persistent survives the server's restart; what is not does too. A key leads to one queue, since
JetStream stores a message once. All consumers of a queue share one JetStream consumer, and each
asks it for as many messages as its prefetch allows. Needs nats-server 2.11.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from nats.aio.subscription import Subscription

from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.broker import nats_wire as wire
from runtime.broker.nats_connection import REPLY_TIMEOUT_S, Connection
from runtime.broker.nats_queues import Queues
from runtime.errors import BrokerError, InputError, MessageTooLarge

_ACK_WAIT_S = 60.0
"""After this time without a sign of life from its consumer, a message goes to another one."""


@dataclass(slots=True)
class _Consumer:
    """One subscription of ours to a queue.

    ``seen``: messages up to this stream sequence have been delivered before. ``owed``: settled
    since we last asked for more. ``held``: reply subjects of what is not settled, in order.
    """

    queue: str
    prefetch: int
    inbox: str
    seen: int
    owed: int = 0
    held: dict[bytes, None] = field(default_factory=dict)

    def take_owed(self) -> int:
        """How many to ask for now: none before half of the prefetch has been settled."""
        if self.owed < self.prefetch // 2:
            return 0
        owed, self.owed = self.owed, 0
        return owed


class _Tag(NamedTuple):
    """What settles a delivery."""

    consumer: _Consumer
    reply: bytes


class NatsBroker:
    """A connection to a NATS server with JetStream.

    The URL's query may set ``ack_wait_s``, for the queues that this connection declares.
    """

    def __init__(self, url: str, *, name: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._ack_wait_s = float(parse_qs(parts.query).get("ack_wait_s", [_ACK_WAIT_S])[0])
        self._deliveries: deque[Delivery] = deque()
        self._unsettled: dict[bytes, Settled | None] = {}
        self._settlements: deque[tuple[Settled, bool, int]] = deque()
        self._consumers: list[tuple[Subscription, _Consumer]] = []
        self._subjects: dict[Route, str] = {}
        self._published = 0
        self._ended: str | None = None
        self._woken = False
        self._is_hasty = False
        self._connection = Connection(parts, name=name, timeout_s=timeout_s)
        self._lock = self._connection.lock
        self._client = self._connection.client
        self._queues = Queues(
            self._client, ack_wait_s=self._ack_wait_s, reply_timeout_s=REPLY_TIMEOUT_S
        )
        self._settled_inbox = self._client.new_inbox()
        try:
            self._connection.run(self._start, "listening for confirmations")
        except BaseException:
            self._connection.close()
            raise

    async def _start(self) -> None:
        await self._client.listen(f"{self._settled_inbox}.*", self._on_settled)
        # What we publish must not overtake this subscription.
        await self._client.flush()
        self._report_progress()

    # -- topology --------------------------------------------------------------------------------

    def declare(self, topology: Topology) -> None:
        """Create a stream and its consumer per queue; BrokerError when one differs from ours."""
        keys = [binding.key for binding in topology.bindings]
        if len(set(keys)) < len(keys):
            raise InputError(
                f"exchange {topology.exchange!r} binds a key twice, and NATS stores a message once",
                remedy="Give each queue keys of its own, or use RabbitMQ",
            )
        self._connection.run(
            lambda: self._queues.declare(topology), f"declaring {topology.exchange!r}"
        )

    def delete(self, topology: Topology) -> None:
        """Delete the queues' streams; one that is absent counts as deleted."""
        self._connection.run(
            lambda: self._queues.delete(topology), f"deleting {topology.exchange!r}"
        )

    def seal(self, topology: Topology) -> None:
        """Let the queues' streams listen to no subject of the flow any more."""
        self._connection.run(lambda: self._queues.seal(topology), f"sealing {topology.exchange!r}")

    def depth(self, queue: str) -> QueueDepth:
        """Messages that no consumer has, and consumers. BrokerError when there is no such queue."""
        return self._connection.run(
            lambda: self._queues.depth(queue), f"looking at queue {queue!r}"
        )

    def count(self, queue: str) -> QueueDepth:
        """As :meth:`depth`, and how many messages consumers have."""
        return self._connection.run(lambda: self._queues.count(queue), f"counting queue {queue!r}")

    # -- publishing ------------------------------------------------------------------------------

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Write the message; JetStream's answer settles it. MessageTooLarge over its limit."""
        return self._publish(route, message, settled, None)

    def publish_later(
        self, route: Route, message: Message, delay_ms: int, settled: Settled | None = None
    ) -> int:
        """Write the message into its queue, with the instant before which nobody is to have it.

        Whoever gets it earlier puts it back until then; a message that was counts as redelivered.
        """
        return self._publish(route, message, settled, time.time_ns() // 1_000_000 + delay_ms)

    def _publish(
        self, route: Route, message: Message, settled: Settled | None, due_ms: int | None
    ) -> int:
        subject = self._subjects.get(route)
        if subject is None:
            subject = self._subjects[route] = wire.subject(route.exchange, route.key)
        if due_ms is not None:
            subject = wire.later(subject)
        with self._lock:
            self._connection.raise_if_lost()
            self._published += 1
            number = str(self._published)
            reply = f"{self._settled_inbox}.{number}"
            command, size = wire.publish_command(subject, reply, message, due_ms)
            if size > self._client.max_payload:
                raise MessageTooLarge(
                    f"a message of {size} bytes is over the limit of {self._client.max_payload}",
                    where=self._connection.where,
                    remedy="Send less, or raise the server's max_payload",
                )
            self._unsettled[number.encode()] = settled
            self._connection.send(command)
            return time.monotonic_ns()

    def hasten(self, topology: Topology) -> int:
        """From here on, what comes early to a queue of this connection is handed out all the same.

        A new consumer gets what others have put back, too.
        """
        self._is_hasty = True
        return self._connection.run(
            lambda: self._queues.published_later(topology), "looking for what comes later"
        )

    def settle(self, timeout_s: float) -> bool:
        """Wait for the outstanding answers."""
        deadline = time.monotonic() + timeout_s
        self._run_settlements()
        while self._unsettled:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._turn(remaining)
            self._run_settlements()
        return True

    # -- consuming -------------------------------------------------------------------------------

    def subscribe(self, queue: str, *, prefetch: int) -> None:
        """Ask for as many messages as ``prefetch``; BrokerError when there is no such queue."""
        self._connection.run(lambda: self._subscribe(queue, prefetch), f"consuming from {queue!r}")

    async def _subscribe(self, queue: str, prefetch: int) -> None:
        seen = await self._queues.join(queue)
        consumer = _Consumer(queue, prefetch, self._client.new_inbox(), seen)
        subscription = await self._client.listen(
            consumer.inbox, functools.partial(self._on_delivery, consumer)
        )
        self._consumers.append((subscription, consumer))
        await self._client.publish(wire.more(queue), wire.batch(prefetch), reply=consumer.inbox)
        await self._queues.synchronise(queue)

    def receive(self, timeout_s: float) -> Delivery | None:
        """The next delivery, or None after ``timeout_s`` or :meth:`wake`."""
        deadline = time.monotonic() + timeout_s
        self._run_settlements()
        while not self._deliveries:
            remaining = deadline - time.monotonic()
            self._turn(0.0 if self._woken else remaining)
            self._run_settlements()
            if not self._deliveries and self._ended is not None:
                raise BrokerError(self._ended, where=self._connection.where)
            if not self._deliveries and (remaining <= 0 or self._woken):
                self._woken = False
                return None
        return self._deliveries.popleft()

    def wake(self) -> None:
        """Interrupt a waiting :meth:`receive`; safe in a signal handler."""
        self._woken = True
        self._connection.wake()

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge, and ask for the next messages in the same breath."""
        with self._lock:
            consumer, reply = self._settle_held(delivery)
            count = consumer.take_owed()
            if count:
                answer = wire.NEXT + wire.batch(count)
                command = wire.signal_command(reply, answer, consumer.inbox.encode())
            else:
                command = wire.signal_command(reply, wire.ACK)
            self._connection.send(command)

    def reject(self, delivery: Delivery) -> None:
        """Terminate the message: it is gone, and nobody gets it again."""
        with self._lock:
            consumer, reply = self._settle_held(delivery)
            command = wire.signal_command(reply, wire.TERM)
            count = consumer.take_owed()
            if count:
                to = wire.more(consumer.queue).encode()
                command += wire.signal_command(to, wire.batch(count), consumer.inbox.encode())
            self._connection.send(command)

    def _settle_held(self, delivery: Delivery) -> _Tag:
        self._connection.raise_if_lost()
        tag = delivery.tag
        if not isinstance(tag, _Tag) or tag.reply not in tag.consumer.held:
            raise BrokerError("this delivery was settled before", where=self._connection.where)
        del tag.consumer.held[tag.reply]
        tag.consumer.owed += 1
        return tag

    def get(self, queue: str) -> Delivery | None:
        """Ask for one message without waiting, and acknowledge it at once."""
        return self._connection.run(lambda: self._get(queue), f"getting from queue {queue!r}")

    async def _get(self, queue: str) -> Delivery | None:
        while True:
            reply, body, block, delivered_ns = await self._ask_for_one(queue)
            status = wire.status(block)
            if status is None:
                message, due_ms = wire.parse_message(block, body)
                early_ms = _early_ms(due_ms)
                if early_ms > 0:
                    self._connection.transport.write(
                        wire.signal_command(reply, wire.not_before(early_ms))
                    )
                    await self._queues.work_off_settlements(queue)
                    continue
                await self._client.request(reply.decode(), wire.ACK, timeout=REPLY_TIMEOUT_S)
                redelivered = wire.parse_reference(reply).times_delivered > 1
                return Delivery(message, None, delivered_ns, redelivered)
            if not status.startswith("404"):
                raise BrokerError(f"there is no queue {queue!r}", where=self._connection.where)
            # What has just been accepted may not have reached the shared consumer.
            if await self._queues.waiting(queue, held=True) <= 0:
                return None

    async def _ask_for_one(self, queue: str) -> tuple[bytes, bytes, bytes | None, int]:
        found: asyncio.Future[tuple[bytes, bytes, bytes | None, int]]
        found = asyncio.get_running_loop().create_future()

        def on_answer(_subject: bytes, reply: bytes, body: bytes, block: bytes | None) -> None:
            found.set_result((reply, body, block, self._connection.read_ns))

        inbox = self._client.new_inbox()
        subscription = await self._client.listen(inbox, on_answer)
        await self._client.publish(wire.more(queue), wire.batch(1, wait=False), reply=inbox)
        answer = await found
        await subscription.unsubscribe()
        return answer

    # -- lifetime --------------------------------------------------------------------------------

    def keep_alive(self) -> None:
        """Answer the server's pings, and say of each message in hand that it is worked on."""
        # An owner inside of another method turns the loop itself.
        if self._lock.acquire(blocking=False):
            try:
                self._connection.turn(0.0)
            finally:
                self._lock.release()

    def close(self) -> None:
        """Give back what is not settled, and close when the server has read everything."""
        self._connection.close(self._give_back)
        self._deliveries.clear()

    async def _give_back(self) -> None:
        for subscription, _ in self._consumers:
            await subscription.unsubscribe()
        # nats-py lets its ping overtake what it has not yet written: the second one is behind it.
        await self._client.flush()
        await self._client.flush()
        for _, consumer in self._consumers:
            for reply in consumer.held:
                self._connection.transport.write(wire.signal_command(reply, wire.NAK))
            await self._queues.work_off_settlements(consumer.queue)

    # -- inside ----------------------------------------------------------------------------------

    def _turn(self, wait_s: float) -> None:
        self._connection.turn(wait_s)
        # What was delivered or settled before the connection went is still handed out.
        if not self._deliveries and not self._settlements:
            self._connection.raise_if_lost()

    def _run_settlements(self) -> None:
        # By the owner only, and outside of the loop: a settlement may ack, publish and raise.
        while self._settlements:
            settled, accepted, learned_ns = self._settlements.popleft()
            settled(accepted, learned_ns)

    def _on_delivery(
        self, consumer: _Consumer, _subject: bytes, reply: bytes, body: bytes, block: bytes | None
    ) -> None:
        delivered_ns = self._connection.read_ns
        status = wire.status(block)
        if status is None:
            message, due_ms = wire.parse_message(block, body)
            if due_ms and not self._is_hasty and (early_ms := _early_ms(due_ms)) > 0:
                self._put_back(consumer, reply, early_ms)
                return
            consumer.held[reply] = None
            times, sequence = wire.parse_reference(reply)
            redelivered = times > 1 or sequence <= consumer.seen
            tag = _Tag(consumer, reply)
            self._deliveries.append(Delivery(message, tag, delivered_ns, redelivered))
        else:
            self._ended = f"the server ended the consumption of {consumer.queue!r}: {status}"
        self._connection.interrupt()

    def _put_back(self, consumer: _Consumer, reply: bytes, early_ms: int) -> None:
        """Ask for a message again when it is due, and for another one in its place now."""
        consumer.owed += 1
        command = wire.signal_command(reply, wire.not_before(early_ms))
        if count := consumer.take_owed():
            to = wire.more(consumer.queue).encode()
            command += wire.signal_command(to, wire.batch(count), consumer.inbox.encode())
        self._connection.transport.write(command)

    def _on_settled(self, subject: bytes, _reply: bytes, body: bytes, block: bytes | None) -> None:
        learned_ns = time.monotonic_ns()
        settled = self._unsettled.pop(subject.rpartition(b".")[2], None)
        if settled is not None:
            self._settlements.append((settled, wire.accepted(block, body), learned_ns))
        self._connection.interrupt()

    def _report_progress(self) -> None:
        """Push the ack wait of all that is in hand; again and again, as long as the loop turns."""
        for _, consumer in self._consumers:
            for reply in consumer.held:
                self._connection.transport.write(wire.signal_command(reply, wire.PROGRESS))
        self._connection.loop.call_later(self._ack_wait_s / 4, self._report_progress)


def _early_ms(due_ms: int) -> int:
    """How long it is until a message is due."""
    return due_ms - time.time_ns() // 1_000_000
