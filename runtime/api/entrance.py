"""Hands messages from outside to a flow's first queue, and brings replies back.

One thread for each flow that is called owns a broker connection, so that what befalls one flow's
exchange holds up no other. It ends when nobody has called for a while.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from runtime.broker import Binding, Broker, Delivery, Message, Queue, Route, Topology, connect
from runtime.errors import BrokerError, BrokerUnavailable, HopbenchError
from runtime.message import Ids, decode_ids, encode_body, encode_headers

REPLY_KEY = "replies"
"""The value of ``reply_to``: a key of the flow's exchange. Those of steps begin with a number."""
CONFIRM_TIMEOUT_S = 10.0
_IDLE_S = 60.0
_PREFETCH = 100
_REPLIES = (1000, 64 * 1024 * 1024)


@dataclass(slots=True)
class Call:
    """One message on its way in. ``accepted``: the queue has it; ``reply``: what came back."""

    route: Route
    message: Message
    ids: Ids
    wants_reply: bool
    accepted: Future[bool] = field(default_factory=Future)
    reply: Future[Message] = field(default_factory=Future)


def new_call(
    route: Route,
    document: object,
    given: Mapping[str, str],
    *,
    persistent: bool,
    wants_reply: bool,
) -> Call:
    """A message with ids of its own, as a webhook trigger's ``process`` is given it.

    ``given`` are the headers of the request, which become those of the message's envelope.
    """
    base = int.from_bytes(os.urandom(8), "big") or 1
    ids = Ids(base, base, 0)
    body = encode_body(
        {"id": f"{base:016x}", "body": document, "headers": dict(given), "attachments": {}},
    )
    headers = encode_headers(ids, {"reply_to": REPLY_KEY} if wants_reply else {})
    return Call(route, Message(body, headers, persistent), ids, wants_reply)


class Doors(Protocol):
    """What takes calls in: :class:`Entrances`, or a test's own."""

    def submit(self, call: Call) -> None:
        """Send a message on its way. Raises BrokerUnavailable when there is no way any more."""

    def forget(self, call: Call) -> None:
        """Nobody waits for this call's reply any more."""


class Entrances:
    """The entrances of all flows, opened as they are needed. Safe from any thread."""

    def __init__(self, broker_url: str, *, idle_s: float = _IDLE_S) -> None:
        self._broker_url = broker_url
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._open: dict[str, Entrance] = {}
        self._is_closed = False

    def submit(self, call: Call) -> None:
        """Send a message on its way; its futures say what became of it."""
        exchange = call.route.exchange
        with self._lock:
            if self._is_closed:
                raise BrokerUnavailable("the platform is being stopped", where=exchange)
            entrance = self._open.get(exchange)
            if entrance is None or not entrance.take(call):
                self._open[exchange] = Entrance(
                    self._broker_url, call, self._idle_s, after=entrance
                )

    def forget(self, call: Call) -> None:
        """Nobody waits for this call's reply any more."""
        with self._lock:
            entrance = self._open.get(call.route.exchange)
        if entrance is not None:
            entrance.forget(call)

    def close(self) -> None:
        """End all of them: what waits for a reply is told so. Idempotent."""
        with self._lock:
            self._is_closed = True
            entrances = list(self._open.values())
        for entrance in entrances:
            entrance.end()
        for entrance in entrances:
            entrance.join()


