"""One end of the bare broker hop: the plainest client that sends or receives one message at a time.

A script of its own that imports nothing of hopbench, so that it can stand in any image::

    hop.py source|sink BROKER_URL QUEUE SPOOL_FOLDER

It connects, writes ``ready.json`` into its spool folder and stays until SIGTERM. The source looks
for ``order-N.json`` (``{"offsets_ns": [...], "body_bytes": 1024}``, N = 1, 2, ...). At each offset
it sends itself a tick over the broker, and when that arrives, the message: a step, too, is woken by
a message, which finds broker and processor awake (emitted by a timer, it takes half as long again).
When the batch is over, source and sink each write ``result-N.json``: the
instants of CLOCK_MONOTONIC, by sequence number, at which the message was emitted or was in hand.
Messages are transient, unconfirmed and acknowledged by the broker itself: nothing is done that a
hop could do without.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

HEAD = struct.Struct("<III")
"""Start of a body: batch, sequence number, messages of that batch."""
SETTLE_S = 0.02
POLL_S = 0.25
"""How often an idle source looks for an order: 0.2 % of a core."""


def write(spool: str, name: str, content: dict[str, Any]) -> None:
    """Put a JSON file into the spool folder; whoever sees its name can read all of it."""
    path = os.path.join(spool, name)
    with open(f"{path}.part", "w", encoding="ascii") as file:
        json.dump(content, file)
    os.rename(f"{path}.part", path)


class Emissions:
    """The batches that a source sends: which is next, and when each message was emitted."""

    def __init__(self, spool: str) -> None:
        self._spool = spool
        self._batch = 0
        self._padding = b""
        self._start_ns = 0
        self.offsets_ns: list[int] = []
        self.emit_ns: list[int] = []

    def ordered(self) -> bool:
        """Whether the next batch has been ordered; if so it begins in 20 ms."""
        try:
            path = os.path.join(self._spool, f"order-{self._batch + 1}.json")
            with open(path, encoding="ascii") as file:
                order = json.load(file)
        except FileNotFoundError:
            return False
        self._batch += 1
        self._padding = os.urandom(max(0, order["body_bytes"] - HEAD.size))
        self._start_ns = time.monotonic_ns() + 20_000_000
        self.offsets_ns = order["offsets_ns"]
        self.emit_ns = []
        return True

    def wait_s(self) -> float:
        """Seconds until the next message is due."""
        due_ns = self._start_ns + self.offsets_ns[len(self.emit_ns)]
        return max(0.0, (due_ns - time.monotonic_ns()) / 1e9)

    def next_body(self) -> bytes:
        """The next message's body."""
        return HEAD.pack(self._batch, len(self.emit_ns), len(self.offsets_ns)) + self._padding

    def complete(self) -> bool:
        """Whether the whole batch has been emitted."""
        return len(self.emit_ns) == len(self.offsets_ns)

    def finish(self) -> None:
        """Write the batch's result."""
        write(self._spool, f"result-{self._batch}.json", {"emit_ns": self.emit_ns})


class Arrivals:
    """The messages that a sink has in hand, by batch and sequence number."""

    def __init__(self, spool: str) -> None:
        self._spool = spool
        self._batch = 0
        self._arrival_ns: dict[int, int] = {}

    def add(self, body: bytes, now_ns: int) -> None:
        """Note an arrival; write the result when the batch is complete."""
        batch, sequence, messages = HEAD.unpack_from(body)
        if batch != self._batch:
            self._batch = batch
            self._arrival_ns = {}
        self._arrival_ns[sequence] = now_ns
        if len(self._arrival_ns) == messages:
            stamps = [self._arrival_ns[index] for index in range(messages)]
            write(self._spool, f"result-{batch}.json", {"arrival_ns": stamps})


