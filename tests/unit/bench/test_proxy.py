"""The proxy's cutters: each message is held as it asks, however its bytes come in."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bare.proxy import Amqp, AsAsked, Nats, cutters
from runtime.broker import Message
from runtime.broker.nats_wire import publish_command, signal_command
from runtime.broker.rabbitmq_wire import message_properties, publish_method
from runtime.message import NETWORK_DELAY_HEADER, Ids, encode_headers, network_delay_headers

MS = 1_000_000


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    """A frame of AMQP."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def headers(delay_ms: float | None) -> dict[str, str | int]:
    """The headers of a message of a flow."""
    return encode_headers(Ids(7, 8, 9), network_delay_headers(delay_ms))


def amqp(delay_ms: float | None, size: int = 40, channel: int = 1) -> bytes:
    """A message as a step publishes it, its body in frames of at most 30 bytes."""
    properties = message_properties(headers(delay_ms), persistent=False, tag="3")
    content = struct.pack(">HHQ", 60, 0, size) + properties
    parts = [min(30, size - start) for start in range(0, size, 30)]
    return publish_method(channel, "flow", "key") + b"".join(
        (frame(2, content, channel), *(frame(3, b"\xce" * part, channel) for part in parts))
    )


def nats(delay_ms: float | None, size: int = 40) -> bytes:
    """A message as a step publishes it."""
    body = (b"\r\nMSG " * size)[:size]
    return publish_command("to", "reply", Message(body, headers(delay_ms)))[0]


AMQP_ACK = frame(1, struct.pack(">HHQB", 60, 80, 1, 0))
NATS_STATUS = b"HMSG inbox 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n"
CASES: list[tuple[type[AsAsked], list[tuple[bytes, float]]]] = [
    (Amqp, [
        (b"AMQP\x00\x00\x09\x01", 0), (AMQP_ACK, 0), (amqp(5.0), 5), (AMQP_ACK, 0),
        (amqp(0.0, size=0), 0), (amqp(50.0, size=100), 50), (frame(8, b"", 0), 0),
        (amqp(1.5, channel=2), 1.5),
    ]),
    (Nats, [
        (b'INFO {"a":1}\r\n', 0), (b"PING\r\n", 0), (nats(5.0), 5), (b"+OK\r\n", 0),
        (signal_command(b"to", b"+ACK"), 0), (nats(50.0, size=0), 50), (NATS_STATUS, 0),
        (nats(0.0), 0), (b"MSG a 1 2\r\n\r\n\r\n", 0), (nats(1.5), 1.5),
    ]),
]  # fmt: skip


def taken(
    kind: type[AsAsked], reads: Sequence[bytes], say: Callable[[str], None]
) -> tuple[bytes, list[int]]:
    """All that a cutter lets through of a stream and its end, and the delay of each byte."""
    cutter = kind(NETWORK_DELAY_HEADER, say)
    found = [piece for read in (*reads, b"") for piece in cutter.pieces(read)]
    through = b"".join(piece for piece, _ in found)
    return through, [delay_ns for piece, delay_ns in found for _ in piece]


@pytest.mark.parametrize(("kind", "stream"), CASES)
@given(data=st.data())
def test_each_message_is_held_as_it_asks_however_it_is_read(
    kind: type[AsAsked], stream: list[tuple[bytes, float]], data: st.DataObject
) -> None:
    """No byte is lost or held otherwise, wherever reads begin and end; all else passes."""
    whole = b"".join(part for part, _ in stream)
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    bounds = [0, *places, len(whole)]
    reads = [whole[a:b] for a, b in itertools.pairwise(bounds) if b > a]
    said: list[str] = []
    assert taken(kind, reads, said.append) == (
        whole, [round(ms * MS) for part, ms in stream for _ in part],
    )  # fmt: skip
    assert said == []


@pytest.mark.parametrize(("kind", "message"), [(Amqp, amqp), (Nats, nats)])
def test_what_comes_in_one_read_goes_on_in_one_piece(
    kind: type[AsAsked], message: Callable[[float], bytes]
) -> None:
    """Messages that ask for the same are not cut apart, nor are the frames of one."""
    cutter = kind(NETWORK_DELAY_HEADER, pytest.fail)
    read = message(5.0) + message(5.0) + message(1.0)
    assert cutter.pieces(read) == [(message(5.0) * 2, 5 * MS), (message(1.0), MS)]


@pytest.mark.parametrize(("kind", "message"), [(Amqp, amqp), (Nats, nats)])
def test_message_that_asks_for_nothing_is_said(
    kind: type[AsAsked], message: Callable[[float | None], bytes]
) -> None:
    """It goes on, undelayed, and the proxy says that there was one."""
    said: list[str] = []
    through, delays_ns = taken(kind, [message(None)], said.append)
    assert (through, set(delays_ns)) == (message(None), {0})
    assert said == [f"a message without the header {NETWORK_DELAY_HEADER} was not delayed"]


BROKEN = [
    (Amqp, b"HTTP/1.1 200 OK\r\n", "no frame of AMQP has type 72"),
    (Amqp, amqp(1.0)[:-1] + b"\x00", "a frame does not end as AMQP's do"),
    (Amqp, frame(2, b"\x00" * 14), "a header frame of AMQP without its method"),
    (Amqp, frame(3, b"body"), "a body frame of AMQP without its header"),
    (Amqp, publish_method(1, "a", "b") + amqp(1.0, channel=2), "among the frames of another one"),
    (Amqp, amqp(1.0).replace(b"\x00\x00\x00\x011", b"\x00\x00\x00\x01x"), "could not convert"),
    (Amqp, amqp(-1.0), "a delay of -1.0 ms"),
    (Nats, b"GET / HTTP/1.1\r\n\r\n", "NATS has no command b'GET'"),
    (Nats, b"PUB a 2\r\nabc\r\n", "a payload of NATS does not end where its line says"),
    (Nats, b"PUB a x\r\nabc\r\n", "invalid literal"),
    (Nats, b"\r\n", "list index out of range"),
]


@pytest.mark.parametrize(("kind", "stream", "problem"), BROKEN)
def test_stream_that_cannot_be_followed_is_said(
    kind: type[AsAsked], stream: bytes, problem: str
) -> None:
    """It goes on as it is, all of what follows too, and the proxy says once why."""
    said: list[str] = []
    through, _ = taken(kind, [stream, b"more", b"and more"], said.append)
    assert through == stream + b"moreand more"
    (line,) = said
    assert line.startswith("a stream could not be followed any further: ")
    assert problem in line


def test_problems_are_lines_of_a_file(tmp_path: Path) -> None:
    """Each direction says each problem once, and which direction it was."""
    made = cutters(f"nats:{NETWORK_DELAY_HEADER}", str(tmp_path))
    for direction in ("to the step", "from the step"):
        cutter = made(direction)
        cutter.pieces(nats(None) * 2)
    what = f"a message without the header {NETWORK_DELAY_HEADER} was not delayed"
    assert (tmp_path / "problems.txt").read_text().splitlines() == [
        f"to the step: {what}", f"from the step: {what}",
    ]  # fmt: skip
