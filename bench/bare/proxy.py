"""A TCP proxy that holds bytes back by a known time, in both directions.

A script of its own that imports nothing of hopbench, so that it can stand in any image::

    proxy.py LISTEN_ADDRESS UPSTREAM_HOST UPSTREAM_PORT DELAY SPOOL_FOLDER

It listens on a port of its own, writes ``ready.json`` (``{"port": 40123}``) into its spool folder
and forwards until SIGTERM. DELAY is a number of milliseconds, for every byte; or ``amqp:HEADER`` or
``nats:HEADER``: each message is then held by the milliseconds that its header of that name says,
what is behind it waits for it, all else passes. A stream that it cannot follow, or a message
without the header, is a line in ``problems.txt``: what it comes behind is not delayed as asked.

A byte leaves its delay after it came, and what the proxy itself adds, in the order of arrival. What
it adds does not depend on the delay, so that a delay of 0 through the same proxy shows it: two more
sockets, one waking, and a hold of 0.5 ms. Without the hold, bytes that are not delayed would be
sent by a process that has just woken, and the others by one that is wide awake, 0.1 to 0.3 ms
faster. One thread a direction both waits for bytes and sends those that are due: a second thread
would have to be woken, which costs most where the delay is 0.

Where each message asks, the hold is 5 ms: after some milliseconds whoever is to get the message
sleeps and its caches are cold, which costs it 0.1 to 0.4 ms, however much longer it waits.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

SPUN_S = 0.0003
"""The end of a wait is spun: a sleep alone ends about 60 us late, on a busy machine later."""
CHUNK_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 10.0
PREAMBLE = b"AMQP"
CONTENT_METHODS = {(60, 40), (60, 50), (60, 60), (60, 71)}
"""Basic's publish, return, deliver and get-ok: a message's header and body follow (AMQP 0-9-1)."""
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_BYTES = 8
"""Of a frame, beside its payload: type, channel, size, and the octet that ends it."""
FRAME_END = 0xCE
PLAIN = {b"INFO", b"CONNECT", b"PING", b"PONG", b"SUB", b"UNSUB", b"+OK", b"-ERR"}
SIZES = {b"PUB": 1, b"MSG": 1, b"HPUB": 2, b"HMSG": 2}
"""Commands of NATS that a payload follows, and how many sizes end their line."""
NATS_STATUS = b"NATS/1.0 "
Say = Callable[[str], None]


class Evenly:
    """Every byte is delayed alike."""

    held_ns = 500_000

    def __init__(self, delay_ns: int) -> None:
        self._delay_ns = delay_ns

    def pieces(self, data: bytes) -> list[tuple[bytes, int]]:
        """What can go on of what came so far, each piece with its delay in nanoseconds."""
        return [(data, self._delay_ns)]


class AsAsked:
    """A stream, cut into what is delayed by one time each. Says once what it cannot follow."""

    held_ns = 5_000_000

    def __init__(self, header: str, say: Say) -> None:
        self._header, self._say = header, say
        self._came = bytearray()
        self._following = True

    def pieces(self, data: bytes) -> list[tuple[bytes, int]]:
        """What can go on of what came so far, each piece with its delay in nanoseconds.

        What is not whole yet is kept; at the end of the stream (no data) it goes on as it is.
        """
        self._came += data
        found: list[tuple[bytes, int]] = []
        try:
            while self._following and (size := self._unit()):
                unit = bytes(self._came[:size])
                delay_ns = self._delay_ns(unit)
                del self._came[:size]
                # One write stays one, so that its reader gets it at once.
                if found and found[-1][1] == delay_ns:
                    unit = found.pop()[0] + unit
                found.append((unit, delay_ns))
        except (ValueError, IndexError) as error:
            self._following = False
            self._say(f"a stream could not be followed any further: {error}")
        if self._came and not (data and self._following):
            found.append((bytes(self._came), 0))
            self._came.clear()
        return found

    def _unit(self) -> int:
        """The size of what can go on first; 0 while it is not whole. ValueError: not followed."""
        raise NotImplementedError

    def _delay_ns(self, unit: bytes) -> int:
        """How long a whole unit is to be held."""
        raise NotImplementedError

    def _asked_ns(self, text: bytes | None) -> int:
        if text is None:
            self._say(f"a message without the header {self._header} was not delayed")
            return 0
        delay_ms = float(text)
        if not 0 <= delay_ms < math.inf:
            raise ValueError(f"a delay of {delay_ms} ms")
        return round(delay_ms * 1e6)


class Amqp(AsAsked):
    """AMQP 0-9-1: a message is a method frame, a header frame, and body frames up to its size.

    A method frame is kept until its header frame says the delay, together with what of other
    channels may lie between the two.
    """

    def __init__(self, header: str, say: Say) -> None:
        super().__init__(header, say)
        self._before = bytes((len(header),)) + header.encode() + b"S"
        """A header's name, and the type of a long string, as they stand before its length."""
        self._left: dict[int, tuple[int, int]] = {}
        """By channel: how many bytes of a body are to come, and how long they are held."""
        self._delay = 0

    def _unit(self) -> int:
        self._delay = 0
        if self._came.startswith(PREAMBLE):
            return 8 if len(self._came) >= 8 else 0
        start, opened = 0, None
        while (frame := self._frame(start)) is not None:
            kind, channel, payload, start = frame
            if kind == HEADER:
                if channel != opened:
                    raise ValueError("a header frame of AMQP without its method")
                self._begin(channel, payload)
                return start
            content = kind == BODY or (kind == METHOD and _method(payload) in CONTENT_METHODS)
            if content and opened is not None:
                raise ValueError("a message of AMQP among the frames of another one")
            if kind == BODY:
                self._go_on(channel, len(payload))
            elif content:
                opened = channel
            if opened is None:
                return start
        return 0

    def _frame(self, start: int) -> tuple[int, int, bytes, int] | None:
        """Type, channel, payload and end of the frame that begins there; None: not whole yet."""
        came = self._came
        if len(came) - start < FRAME_BYTES:
            return None
        kind, channel = came[start], int.from_bytes(came[start + 1 : start + 3])
        if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
            raise ValueError(f"no frame of AMQP has type {kind}")
        end = start + FRAME_BYTES + int.from_bytes(came[start + 3 : start + 7])
        if len(came) < end:
            return None
        if came[end - 1] != FRAME_END:
            raise ValueError("a frame does not end as AMQP's do")
        return kind, channel, bytes(came[start + 7 : end - 1]), end

    def _delay_ns(self, unit: bytes) -> int:
        return self._delay

    def _begin(self, channel: int, payload: bytes) -> None:
        place = payload.find(self._before)
        text = None
        if place >= 0:
            place += len(self._before)
            size = int.from_bytes(payload[place : place + 4])
            text = payload[place + 4 : place + 4 + size]
        self._delay = self._asked_ns(text)
        self._left[channel] = (int.from_bytes(payload[4:12]), self._delay)

    def _go_on(self, channel: int, size: int) -> None:
        left, self._delay = self._left.get(channel, (0, 0))
        if size > left:
            raise ValueError("a body frame of AMQP without its header")
        self._left[channel] = (left - size, self._delay)


