"""How queues and messages are written in NATS."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.broker import Message
from runtime.broker import nats_wire as wire

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(names)
def test_token_is_one_token(name: str) -> None:
    """Any name becomes characters that are allowed in subjects, streams and file names."""
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", wire.token(name))


@given(names, names)
def test_tokens_do_not_collide(first: str, second: str) -> None:
    """Different names stay different."""
    assert (wire.token(first) == wire.token(second)) == (first == second)


def test_subject_keeps_exchange_and_key_apart() -> None:
    """A dot in a name does not move the border between exchange and key."""
    assert wire.subject("a.b", "c") == "hopbench.message.a=2Eb.c"
    assert wire.subject("a", "b.c") == "hopbench.message.a.b=2Ec"


@given(
    body=st.binary(max_size=200),
    headers=st.dictionaries(names, names | st.integers(), max_size=5),
    persistent=st.booleans(),
)
def test_message_is_read_as_written(
    body: bytes, headers: dict[str, str | int], persistent: bool
) -> None:
    """The command holds the sizes that the protocol wants, and the message comes back whole."""
    sent = Message(body, headers, persistent)
    command, size = wire.publish_command("to", "reply", sent)
    line, _, rest = command.partition(b"\r\n")
    verb, to, reply, head_size, total_size = line.split(b" ")
    assert (verb, to, reply) == (b"HPUB", b"to", b"reply")
    assert int(total_size) == size
    assert rest[size:] == b"\r\n"
    block, arrived = rest[: int(head_size)], rest[int(head_size) : size]
    assert wire.status(block) is None
    assert wire.parse_message(block, arrived) == (sent, 0)


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (None, {}),
        (b"", {}),
        (b"NATS/1.0\r\nOne: 1\r\nTwo:two\r\n\r\n", {"One": "1", "Two": "two"}),
        (
            b'NATS/1.0\r\nHopbench: [{"a":1},true]\r\nMore: x\r\n\r\n',
            {"Hopbench": '[{"a":1},true]', "More": "x"},
        ),
    ],
)
def test_foreign_headers_are_strings(block: bytes | None, headers: dict[str, str]) -> None:
    """Messages that we did not write are read as NATS has them."""
    assert wire.parse_message(block, b"x") == (Message(b"x", headers, False), 0)


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (None, None),
        (b"NATS/1.0\r\nA: b\r\n\r\n", None),
        (b"NATS/1.0 503\r\n\r\n", "503"),
        (b"NATS/1.0 409 Consumer Deleted\r\n\r\n", "409 Consumer Deleted"),
        (b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n", "100 Idle Heartbeat"),
    ],
)
def test_status(block: bytes | None, status: str | None) -> None:
    """The server's own word is told from a message."""
    assert wire.status(block) == status


@pytest.mark.parametrize(
    ("block", "body", "accepted"),
    [
        (None, b'{"stream":"error","seq":1}', True),
        (None, b'{"error":{"code":503,"err_code":10077},"stream":"q","seq":0}', False),
        (b"NATS/1.0 503\r\n\r\n", b"", False),
        (None, b"", False),
    ],
)
def test_accepted(block: bytes | None, body: bytes, accepted: bool) -> None:
    """Only an answer that says where a message is stored is an acceptance."""
    assert wire.accepted(block, body) is accepted


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.stream.workers.3.17.40.1795489222355244411.1",
        b"$JS.ACK.domain.account.stream.workers.3.17.40.1795489222355244411.1.token",
    ],
)
def test_reference(reply: bytes) -> None:
    """How often, and which message: the same in both forms of the reply subject."""
    assert wire.parse_reference(reply) == wire.Reference(3, 17)