class RabbitEnd:
    """A source or sink on one ``pika.SelectConnection``."""

    def __init__(self, role: str, url: str, queue: str, spool: str) -> None:
        import pika

        self._queue = queue
        self._tick_queue = f"{queue}.tick"
        self._spool = spool
        self._channel: Any = None
        self._problem: str | None = None
        self._emissions = Emissions(spool)
        self._arrivals = Arrivals(spool)
        self._properties = pika.BasicProperties(delivery_mode=1)
        on_channel = self._start_source if role == "source" else self._start_sink
        self._connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )
        self._loop = self._connection.ioloop

    def run(self) -> str | None:
        """Serve until SIGTERM. Returns what went wrong, None when nothing did."""
        signal.signal(
            signal.SIGTERM, lambda *_: self._loop.add_callback_threadsafe(self._connection.close)
        )
        self._loop.start()
        return self._problem

    def _ended(self, _connection: Any, reason: BaseException) -> None:
        import pika

        if not isinstance(reason, pika.exceptions.ConnectionClosedByClient):
            self._problem = repr(reason)
        self._loop.stop()

    def _start_source(self, channel: Any) -> None:
        def ready() -> None:
            write(self._spool, "ready.json", {})
            self._look_for_order()

        self._consume(channel, self._tick_queue, self._ticked, ready)

    def _start_sink(self, channel: Any) -> None:
        self._consume(
            channel, self._queue, self._received, lambda: write(self._spool, "ready.json", {})
        )

    def _consume(self, channel: Any, queue: str, received: Any, ready: Callable[[], None]) -> None:
        self._channel = channel

        def declared(_frame: Any) -> None:
            channel.basic_consume(queue, received, auto_ack=True, callback=lambda _frame: ready())

        # Exclusive: it goes with this connection, however this process ends.
        channel.queue_declare(queue, exclusive=True, callback=declared)

    def _look_for_order(self) -> None:
        if self._emissions.ordered():
            self._loop.call_later(self._emissions.wait_s(), self._tick)
        else:
            self._loop.call_later(POLL_S, self._look_for_order)

    def _tick(self) -> None:
        self._channel.basic_publish("", self._tick_queue, b"", self._properties)

    def _ticked(self, _channel: Any, _method: Any, _properties: Any, _body: bytes) -> None:
        emissions = self._emissions
        body = emissions.next_body()
        emissions.emit_ns.append(time.monotonic_ns())
        self._channel.basic_publish("", self._queue, body, self._properties)
        if emissions.complete():
            # Not at once: the last message is still to be handed to the socket.
            self._loop.call_later(SETTLE_S, self._finish)
        else:
            self._loop.call_later(emissions.wait_s(), self._tick)

    def _finish(self) -> None:
        self._emissions.finish()
        self._look_for_order()

    def _received(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        now_ns = time.monotonic_ns()
        self._arrivals.add(body, now_ns)


class NatsEnd:
    """A source or sink on one ``nats`` connection, over a JetStream stream kept in memory."""

    def __init__(self, role: str, url: str, subject: str, spool: str) -> None:
        self._serve = self._source if role == "source" else self._sink
        self._url = url
        self._subject = subject
        self._spool = spool
        self._stopping = asyncio.Event()

    def run(self) -> str | None:
        """Serve until SIGTERM. Returns what went wrong, None when nothing did."""
        return asyncio.run(self._main())

    async def _main(self) -> str | None:
        import nats
        from nats.errors import NoServersError

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        problems: list[str] = []

        async def lost() -> None:
            problems.append("the broker closed the connection")
            self._stopping.set()

        async def failed(error: Exception) -> None:
            problems.append(repr(error))

        try:
            client = await nats.connect(
                self._url,
                allow_reconnect=False,
                connect_timeout=10,
                # Or it would try for minutes before it says that it cannot connect.
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                disconnected_cb=lost,
                error_cb=failed,
            )
        except NoServersError:
            return problems[-1]
        await self._serve(client)
        if problems:
            return problems[0]
        await client.close()
        return None

    async def _source(self, client: Any) -> None:
        emissions = Emissions(self._spool)
        tick = f"{self._subject}.tick"

        async def ticked(_message: Any) -> None:
            body = emissions.next_body()
            emissions.emit_ns.append(time.monotonic_ns())
            await client.publish(self._subject, body)
            sent.set()

        sent = asyncio.Event()
        await self._consume(client, tick, ticked)
        write(self._spool, "ready.json", {})
        while not self._stopping.is_set():
            if not emissions.ordered():
                await asyncio.sleep(POLL_S)
                continue
            while not emissions.complete():
                await asyncio.sleep(emissions.wait_s())
                sent.clear()
                await client.publish(tick, b"")
                await sent.wait()
            await asyncio.sleep(SETTLE_S)
            emissions.finish()

    async def _sink(self, client: Any) -> None:
        from nats.js.api import StorageType, StreamConfig

        arrivals = Arrivals(self._spool)

        async def received(message: Any) -> None:
            now_ns = time.monotonic_ns()
            arrivals.add(message.data, now_ns)

        stream = StreamConfig(
            name=self._subject,
            subjects=[self._subject, f"{self._subject}.tick"],
            storage=StorageType.MEMORY,
            max_msgs=10_000,
        )
        await client.jetstream().add_stream(stream)
        await self._consume(client, self._subject, received)
        write(self._spool, "ready.json", {})
        await self._stopping.wait()
        if client.is_connected:
            await client.jetstream().delete_stream(self._subject)

    async def _consume(self, client: Any, subject: str, received: Any) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig

        await client.jetstream().subscribe(
            subject,
            stream=self._subject,
            cb=received,
            config=ConsumerConfig(ack_policy=AckPolicy.NONE),
        )


def main() -> int:
    """Run one end; 0 when it was asked to stop, 1 when something went wrong."""
    role, url, queue, spool = sys.argv[1:]
    if role not in {"source", "sink"}:
        print(f"{role!r} is neither source nor sink", file=sys.stderr)
        return 2
    end = RabbitEnd if url.startswith("amqp") else NatsEnd
    problem = end(role, url, queue, spool).run()
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