def _method(payload: bytes) -> tuple[int, int]:
    return int.from_bytes(payload[:2]), int.from_bytes(payload[2:4])


class Nats(AsAsked):
    """NATS: lines, and payloads whose size their line says; a message's headers are JSON in one."""

    def __init__(self, header: str, say: Say) -> None:
        super().__init__(header, say)
        self._said = re.compile(rb'"%b": ?"([^"]*)"' % re.escape(header.encode()))

    def _unit(self) -> int:
        line_end = self._came.find(b"\r\n")
        if line_end < 0:
            return 0
        words = bytes(self._came[:line_end]).split()
        name = words[0].upper()
        if name in PLAIN:
            return line_end + 2
        if name not in SIZES:
            raise ValueError(f"NATS has no command {name[:20]!r}")
        end = line_end + 2 + int(words[-1]) + 2
        if len(self._came) < end:
            return 0
        if self._came[end - 2 : end] != b"\r\n":
            raise ValueError("a payload of NATS does not end where its line says")
        return end

    def _delay_ns(self, unit: bytes) -> int:
        line, _, payload = unit.partition(b"\r\n")
        words = line.split()
        if SIZES.get(words[0].upper()) != 2:
            return 0
        block = payload[: int(words[-2])]
        # A status is the server's own word in place of a message.
        if block.startswith(NATS_STATUS):
            return 0
        said = self._said.search(block)
        return self._asked_ns(said[1] if said else None)


