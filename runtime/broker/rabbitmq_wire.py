"""pika, made to send a message at once and as a whole: what every hop's way out depends on.

Left to itself, pika cuts a message into three writes (method, header, body), each a packet of its
own, writes them on the next turn of its loop with three more system calls around them, and looks
for more input after every input. Each costs a hop a few per cent of what a bare hop takes; a
benchmark (bench/micro, ``test_hop``) holds the sum. So the frames of ``basic.publish`` are made
here (AMQP 0-9-1, 4.2.3 to 4.2.6; its method is the same for every message of a route), and pika's
own extension points are used for the rest: a loop (``custom_ioloop``) and a connection class.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any

import pika
from pika import data
from pika.adapters.select_connection import IOLoop

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_FRAME = struct.Struct(">BHI")
_CONTENT = struct.Struct(">HHQ")
_BASIC, _PUBLISH, _MANDATORY = 60, 40, 1
_FIXED = struct.pack(">H", 0b1111_0000_1000_0000) + b"\x10application/json" + b"\x04utf8"
"""Property flags (content type, encoding, headers, delivery mode, message id), then the two whose
value never changes."""
_NAMES: dict[str, bytes] = {}
"""Header names as they are encoded, the type octet of a long string behind them."""
_NAMES_KEPT = 256
_RECEIVE_BYTES = 64 * 1024


class EagerLoop(IOLoop):  # type: ignore[misc]  # pika has no types
    """pika's loop, which tries a write at once instead of asking the kernel first.

    pika buffers what is to be written before it asks for the event, so calling its handler right
    away sends it. Only what the socket does not take is waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[int, Any] = {}
        self._wanted: int | None = None

    def add_handler(self, fd: int, handler: Any, events: int) -> None:
        """Remember who handles a descriptor's events."""
        self._handlers[fd] = handler
        super().add_handler(fd, handler, events)

    def remove_handler(self, fd: int) -> None:
        """Forget it."""
        del self._handlers[fd]
        super().remove_handler(fd)

    def update_handler(self, fd: int, events: int) -> None:
        """Write first; register for what is then still wanted, if that is a change."""
        if self._wanted is not None:
            self._wanted = events
            return
        if not events & self.WRITE:
            super().update_handler(fd, events)
            return
        self._wanted = events
        try:
            self._handlers[fd](fd, self.WRITE)
            wanted = self._wanted
        finally:
            self._wanted = None
        # All written: pika takes its wish back, and the registration was for reading all along.
        if wanted & self.WRITE and fd in self._handlers:
            super().update_handler(fd, wanted)


class DirectConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that writes a published message as one piece.

    ``read_ns`` is the instant at which the last bytes came out of the socket. A message counts as
    delivered then: decoding it is work of this process, not of the network.
    """

    read_ns = 0

    def _on_data_available(self, data_in: bytes) -> None:
        self.read_ns = time.monotonic_ns()
        super()._on_data_available(data_in)

    def receive_in_one(self) -> None:
        """After each input return to the loop, instead of asking for more and finding none.

        What is left in the socket is reported again by the next poll. The two constants are pika's
        own; should a later version know them no more, only the gain is lost.
        """
        self._transport._MAX_CONSUME_BYTES = 1
        self._transport._MAX_RECV_BYTES = _RECEIVE_BYTES

    def send_message(self, channel: int, method: bytes, properties: bytes, body: bytes) -> None:
        """Write the frames of one message. ``method`` is from :func:`publish_method`."""
        size = len(body)
        content = _CONTENT.pack(_BASIC, 0, size)
        frames = [
            method,
            _FRAME.pack(_HEADER, channel, len(content) + len(properties)),
            content,
            properties,
            _END,
        ]
        largest = self._body_max_length
        for start in range(0, size, largest):
            part = body if size <= largest else body[start : start + largest]
            frames += (_FRAME.pack(_BODY, channel, len(part)), part, _END)
        joined = b"".join(frames)
        self.bytes_sent += len(joined)
        self._transport.write(joined)

    def unwritten_bytes(self) -> int:
        """What the socket has not taken yet; 0 also when the connection is gone."""
        transport = self._transport
        return 0 if transport is None else int(transport.get_write_buffer_size())


def publish_method(channel: int, exchange: str, key: str) -> bytes:
    """The whole method frame of ``basic.publish`` with the mandatory flag."""
    pieces: list[bytes] = []
    data.encode_short_string(pieces, exchange)
    data.encode_short_string(pieces, key)
    arguments = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + b"".join(pieces) + bytes((_MANDATORY,))
    return _FRAME.pack(_METHOD, channel, len(arguments)) + arguments + _END


def message_properties(headers: Mapping[str, str | int], *, persistent: bool, tag: str) -> bytes:
    """Flags and properties of a message, encoded. ``tag`` becomes its message id."""
    pieces: list[bytes] = []
    for name, value in headers.items():
        if type(value) is str:
            text = value.encode()
            pieces += (_NAMES.get(name) or _name(name), struct.pack(">I", len(text)), text)
        else:
            data.encode_short_string(pieces, name)
            data.encode_value(pieces, value)
    table = b"".join(pieces)
    mode = b"\x02" if persistent else b"\x01"
    identity = tag.encode()
    return b"".join(
        (_FIXED, struct.pack(">I", len(table)), table, mode, bytes((len(identity),)), identity)
    )


def _name(name: str) -> bytes:
    pieces: list[bytes] = []
    data.encode_short_string(pieces, name)
    encoded = b"".join((*pieces, b"S"))
    if len(_NAMES) < _NAMES_KEPT:
        _NAMES[name] = encoded
    return encoded
