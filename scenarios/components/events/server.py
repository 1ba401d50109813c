"""A source of events, run beside a flow: ``python3 server.py --port 8080``.

``GET /events`` is a stream of server-sent events that stays open: every event is pushed to everyone
who listens at that moment, once to each. Events are numbered 1, 2, 3, ...; the first is pushed one
interval after the first listener came. ``?rate_hz=20`` and ``&count=100`` set the pace and the
number of the last event, for everyone: the newest request's hold. ``GET /stats`` says what was
pushed, ``GET /healthz`` answers at once.

One thread serves everyone, so that a thousand listeners cost no thousand threads here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import time
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

DEFAULT_RATE_HZ = 10.0
MOST_RATE_HZ = 10_000.0
MOST_EVENTS = 10_000_000
MOST_BEHIND_BYTES = 1024 * 1024
"""A listener that reads so much too slowly is disconnected: it must not cost the others memory."""
HEAD_TIMEOUT_S = 10.0
END_TIMEOUT_S = 0.5


class Source:
    """The events and their listeners; ``copies`` counts pushes, one a listener and event."""

    def __init__(self) -> None:
        self.listeners: set[asyncio.StreamWriter] = set()
        self.rate_hz = DEFAULT_RATE_HZ
        self.count = MOST_EVENTS
        self.events = self.copies = self.connections = self.disconnected = 0
        self.heard = asyncio.Event()

    def add(self, writer: asyncio.StreamWriter, rate_hz: float | None, count: int | None) -> None:
        """Let a listener have every event from now on."""
        self.rate_hz = rate_hz or self.rate_hz
        self.count = count or self.count
        self.connections += 1
        self.listeners.add(writer)
        self.heard.set()

    def push(self) -> None:
        """Push the next event to everyone who listens."""
        self.events += 1
        event = json.dumps({"event": self.events, "pushed_ns": time.monotonic_ns()})
        record = f"id: {self.events}\ndata: {event}\n\n".encode()
        for writer in list(self.listeners):
            if writer.transport.get_write_buffer_size() > MOST_BEHIND_BYTES:
                self.disconnected += 1
                self.listeners.discard(writer)
                writer.transport.abort()
            elif not writer.is_closing():
                self.copies += 1
                writer.write(record)

    async def run(self) -> None:
        """Push at the pace that was asked for, from the first listener on."""
        await self.heard.wait()
        due_s = time.monotonic()
        while True:
            # Late events follow at once, each with its own number: none is left out.
            due_s = max(due_s, time.monotonic() - 1.0) + 1 / self.rate_hz
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if self.events < self.count:
                self.push()

    def stats(self) -> dict[str, float]:
        """What was done so far; ``connections`` counts listeners that have gone, too."""
        return {
            "events": self.events,
            "copies": self.copies,
            "listeners": len(self.listeners),
            "connections": self.connections,
            "disconnected": self.disconnected,
            "rate_hz": self.rate_hz,
            "count": self.count,
        }


async def serve(source: Source, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's only request."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT_S)
        method, _, rest = head.decode("latin-1").partition(" ")
        parts = urlsplit(rest.partition(" ")[0])
        if method != "GET":
            answer(writer, HTTPStatus.METHOD_NOT_ALLOWED, "only GET\n")
        elif parts.path == "/healthz":
            answer(writer, HTTPStatus.OK, "ok\n")
        elif parts.path == "/stats":
            answer(writer, HTTPStatus.OK, json.dumps(source.stats()) + "\n", "application/json")
        elif parts.path == "/events":
            await listen(source, parse_qs(parts.query), reader, writer)
        else:
            answer(writer, HTTPStatus.NOT_FOUND, "only /events, /stats and /healthz\n")
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
        pass  # No request came, or who asked is gone: there is nobody to answer.
    finally:
        source.listeners.discard(writer)
        writer.close()


async def listen(
    source: Source,
    query: dict[str, list[str]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Open the stream, and keep it until the listener goes."""
    try:
        rate_hz = positive(query, "rate_hz", MOST_RATE_HZ)
        count = positive(query, "count", MOST_EVENTS)
    except ValueError as error:
        answer(writer, HTTPStatus.BAD_REQUEST, f"{error}\n")
        return
    head = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    writer.write(f"HTTP/1.1 200 OK\r\n{head}".encode())
    source.add(writer, rate_hz, None if count is None else math.ceil(count))
    # A listener sends nothing more; when it goes, this reads the end.
    while await reader.read(4096):
        pass


def answer(
    writer: asyncio.StreamWriter, status: HTTPStatus, text: str, kind: str = "text/plain"
) -> None:
    """Send head and body; the connection is closed after it."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n"
    )
    writer.write(f"{head}{text}".encode())


def positive(query: dict[str, list[str]], name: str, most: float) -> float | None:
    """A number above 0 and up to ``most``, None where none is given. Raises ValueError."""
    if name not in query:
        return None
    try:
        number = float(query[name][-1])
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and 0 < number <= most):
        raise ValueError(f"{name} is {query[name][-1]}, not above 0 and up to {most:g}")
    return number


def default_host() -> str:
    """All interfaces within a container, whose network is its own; loopback elsewhere."""
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    return "0.0.0.0" if inside else "127.0.0.1"  # noqa: S104


async def run(host: str, port: int) -> None:
    """Serve and push until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    source = Source()
    server = await asyncio.start_server(lambda *peer: serve(source, *peer), host, port, backlog=512)
    pacer = asyncio.create_task(source.run())
    print(f"listening on {host}:{server.sockets[0].getsockname()[1]}", flush=True)
    end = asyncio.create_task(ended.wait())
    await asyncio.wait({pacer, end}, return_when=asyncio.FIRST_COMPLETED)
    if pacer.done():
        pacer.result()  # Raises what ended it: a source without events must not go on serving.
    server.close()
    pacer.cancel()
    for writer in source.listeners:
        writer.transport.abort()
    # Their tasks end by themselves now; cancelled, each would write a traceback.
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=END_TIMEOUT_S)


def main(argv: list[str]) -> NoReturn:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="A server that pushes numbered events")
    parser.add_argument("--port", type=int, required=True, help="0: any free one")
    parser.add_argument("--host", default=default_host())
    options = parser.parse_args(argv)
    asyncio.run(run(options.host, options.port))
    raise SystemExit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
