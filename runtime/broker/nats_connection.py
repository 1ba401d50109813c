"""A nats-py connection whose event loop runs only inside of a call, on the caller's thread.

nats-py is asyncio, and hopbench's brokers are driven by the thread that owns them. A second thread
may turn the loop in between: a lock keeps the two apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from runtime.errors import BrokerError, BrokerUnavailable

Handler = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes subject, reply subject, body and header block of what has arrived."""

REPLY_TIMEOUT_S = 20.0
_TURNS = 4
"""Turns of the loop from bytes that have arrived to the answer, e.g. to the server's ping."""

_Result = TypeVar("_Result")


class ShortClient(Client):
    """nats-py's client, with the shortest way in for what is measured.

    By its own way, a message passes a queue and a task: two more turns of the loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[int, Handler] = {}

    async def listen(self, subject: str, handler: Handler) -> Subscription:
        """Subscribe, with messages going straight to ``handler``, inside of the loop."""
        subscription = await self.subscribe(subject)
        self._handlers[subscription._id] = handler
        return subscription

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any
    ) -> None:
        handler = self._handlers.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            handler(subject, reply, data, headers)


class Connection:
    """One connection. Everything raises BrokerUnavailable once it is lost."""

    def __init__(self, url: SplitResult, *, name: str, timeout_s: float) -> None:
        self.where = f"NATS at {url.hostname}:{url.port or 4222}"
        self.lock = threading.RLock()
        self._failure: str | None = None
        self._first_error: Exception | None = None
        self._waiting = False
        self._closed = False
        self.read_ns = 0
        address = self._find(url)
        self.loop = asyncio.new_event_loop()
        self._lost: asyncio.Future[None] = self.loop.create_future()
        self.client = ShortClient()
        try:
            self.run(lambda: self._connect(url, address, name, timeout_s), "connecting", timeout_s)
        except BaseException:
            self.close()
            raise

    def _find(self, url: SplitResult) -> str:
        """The server's address as a URL without a name: asyncio would start a thread for that."""
        port = url.port or 4222
        try:
            found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BrokerUnavailable(
                f"its address cannot be found: {error.strerror}",
                where=self.where,
                remedy="Check the host's name",
            ) from error
        host = str(found[0][4][0])
        return f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}"

    async def _connect(self, url: SplitResult, address: str, name: str, timeout_s: float) -> None:
        await self.client.connect(
            address,
            name=name,
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            # A broker that is gone must be noticed, not waited for.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=max(1, round(timeout_s)),
            error_cb=self._on_error,
        )
        # nats-py's own callback for the end is not called when its clean-up meets an error.
        reading = self.client._reading_task
        assert reading is not None
        reading.add_done_callback(self._on_reading_ended)
        version = self.client.connected_server_version
        if (version.major, version.minor) < (2, 11):
            raise BrokerUnavailable(
                f"it is version {version.major}.{version.minor}, which cannot count consumers",
                where=self.where,
                remedy="Use nats-server 2.11 or newer",
            )
        transport: Any = self.client._transport
        self.transport: asyncio.WriteTransport = transport._io_writer.transport
        self._stamp_reads(transport._io_reader)
        # drain() then returns when the socket has taken everything, not most of it.
        self.transport.set_write_buffer_limits(high=0)

    def _stamp_reads(self, reader: asyncio.StreamReader) -> None:
        """Note in ``read_ns`` when bytes come out of the socket: the client parses them later."""
        feed = reader.feed_data

        def stamped(data: bytes) -> None:
            self.read_ns = time.monotonic_ns()
            feed(data)

        reader.feed_data = stamped  # type: ignore[assignment, method-assign]

    def run(
        self,
        work: Callable[[], Coroutine[Any, Any, _Result]],
        what: str,
        timeout_s: float = REPLY_TIMEOUT_S,
    ) -> _Result:
        """Run the loop until some work is done; nats-py's errors become ours."""
        with self.lock:
            self.raise_if_lost()
            task = self.loop.create_task(work())
            done_or_lost = asyncio.wait(
                (task, self._lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            self.loop.run_until_complete(done_or_lost)
            if not task.done():
                task.cancel()
                self.loop.run_until_complete(asyncio.wait((task,)))
                self.raise_if_lost()
                raise BrokerUnavailable(
                    f"{what} got no answer within {timeout_s:g} s",
                    where=self.where,
                    remedy="Check that the broker runs and that the address is right",
                )
        try:
            return task.result()
        except APIError as error:
            if error.code is None:  # nobody answered
                raise BrokerUnavailable(
                    f"{what} failed: JetStream is off",
                    where=self.where,
                    remedy="Start nats-server with JetStream (-js)",
                ) from error
            raise BrokerError(f"{what} failed: {error.description}", where=self.where) from error
        except (NatsError, OSError) as error:
            raise self._unavailable(str(self._first_error or error)) from error

    def turn(self, wait_s: float) -> None:
        """Let the loop do what is due, or wait at most ``wait_s`` for :meth:`interrupt`."""
        with self.lock:
            self.raise_if_lost()
            if wait_s <= 0:
                for _ in range(_TURNS):
                    self.loop.call_soon(self.loop.stop)
                    self.loop.run_forever()
                return
            timer = self.loop.call_later(wait_s, self.loop.stop)
            self._waiting = True
            try:
                self.loop.run_forever()
            finally:
                self._waiting = False
                timer.cancel()

    def interrupt(self) -> None:
        """End a waiting :meth:`turn`; from inside of the loop."""
        if self._waiting:
            self.loop.stop()

    def wake(self) -> None:
        """End a waiting :meth:`turn`; from a signal handler or another thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.interrupt)

    def send(self, command: bytes) -> None:
        """Write to the socket, at once; run the loop only for what does not fit into it."""
        self.transport.write(command)
        if self.transport.get_write_buffer_size():
            transport: Any = self.client._transport
            self.run(transport.drain, "sending")
        if self.transport.is_closing():
            self.turn(0.0)
            self.raise_if_lost()
            raise self._unavailable("it was closed by the other side")

    def raise_if_lost(self) -> None:
        """Raise BrokerUnavailable when the connection is no more."""
        if self._failure is not None:
            raise self._unavailable(self._failure)

    def _unavailable(self, reason: str) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"the connection failed: {reason}",
            where=self.where,
            remedy="Check that the broker runs, and its user name and password",
        )

    def close(self, give_back: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Do the last work, if the server is still there, and end the loop. Idempotent."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            try:
                if give_back is not None and self.client.is_connected:
                    # A server that is gone needs nothing back.
                    with contextlib.suppress(BrokerUnavailable):
                        self.run(give_back, "closing", 5.0)
            finally:
                self._failure = self._failure or "it was closed by us"
                self.loop.run_until_complete(self._end())
                self.loop.close()

    async def _end(self) -> None:
        await self.client.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A client that counts itself as closed may have left its socket open.
        transport: Any = self.client._transport
        if transport:
            transport.close()
            with contextlib.suppress(OSError):
                await transport.wait_closed()

    async def _on_error(self, error: Exception) -> None:
        self._first_error = self._first_error or error

    def _on_reading_ended(self, _task: asyncio.Task[None]) -> None:
        reason = self.client.last_error or self._first_error
        self._failure = self._failure or str(reason or "it was closed by the other side")
        if not self._lost.done():
            self._lost.set_result(None)
        self.interrupt()
