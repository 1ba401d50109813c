"""pika, made to write a message at once and as a whole: what every hop's way out depends on.

Left to itself, pika cuts a message into three writes (method, header, body), each a packet of its
own, and writes only on the next turn of its loop, with three more system calls around each batch.
Here the frames of a message are joined, and written as soon as pika asks to be told that the
socket is writable. Three of pika's own extension points are used, and no socket of ours: a
connection adapter (``_adapter_emit_data`` is what adapters implement), a loop (``custom_ioloop``),
and a properties class with its own ``encode``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pika
from pika import data
from pika.adapters.select_connection import IOLoop

_FIXED = struct.pack(">H", 0b1111_0000_1000_0000) + b"\x10application/json" + b"\x04utf8"
"""Property flags (content type, encoding, headers, delivery mode, message id; AMQP 0-9-1, 4.2.6.1),
then the two that never change."""
_NAMES: dict[str, bytes] = {}
"""Header names as they are encoded, the type octet of a long string behind them."""
_NAMES_KEPT = 256


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


class JoiningConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that can hold back frames, to write them in one piece."""

    _held: list[bytes] | None = None

    def hold(self) -> None:
        """From now on, keep frames back."""
        self._held = []

    def release(self) -> None:
        """Write what was kept back in one piece."""
        held, self._held = self._held, None
        if held:
            self._transport.write(b"".join(held))

    def unwritten_bytes(self) -> int:
        """What the socket has not taken yet; 0 also when the connection is gone."""
        transport = self._transport
        return 0 if transport is None else int(transport.get_write_buffer_size())

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)


class Properties(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """The properties that all our messages have, encoded without looking at those they lack."""

    def __init__(self, headers: Mapping[str, str | int], *, persistent: bool, tag: str) -> None:
        # Not calling the base class, which would set fourteen attributes to None.
        self._pieces = (headers, b"\x02" if persistent else b"\x01", tag.encode())

    def encode(self) -> list[bytes]:
        """Flags and properties as pieces of bytes, as the base class gives them."""
        headers, mode, tag = self._pieces
        pieces: list[bytes] = []
        for name, value in headers.items():
            if type(value) is str:
                text = value.encode()
                pieces.append(_NAMES.get(name) or _name(name))
                pieces.append(struct.pack(">I", len(text)))
                pieces.append(text)
            else:
                data.encode_short_string(pieces, name)
                data.encode_value(pieces, value)
        table = b"".join(pieces)
        return [_FIXED, struct.pack(">I", len(table)), table, mode, bytes((len(tag),)), tag]


def _name(name: str) -> bytes:
    pieces: list[bytes] = []
    data.encode_short_string(pieces, name)
    encoded = b"".join((*pieces, b"S"))
    if len(_NAMES) < _NAMES_KEPT:
        _NAMES[name] = encoded
    return encoded