class Entrance:
    """The thread that calls one flow. Takes calls until it has ended."""

    def __init__(
        self, broker_url: str, first: Call, idle_s: float, *, after: Entrance | None
    ) -> None:
        """Begin when the one before has ended: that one removes the queue for replies.

        The first call is taken before the thread starts, which can have ended the moment after: a
        call that came too late to such a thread would never be told.
        """
        exchange = first.route.exchange
        self._broker_url, self._exchange, self._idle_s = broker_url, exchange, idle_s
        self._after = after
        queue_name = f"{exchange}.{REPLY_KEY}"
        self._replies = Topology(
            exchange, (Queue(queue_name, *_REPLIES),), (Binding(REPLY_KEY, queue_name),)
        )
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._calls.put(first)
        self._lock = threading.Lock()
        self._has_ended = self._must_end = self._is_subscribed = False
        self._broker: Broker | None = None
        self._unsettled: dict[int, Call] = {}
        self._waiting: dict[int, Call] = {}
        self._thread = threading.Thread(target=self._run, name=f"calls {exchange}", daemon=True)
        self._thread.start()

    def take(self, call: Call) -> bool:
        """Take a call on; False where this entrance has ended."""
        with self._lock:
            if self._has_ended:
                return False
            self._calls.put(call)
            self._wake()
            return True

    def forget(self, call: Call) -> None:
        """Nobody waits for this call's reply any more."""
        self._waiting.pop(call.ids.trace, None)

    def end(self) -> None:
        """Let the thread end soon."""
        with self._lock:
            self._must_end = True
            self._wake()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _wake(self) -> None:
        if self._broker is not None:
            self._broker.wake()

    def _run(self) -> None:
        error: HopbenchError = BrokerUnavailable(
            "the platform is being stopped", where=self._exchange
        )
        if self._after is not None:
            self._after.join()
            self._after = None
        try:
            broker = connect(self._broker_url, name=f"hopbench calls {self._exchange}")
            with self._lock:
                self._broker = broker
            self._serve(broker)
            self._remove_replies(broker)
        except HopbenchError as problem:
            error = problem
        finally:
            self._close(error)

    def _serve(self, broker: Broker) -> None:
        last_s = time.monotonic()
        while not self._must_end:
            while not self._calls.empty():
                self._send(broker, self._calls.get_nowait())
                last_s = time.monotonic()
            delivery = broker.receive(min(self._idle_s, 1.0))
            if delivery is not None:
                self._deliver(broker, delivery)
                last_s = time.monotonic()
            is_idle = not (self._unsettled or self._waiting)
            if is_idle and time.monotonic() - last_s > self._idle_s and self._retire():
                return

    def _retire(self) -> bool:
        """Take no more calls, unless one has just come."""
        with self._lock:
            self._has_ended = self._calls.empty()
            return self._has_ended

    def _send(self, broker: Broker, call: Call) -> None:
        trace = call.ids.trace
        self._unsettled[trace] = call
        if call.wants_reply:
            # Each time: a flow that was stopped meanwhile took its exchange's bindings along.
            broker.declare(self._replies)
            if not self._is_subscribed:
                broker.subscribe(self._replies.queues[0].name, prefetch=_PREFETCH)
                self._is_subscribed = True
            self._waiting[trace] = call
        try:
            broker.publish(call.route, call.message, partial(self._settled, call))
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            # Of this message alone: it is too large for the broker.
            self._unsettled.pop(trace)
            self._waiting.pop(trace, None)
            call.accepted.set_exception(error)

    def _settled(self, call: Call, accepted: bool, _learned_ns: int) -> None:
        self._unsettled.pop(call.ids.trace, None)
        if not accepted:
            self._waiting.pop(call.ids.trace, None)
        call.accepted.set_result(accepted)

    def _deliver(self, broker: Broker, delivery: Delivery) -> None:
        broker.ack(delivery)
        try:
            trace = decode_ids(delivery.message.headers).trace
        except ValueError:
            return  # Of no call of ours: nobody waits for it.
        call = self._waiting.pop(trace, None)
        if call is not None:
            call.reply.set_result(delivery.message)

    def _remove_replies(self, broker: Broker) -> None:
        if self._is_subscribed:
            broker.delete(self._replies._replace(exchange=""))

    def _close(self, error: HopbenchError) -> None:
        with self._lock:
            self._has_ended = True
            broker, self._broker = self._broker, None
        if broker is not None:
            with contextlib.suppress(BrokerError):
                broker.close()
        while not self._calls.empty():
            call = self._calls.get_nowait()
            self._unsettled[call.ids.trace] = call
        for call in self._unsettled.values():
            call.accepted.set_exception(error)
        for call in list(self._waiting.values()):
            call.reply.set_exception(error)
