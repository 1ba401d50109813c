"""One end of a comparison of two clocks: answers with its own, or asks another end for its own.

A script of its own that imports nothing of hopbench, so that it can stand in any image::

    clock.py serve LISTEN_ADDRESS PORT SPOOL_FOLDER
    clock.py ask HOST PORT ROUNDS SPOOL_FOLDER

``serve`` writes ``ready.json`` (``{"port": 7711}``; PORT may be 0) and answers each byte with the
nanoseconds of its CLOCK_MONOTONIC, until SIGTERM. ``ask`` writes ``result.json`` and ends:
``{"before_ns": [...], "remote_ns": [...], "after_ns": [...]}``, one of each a round. A remote
instant lies between the two local ones, so that each round bounds the offset of the clocks from
both sides, however the way there and back differ.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from types import FrameType
from typing import Any

INSTANT = struct.Struct("<q")
TIMEOUT_S = 10.0


def write(spool: str, name: str, content: dict[str, Any]) -> None:
    """Put a JSON file into the spool folder; whoever sees its name can read all of it."""
    path = os.path.join(spool, name)
    with open(f"{path}.part", "w", encoding="ascii") as file:
        json.dump(content, file)
    os.rename(f"{path}.part", path)


def serve(address: str, port: int, spool: str) -> None:
    """Answer one client after another."""
    with socket.create_server((address, port)) as listener:
        write(spool, "ready.json", {"port": listener.getsockname()[1]})
        while True:
            client, _ = listener.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while client.recv(1):
                    client.sendall(INSTANT.pack(time.monotonic_ns()))


def ask(host: str, port: int, rounds: int) -> dict[str, list[int]]:
    """Ask for the other end's clock, and read ours before and after. Raises OSError."""
    asked: dict[str, list[int]] = {"before_ns": [], "remote_ns": [], "after_ns": []}
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            asked["before_ns"].append(time.monotonic_ns())
            peer.sendall(b".")
            data = b""
            while len(data) < INSTANT.size:
                received = peer.recv(INSTANT.size - len(data))
                if not received:
                    raise ConnectionError("the other end closed the connection")
                data += received
            asked["after_ns"].append(time.monotonic_ns())
            asked["remote_ns"].append(INSTANT.unpack(data)[0])
    return asked


def main() -> int:
    """Run one end."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    role, host, port, *rest = sys.argv[1:]
    if role == "serve":
        serve(host, int(port), rest[0])
    else:
        write(rest[1], "result.json", dict(ask(host, int(port), int(rest[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
