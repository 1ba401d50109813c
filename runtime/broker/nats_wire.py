"""How queues and messages are written in NATS: names, subjects, headers, acknowledgements.

Pure functions on the bytes of the NATS protocol; nothing here has a connection.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from runtime.broker import Message

_HEADER_START = b"NATS/1.0\r\nHopbench: "
_HEADER_END = b"\r\n\r\n"
_STATUS_START = b"NATS/1.0 "

CONSUMER = "workers"
"""The name of the consumer that a queue's consumers share."""
ANY_LATER = "hopbench.message.*.*.later"
"""The subjects that :func:`later` makes."""

ACK = b"+ACK"
TERM = b"+TERM"
NAK = b"-NAK"
PROGRESS = b"+WPI"
NEXT = b"+NXT "
"""Answers to a delivery: done, given up, give it to another, still at it, done and more please.

The last one is followed by a :func:`batch`. Source: NATS architecture decision record 13.
"""


class Reference(NamedTuple):
    """What a JetStream delivery's reply subject says about it."""

    times_delivered: int
    stream_sequence: int


def token(name: str) -> str:
    """A name as one token of a subject, also fit for a stream: what is special becomes ``=HH``."""
    return re.sub(
        r"[^A-Za-z0-9_-]",
        lambda match: "".join(f"={byte:02X}" for byte in match.group().encode()),
        name,
    )


def subject(exchange: str, key: str) -> str:
    """The subject under which an exchange's messages with this key are published."""
    return f"hopbench.message.{token(exchange)}.{token(key)}"


def later(of: str) -> str:
    """The subject of the same stream for messages that are not due at once."""
    return f"{of}.later"


def due_ms(headers: dict[str, str] | None) -> int:
    """When a stored message is due (ms, wall clock), from its headers as nats-py reads them."""
    said = json.loads((headers or {}).get("Hopbench", "[]"))
    return int(said[2]) if len(said) > 2 else 0


def presence(queue: str) -> str:
    """The subject that each consumer of a queue listens to, for the server to count them."""
    return f"hopbench.consumer.{token(queue)}"


def more(queue: str) -> str:
    """The subject to which a consumer of a queue sends its requests for messages."""
    return f"$JS.API.CONSUMER.MSG.NEXT.{token(queue)}.{CONSUMER}"


def acknowledgements(queue: str) -> str:
    """A subject by which settlements pass: that of the queue's first message, gone or not."""
    return f"$JS.ACK.{token(queue)}.{CONSUMER}.1.1.1.1.1"


def batch(count: int, *, wait: bool = True) -> bytes:
    """A request for so many messages, now or as they come. Ends when its inbox is left."""
    return b'{"batch":%d}' % count if wait else b'{"batch":%d,"no_wait":true}' % count


def publish_command(
    to: str, reply: str, message: Message, due_ms: int | None = None
) -> tuple[bytes, int]:
    """The command that publishes a message, and the size that the server's limit speaks of.

    Everything but the body goes into one header, as JSON: NATS has only strings, and trims them.
    ``due_ms``: nobody is to have it before this instant (wall clock, UNIX epoch).
    """
    said = [dict(message.headers), message.persistent]
    text = json.dumps(said if due_ms is None else [*said, due_ms])
    head = b"%b%b%b" % (_HEADER_START, text.encode(), _HEADER_END)
    size = len(head) + len(message.body)
    start = f"HPUB {to} {reply} {len(head)} {size}\r\n".encode()
    return b"".join((start, head, message.body, b"\r\n")), size


def signal_command(to: bytes, payload: bytes, reply: bytes = b"") -> bytes:
    """The command that sends a few bytes without headers: acknowledgements and requests."""
    return b"PUB %b %b %d\r\n%b\r\n" % (to, reply, len(payload), payload)


def not_before(delay_ms: int) -> bytes:
    """The answer to a delivery that asks for it again, so much later (in nanoseconds there)."""
    return NAK + b' {"delay":%d}' % (delay_ms * 1_000_000)


def parse_message(block: bytes | None, body: bytes) -> tuple[Message, int]:
    """The message of a delivery, and when it is due (ms, wall clock; 0: at once).

    Of a foreign publisher's, too: its headers are strings.
    """
    if not block:
        return Message(body, {}), 0
    if block.startswith(_HEADER_START) and block.count(b"\r\n", len(_HEADER_START)) == 2:
        headers, persistent, *due_ms = json.loads(block[len(_HEADER_START) : -len(_HEADER_END)])
        return Message(body, headers, persistent), due_ms[0] if due_ms else 0
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return Message(body, {name.strip(): value.strip() for name, _, value in pairs}), 0


def status(block: bytes | None) -> str | None:
    """The server's own word in place of a message (``503``, ``409 Consumer Deleted``), or None."""
    if not block or not block.startswith(_STATUS_START):
        return None
    return block[len(_STATUS_START) :].partition(b"\r\n")[0].decode("utf-8", "replace").strip()


def accepted(block: bytes | None, body: bytes) -> bool:
    """Whether the answer to a publish says that a stream has stored the message.

    No stream takes the subject: status 503. A full stream: a JSON object with ``error``.
    """
    if not body or status(block) is not None:
        return False
    return "error" not in json.loads(body)


def parse_reference(reply: bytes) -> Reference:
    """Read ``$JS.ACK.[domain.account.]stream.consumer.delivered.stream sequence...``.

    Source: NATS architecture decision record 15, "JetStream subject".
    """
    tokens = reply.split(b".")
    first = 4 if len(tokens) == 9 else 6
    return Reference(int(tokens[first]), int(tokens[first + 1]))
