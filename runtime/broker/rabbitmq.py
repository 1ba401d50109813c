"""The RabbitMQ adapter: one pika connection, driven by the thread that owns it.

pika's callbacks only file what arrives; handlers run outside of pika, on the same thread, so a
message never changes threads on its way to a component. A second thread may turn the loop through
:meth:`RabbitBroker.keep_alive` while the owner is inside a slow handler: a lock, free on the usual
path, keeps the two apart. Only this module and ``rabbitmq_wire`` import pika.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pika
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError

from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.broker.rabbitmq_wire import (
    DirectConnection,
    EagerLoop,
    message_properties,
    publish_method,
)
from runtime.errors import BrokerError, BrokerUnavailable, PublishRefused

# What pika logs about a broken connection is raised here as an error with a remedy.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_REPLY_TIMEOUT_S = 20.0
_COUNT_HEADER = "x-delivery-count"
_LONGEST_POLL_S = 5.0
"""pika's loop ends every poll after this time by itself: longer waits need no timer."""


class RabbitBroker:
    """A connection with one channel for messages and, when asked for, one for administration."""

    def __init__(self, url: str, *, name: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._where = f"RabbitMQ at {parts.hostname}:{parts.port or 5672}"
        self._lock = threading.RLock()
        self._deliveries: deque[Delivery] = deque()
        self._unsettled: dict[int, Settled | None] = {}
        self._settlements: deque[tuple[Settled, bool, int]] = deque()
        self._returned: set[str] = set()
        self._channel_errors: list[BaseException] = []
        self._get_empty: Callable[[Any], None] = _ignore
        self._woken = False
        self._next_tag = 1
        self._methods: dict[Route, bytes] = {}
        self._delays: set[tuple[str, int]] = set()
        self._failure: BaseException | None = None
        self._consumed: dict[str, str] = {}
        self._ended: str | None = None
        self._opened = False
        self._closing = False
        self._admin: Any = None
        parameters = pika.URLParameters(url)
        parameters.client_properties = {"connection_name": name}
        parameters.connection_attempts = 1
        parameters.socket_timeout = timeout_s
        parameters.stack_timeout = timeout_s
        self._connection: Any = DirectConnection(
            parameters,
            on_open_callback=lambda _: None,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=EagerLoop(),
        )
        self._loop: Any = self._connection.ioloop
        self._loop.activate_poller()
        try:
            self._await(lambda: self._connection.is_open, timeout_s, "no connection")
            self._opened = True
            self._connection.receive_in_one()
            self._channel = self._open_channel()
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
        if not self.settle(_REPLY_TIMEOUT_S) or not answers[0]:
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
        self._loop.add_callback_threadsafe(_nothing)

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

    # -- lifetime --------------------------------------------------------------------------------

    def keep_alive(self) -> None:
        """Turn the loop once without waiting: heartbeats are answered and sent."""
        self._turn(0.0)

    def close(self) -> None:
        """Close in order, so that the broker has seen every ack; then release the sockets."""
        if self._closing:
            return
        self._closing = True
        deadline = time.monotonic() + 5.0
        with self._lock:
            # A channel that was closed under us leaves a connection to be closed.
            if not self._connection.is_closed and not self._connection.is_closing:
                self._connection.close()
            # pika ends a connection that was never open (what answers is no broker, say) with a
            # class where its own assertion expects an instance: it is closed by then all the same.
            never_opened = contextlib.suppress(*(() if self._opened else (AssertionError,)))
            with never_opened:
                while not self._connection.is_closed and time.monotonic() < deadline:
                    self._poll(deadline - time.monotonic())
            self._deliveries.clear()
            self._loop.deactivate_poller()
            self._loop.close()

    # -- inside ----------------------------------------------------------------------------------

    def _open_channel(self) -> Any:
        opened: list[Any] = []
        channel = self._connection.channel(on_open_callback=opened.append)
        channel.add_on_close_callback(self._on_channel_closed)
        self._await(lambda: bool(opened), _REPLY_TIMEOUT_S, "opening a channel")
        return channel

    def _admin_channel(self) -> Any:
        # The broker answers a mistake (say, a queue that is not there) by closing the channel, so
        # administration has one of its own, opened again when it was closed.
        self._raise_if_lost()
        if self._admin is None or not self._admin.is_open:
            self._admin = self._open_channel()
            self._admin.add_callback(self._on_get_empty, [pika.spec.Basic.GetEmpty], one_shot=False)
        return self._admin

    def _rpc(self, request: Callable[[Callable[[Any], None]], object], what: str) -> Any:
        replies: list[Any] = []
        self._channel_errors.clear()
        with self._lock:
            self._raise_if_lost()
            request(replies.append)
        deadline = time.monotonic() + _REPLY_TIMEOUT_S
        while not replies:
            if self._channel_errors:
                error = self._channel_errors[0]
                code = getattr(error, "reply_code", "")
                text = getattr(error, "reply_text", str(error))
                raise BrokerError(
                    f"{what} failed: {code} {text}".rstrip(), where=self._where
                ) from error
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise BrokerUnavailable(
                    f"{what} got no answer within {_REPLY_TIMEOUT_S:g} s", where=self._where
                )
            self._turn(remaining)
        return replies[0]

    def _await(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise BrokerUnavailable(
                    f"{what} within {timeout_s:g} s",
                    where=self._where,
                    remedy="Check that it runs and that the address is right",
                )
            self._turn(remaining)

    def _turn(self, wait_s: float) -> None:
        """One turn of pika's loop: wait at most ``wait_s``, dispatch what came, run timers."""
        with self._lock:
            self._raise_if_lost()
            self._poll(wait_s)
            # What was delivered or settled before the connection went is still handed out.
            if not self._deliveries and not self._settlements:
                self._raise_if_lost()

    def _poll(self, wait_s: float) -> None:
        # Timers first: what the poll brings in is then handed out without more ado.
        self._loop.process_timeouts()
        if wait_s >= _LONGEST_POLL_S:
            self._loop.poll()
            return
        timeout = self._loop.call_later(max(wait_s, 0.0), _nothing)
        try:
            self._loop.poll()
        finally:
            self._loop.remove_timeout(timeout)

    def _run_settlements(self) -> None:
        # By the owner only, and outside of pika: a settlement may ack, publish and raise.
        while self._settlements:
            settled, accepted, learned_ns = self._settlements.popleft()
            settled(accepted, learned_ns)

    def _flush(self) -> None:
        # The socket did not take all of it: turn the loop until it has. That waits where the broker
        # pushes back, which is what a full socket means.
        while self._connection.unwritten_bytes():
            self._loop.poll()
            if self._connection.unwritten_bytes():
                # That a write has failed is told by a callback, not by the write.
                self._loop.process_timeouts()
                self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if self._failure is not None:
            raise self._lost(self._failure)

    def _lost(self, error: BaseException) -> BrokerUnavailable:
        cause = self._failure or error
        text = str(cause) or repr(cause)
        return BrokerUnavailable(
            f"the connection failed: {text}",
            where=self._where,
            remedy="Check that the broker runs, and its user name and password",
        )

    # -- pika's callbacks ------------------------------------------------------------------------

    def _on_lost(self, _connection: Any, error: BaseException) -> None:
        self._failure = error

    def _on_channel_closed(self, channel: Any, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):
            self._channel_errors.append(error)
            if channel is not self._admin and channel is getattr(self, "_channel", None):
                self._failure = error

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        delivered_ns = self._connection.read_ns
        self._deliveries.append(_delivery(method, properties, body, delivered_ns))

    def _on_cancelled(self, frame: Any) -> None:
        queue = self._consumed.get(frame.method.consumer_tag, "")
        self._ended = f"the server ended the consumption of {queue!r}: it was deleted"

    def _on_get_empty(self, frame: Any) -> None:
        self._get_empty(frame)

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


def _nothing() -> None:
    """A timer's callback whose only purpose is to end a poll."""


def _ignore(_frame: Any) -> None:
    """The answer to a get that nobody waits for."""


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