Cutter = Evenly | AsAsked


class Held:
    """Bytes that are not due yet, in the order of arrival; empty ones are the stream's end."""

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter
        self._held: deque[tuple[int, bytes]] = deque()
        self._last_ns = 0

    def add(self, data: bytes) -> None:
        """Keep what came just now. Nothing overtakes what is before it."""
        came_ns = time.monotonic_ns() + self._cutter.held_ns
        pieces = [one for one in self._cutter.pieces(data) if one[0]]
        for piece, delay_ns in pieces if data else [*pieces, (b"", 0)]:
            self._last_ns = max(self._last_ns, came_ns + delay_ns)
            self._held.append((self._last_ns, piece))

    def wait_s(self) -> float | None:
        """How long to sleep before the first is due; None where nothing is held."""
        if not self._held:
            return None
        return max(0.0, (self._held[0][0] - time.monotonic_ns()) / 1e9 - SPUN_S)

    def due(self) -> Iterator[bytes]:
        """What is due."""
        while self._held and time.monotonic_ns() >= self._held[0][0]:
            yield self._held.popleft()[1]


def forward(source: socket.socket, sink: socket.socket, cutter: Cutter) -> None:
    """Pass on what comes from ``source`` until it ends; then let ``sink`` know."""
    held, open_ = Held(cutter), True
    try:
        while (wait_s := held.wait_s()) is not None or open_:
            if not open_:
                time.sleep(wait_s or 0.0)
            elif select.select([source], [], [], wait_s)[0]:
                data = source.recv(CHUNK_BYTES)
                held.add(data)
                open_ = bool(data)
            for data in held.due():
                if data:
                    sink.sendall(data)
                else:
                    sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side has reset the connection: the other side is told, as it would be without us.
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def serve(
    client: socket.socket, upstream: tuple[str, int], cutter: Callable[[str], Cutter]
) -> None:
    """Forward one connection in both directions until both have ended."""
    with client:
        try:
            server = socket.create_connection(upstream, timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            print(f"cannot reach {upstream[0]}:{upstream[1]}: {error}", file=sys.stderr, flush=True)
            return
        with server:
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(
                target=forward, args=(server, client, cutter("to the step")), daemon=True
            )
            back.start()
            forward(client, server, cutter("from the step"))
            back.join()


def cutters(delay: str, spool: str) -> Callable[[str], Cutter]:
    """What makes the cutter of one direction of a connection, from DELAY as it was given."""
    protocol, colon, header = delay.partition(":")
    if not colon:
        delay_ns = round(float(delay) * 1e6)
        return lambda _direction: Evenly(delay_ns)
    kind = {"amqp": Amqp, "nats": Nats}[protocol]
    path = os.path.join(spool, "problems.txt")

    def made(direction: str) -> Cutter:
        said: set[str] = set()

        def say(problem: str) -> None:
            if problem in said:
                return
            said.add(problem)
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{direction}: {problem}\n")

        return kind(header, say)

    return made


def main() -> int:
    """Listen, say where, forward until SIGTERM."""
    address, host, port, delay, spool = sys.argv[1:]

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Threads that wait for a peer must not keep it from ending.
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    cutter = cutters(delay, spool)
    with socket.create_server((address, 0)) as listener:
        path = os.path.join(spool, "ready.json")
        with open(f"{path}.part", "w", encoding="ascii") as file:
            json.dump({"port": listener.getsockname()[1]}, file)
        os.rename(f"{path}.part", path)
        while True:
            client, _ = listener.accept()
            threading.Thread(
                target=serve, args=(client, (host, int(port)), cutter), daemon=True
            ).start()


if __name__ == "__main__":
    sys.exit(main())
