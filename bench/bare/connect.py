"""The least that a step must do when it starts: import the client library and connect.

A script of its own that imports nothing of hopbench::

    connect.py BROKER_URL SPOOL_FOLDER

Once connected it writes ``connected.json`` (``{"connected_ns": ...}`` of CLOCK_MONOTONIC) into its
spool folder and waits for SIGTERM. What it took is the floor under every start of a step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any


def stamp(spool: str, now_ns: int) -> None:
    """Write the instant; whoever sees the file's name can read all of it."""
    path = os.path.join(spool, "connected.json")
    with open(f"{path}.part", "w", encoding="ascii") as file:
        json.dump({"connected_ns": now_ns}, file)
    os.rename(f"{path}.part", path)


def rabbitmq(url: str, spool: str) -> int:
    """Connect with pika, serve the connection until SIGTERM."""
    import pika

    problems: list[str] = []

    def ended(connection: Any, reason: BaseException) -> None:
        if not isinstance(reason, pika.exceptions.ConnectionClosedByClient):
            problems.append(repr(reason))
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda _: stamp(spool, time.monotonic_ns()),
        on_open_error_callback=ended,
        on_close_callback=ended,
    )
    loop = connection.ioloop
    signal.signal(signal.SIGTERM, lambda *_: loop.add_callback_threadsafe(connection.close))
    loop.start()
    print(*problems, file=sys.stderr)
    return 1 if problems else 0


def nats(url: str, spool: str) -> int:
    """Connect with nats-py, serve the connection until SIGTERM."""
    import asyncio

    import nats as client_library

    async def serve() -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        client = await client_library.connect(
            url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0.1
        )
        stamp(spool, time.monotonic_ns())
        await stopping.wait()
        await client.close()

    asyncio.run(serve())
    return 0


def main() -> int:
    """Connect and wait; 0 when it was asked to stop, 1 when something went wrong."""
    url, spool = sys.argv[1:]
    return rabbitmq(url, spool) if url.startswith("amqp") else nats(url, spool)


if __name__ == "__main__":
    sys.exit(main())
