"""A connection to RabbitMQ: opened, asked, turned and closed.

It has one channel for messages and, when asked for, one for administration. A second thread may
turn the loop through :meth:`Link.keep_alive` while the owner is inside a slow handler: a lock, free
on the usual path, keeps the two apart. Only the modules ``rabbitmq*`` import pika.
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
from pika.exceptions import ChannelClosedByBroker

from runtime.broker import Delivery, Settled
from runtime.broker.rabbitmq_wire import DirectConnection, EagerLoop
from runtime.errors import BrokerError, BrokerUnavailable

# What pika logs about a broken connection is raised here as an error with a remedy.
logging.getLogger("pika").setLevel(logging.CRITICAL)

REPLY_TIMEOUT_S = 20.0
_LONGEST_POLL_S = 5.0
"""pika's loop ends every poll after this time by itself: longer waits need no timer."""


class Link:
    """The connection that an adapter builds on; what it delivers and settles is filed here."""

    def __init__(self, url: str, *, name: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._where = f"RabbitMQ at {parts.hostname}:{parts.port or 5672}"
        self._lock = threading.RLock()
        self._deliveries: deque[Delivery] = deque()
        self._settlements: deque[tuple[Settled, bool, int]] = deque()
        self._channel_errors: list[BaseException] = []
        self._get_empty: Callable[[Any], None] = _ignore
        self._failure: BaseException | None = None
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
        except BaseException:
            self.close()
            raise

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
        self._await(lambda: bool(opened), REPLY_TIMEOUT_S, "opening a channel")
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
        deadline = time.monotonic() + REPLY_TIMEOUT_S
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
                    f"{what} got no answer within {REPLY_TIMEOUT_S:g} s", where=self._where
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
        timeout = self._loop.call_later(max(wait_s, 0.0), nothing)
        try:
            self._loop.poll()
        finally:
            self._loop.remove_timeout(timeout)

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

    def _on_get_empty(self, frame: Any) -> None:
        self._get_empty(frame)


def nothing() -> None:
    """A timer's callback whose only purpose is to end a poll."""


def _ignore(_frame: Any) -> None:
    """The answer to a get that nobody waits for."""
