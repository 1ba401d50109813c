"""The RabbitMQ adapter: messages and queues over one pika connection, driven by its owner's thread.

pika's callbacks only file what arrives; handlers run outside of pika, on the same thread, so a
message never changes threads on its way to a component.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import ChannelWrongStateError

from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.broker.rabbitmq_link import REPLY_TIMEOUT_S, Link, nothing
from runtime.broker.rabbitmq_wire import message_properties, publish_method
from runtime.errors import BrokerError, BrokerUnavailable, PublishRefused

_COUNT_HEADER = "x-delivery-count"


class RabbitBroker(Link):
    """Messages and queues over one connection to RabbitMQ."""

    def __init__(self, url: str, *, name: str, timeout_s: float) -> None:
        self._unsettled: dict[int, Settled | None] = {}
        self._returned: set[str] = set()
        self._woken = False
        self._next_tag = 1
        self._methods: dict[Route, bytes] = {}
        self._delays: set[tuple[str, int]] = set()
        self._consumed: dict[str, str] = {}
        self._ended: str | None = None
        super().__init__(url, name=name, timeout_s=timeout_s)
        try:
            self._channel.add_on_return_callback(self._on_return)
            self._channel.add_on_cancel_callback(self._on_cancelled)
            self._rpc(
                lambda done: self._channel.confirm_delivery(self._on_confirm, callback=done),
                "publisher confirms",
            )
        except BaseException:
            self.close()
            raise

    # -- topology --------------------------------------------------------------------------------

    def declare(self, topology: Topology) -> None:
        """Create the exchange (direct), its queues and bindings."""
        from runtime.broker import rabbitmq_queues

        rabbitmq_queues.declare(self._rpc, self._admin_channel(), topology)

    def delete(self, topology: Topology) -> None:
        """Delete the queues and the exchange; AMQP counts deleting what is absent as done."""
        from runtime.broker import rabbitmq_queues

        rabbitmq_queues.delete(self._rpc, self._admin_channel(), topology)
        self._delays.clear()

    def seal(self, topology: Topology) -> None:
        """Delete the exchange alone: nothing leads to the queues any more."""
        self.delete(Topology(topology.exchange, (), ()))

    def depth(self, queue: str) -> QueueDepth:
        """Passive declare: messages ready, and consumers. BrokerError where there is no queue."""
        channel = self._admin_channel()
        frame = self._rpc(
            lambda done: channel.queue_declare(queue, passive=True, callback=done),
            f"looking at queue {queue!r}",
        )
        return QueueDepth(frame.method.message_count, frame.method.consumer_count)

    # -- publishing ------------------------------------------------------------------------------

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Publish with the mandatory flag and a confirm; return when the socket has all of it."""
        with self._lock:
            self._raise_if_lost()
            if not self._channel.is_open:
                raise self._lost(ChannelWrongStateError("the channel is closed"))
            method = self._methods.get(route)
            if method is None:
                method = publish_method(self._channel.channel_number, *route)
                self._methods[route] = method
            tag = self._next_tag
            self._next_tag = tag + 1
            properties = message_properties(
                message.headers, persistent=message.persistent, tag=str(tag)
            )
            self._unsettled[tag] = settled
            self._connection.send_message(
                self._channel.channel_number, method, properties, message.body
            )
            if self._connection.unwritten_bytes():
                self._flush()
            return time.monotonic_ns()

    def publish_later(
        self, route: Route, message: Message, delay_ms: int, settled: Settled | None = None
    ) -> int:
        """Publish to the queue in which messages with this delay wait; make it when it is new."""
        from runtime.broker import rabbitmq_queues

        if (route.exchange, delay_ms) not in self._delays:
            channel = self._admin_channel()
            rabbitmq_queues.declare_delay(self._rpc, channel, route.exchange, delay_ms)
            self._delays.add((route.exchange, delay_ms))
        waiting = Route(rabbitmq_queues.delay_name(route.exchange, delay_ms), route.key)
        return self.publish(waiting, message, settled)

    def hasten(self, topology: Topology) -> int:
        """Publish what waits for its delay's end to its queue, each taken off when it is there."""
        from runtime.broker import rabbitmq_queues

        count = 0
        for name in rabbitmq_queues.delay_names(topology):
            try:
                self.depth(name)
            except BrokerUnavailable:
                raise
            except BrokerError:
                # There is such a queue only where something waited.
                continue
            while (found := self._get(name, auto_ack=False)) is not None:
                self._put(Route(topology.exchange, found[0]), found[1].message)
                self._admin.basic_ack(found[1].tag)
                count += 1
        return count

    def _put(self, route: Route, message: Message) -> None:
        """Publish what had waited in a quorum queue, without that one's header, and wait."""
        answers: list[bool] = []
        headers = {key: message.headers[key] for key in message.headers if key != _COUNT_HEADER}
        self.publish(
            route, message._replace(headers=headers), lambda taken, _: answers.append(taken)
        )
        if not self.settle(REPLY_TIMEOUT_S) or not answers[0]:
            raise PublishRefused("what was to come later has no room", where=f"key {route.key!r}")

    def settle(self, timeout_s: float) -> bool:
        """Wait for the outstanding confirms."""
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
        """Set the prefetch, then consume with acknowledgements."""
        self._rpc(
            lambda done: self._channel.basic_qos(prefetch_count=prefetch, callback=done),
            f"setting the prefetch of {queue!r}",
        )
        answer = self._rpc(
            lambda done: self._channel.basic_consume(queue, self._on_message, callback=done),
            f"consuming from {queue!r}",
        )
        self._consumed[answer.method.consumer_tag] = queue

    def receive(self, timeout_s: float) -> Delivery | None:
        """The next delivery, or None after ``timeout_s`` or :meth:`wake`."""
        deadline = time.monotonic() + timeout_s
        self._run_settlements()
        while not self._deliveries:
            remaining = deadline - time.monotonic()
            # What another thread's turn of the loop has swallowed is still a reason not to wait.
            self._turn(0.0 if self._woken else remaining)
            if self._deliveries:
                # At once: what was settled meanwhile is told by the next call.
                break
            self._run_settlements()
            if self._ended is not None:
                raise BrokerError(self._ended, where=self._where)
            if remaining <= 0 or self._woken:
                self._woken = False
                return None
        return self._deliveries.popleft()

    def wake(self) -> None:
        """Interrupt a waiting :meth:`receive`; safe in a signal handler."""
        self._woken = True
        self._loop.add_callback_threadsafe(nothing)

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge, and write it out."""
        with self._lock:
            self._raise_if_lost()
            self._channel.basic_ack(delivery.tag)
            if self._connection.unwritten_bytes():
                self._flush()

    def reject(self, delivery: Delivery) -> None:
        """Reject without requeue, and write it out."""
        with self._lock:
            self._raise_if_lost()
            self._channel.basic_reject(delivery.tag, requeue=False)
            if self._connection.unwritten_bytes():
                self._flush()

    def get(self, queue: str) -> Delivery | None:
        """basic.get with automatic acknowledgement."""
        found = self._get(queue, auto_ack=True)
        return None if found is None else found[1]

    def _get(self, queue: str, *, auto_ack: bool) -> tuple[str, Delivery] | None:
        """The key that a message came with, and the message, on the administration's channel."""
        channel = self._admin_channel()
        found: list[tuple[str, Delivery]] = []

        def request(done: Callable[[Any], None]) -> None:
            def on_get(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
                delivery = _delivery(method, properties, body, self._connection.read_ns)
                found.append((method.routing_key, delivery))
                done(method)

            self._get_empty = done
            channel.basic_get(queue, on_get, auto_ack=auto_ack)

        self._rpc(request, f"getting from queue {queue!r}")
        return found[0] if found else None

    # -- inside ----------------------------------------------------------------------------------

    def _run_settlements(self) -> None:
        # By the owner only, and outside of pika: a settlement may ack, publish and raise.
        while self._settlements:
            settled, accepted, learned_ns = self._settlements.popleft()
            settled(accepted, learned_ns)

    # -- pika's callbacks ------------------------------------------------------------------------

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        delivered_ns = self._connection.read_ns
        self._deliveries.append(_delivery(method, properties, body, delivered_ns))

    def _on_cancelled(self, frame: Any) -> None:
        queue = self._consumed.get(frame.method.consumer_tag, "")
        self._ended = f"the server ended the consumption of {queue!r}: it was deleted"

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # Unroutable: the broker returns the message, and then confirms it all the same.
        self._returned.add(properties.message_id)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        accepted = isinstance(method, pika.spec.Basic.Ack)
        learned_ns = time.monotonic_ns()
        tag: int = method.delivery_tag
        # With ``multiple`` the broker settles everything up to this tag at once.
        tags = [t for t in self._unsettled if t <= tag] if method.multiple else [tag]
        for one in tags:
            settled = self._unsettled.pop(one, None)
            returned = str(one) in self._returned
            self._returned.discard(str(one))
            if settled is not None:
                self._settlements.append((settled, accepted and not returned, learned_ns))


def _delivery(method: Any, properties: Any, body: bytes, delivered_ns: int) -> Delivery:
    headers = properties.headers or {}
    for name, value in headers.items():
        if type(value) is not str:
            if not isinstance(value, int):
                return _delivery_again(method, properties, body, delivered_ns)
            # pika has a type of its own for what does not fit into 32 bits.
            headers[name] = int(value)
    message = Message(body, headers, properties.delivery_mode == 2)
    return Delivery(message, method.delivery_tag, delivered_ns, method.redelivered)


def _delivery_again(method: Any, properties: Any, body: bytes, delivered_ns: int) -> Delivery:
    """A message that was held back, or has tables for headers: without what the broker adds."""
    properties.headers = {
        name: value
        for name, value in properties.headers.items()
        if isinstance(value, str | int) and not name.startswith("x-first-death-")
    }
    return _delivery(method, properties, body, delivered_ns)
