"""The frames that we make ourselves are byte for byte those that pika makes."""

from __future__ import annotations

import pika
from hypothesis import given
from hypothesis import strategies as st
from pika import frame

from runtime.broker.rabbitmq_wire import EagerLoop, message_properties, publish_method

_short = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
_values = st.one_of(st.text(max_size=200), st.integers(-(2**63), 2**63 - 1))
_headers = st.dictionaries(_short, _values, max_size=6)


@given(_short, _short, st.integers(1, 2047))
def test_method_frame(exchange: str, key: str, channel: int) -> None:
    """The publish method is what pika marshals for the same arguments."""
    method = pika.spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)
    assert publish_method(channel, exchange, key) == frame.Method(channel, method).marshal()


@given(_headers, st.booleans(), st.integers(1, 2**40))
def test_properties(headers: dict[str, str | int], persistent: bool, tag: int) -> None:
    """The properties are what pika encodes for the same values, whatever the headers."""
    theirs = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf8",
        headers=dict(headers),
        delivery_mode=2 if persistent else 1,
        message_id=str(tag),
    )
    ours = message_properties(headers, persistent=persistent, tag=str(tag))
    assert ours == b"".join(theirs.encode())


@given(_headers)
def test_properties_come_back(headers: dict[str, str | int]) -> None:
    """Pika reads from them what was put in."""
    encoded = message_properties(headers, persistent=False, tag="7")
    read = pika.BasicProperties()
    read.decode(encoded)
    assert (read.headers, read.message_id, read.delivery_mode) == (headers, "7", 1)


class _Handler:
    """Stands for pika's own handler: writes what fits, and takes its wish back when all did."""

    def __init__(self, loop: EagerLoop, fits: bool) -> None:
        self.loop, self.fits, self.writes = loop, fits, 0

    def __call__(self, fd: int, events: int) -> None:
        if events & EagerLoop.WRITE:
            self.writes += 1
            if self.fits:
                self.loop.update_handler(fd, EagerLoop.READ)


def _registered(fits: bool) -> tuple[int, list[int]]:
    """Writes done, and the registrations that reached the kernel, when pika wants to write."""
    import socket

    ours, theirs = socket.socketpair()
    loop = EagerLoop()
    seen: list[int] = []
    handler = _Handler(loop, fits)
    try:
        loop.activate_poller()
        loop.add_handler(ours.fileno(), handler, EagerLoop.READ)
        poller = loop._poller
        real = poller.update_handler

        def update(fd: int, events: int) -> None:
            seen.append(events)
            real(fd, events)

        poller.update_handler = update
        loop.update_handler(ours.fileno(), EagerLoop.READ | EagerLoop.WRITE)
        loop.remove_handler(ours.fileno())
        return handler.writes, seen
    finally:
        loop.deactivate_poller()
        loop.close()
        ours.close()
        theirs.close()


def test_a_write_that_fits_needs_no_registration() -> None:
    """What the socket takes at once is written without asking the kernel for an event."""
    assert _registered(fits=True) == (1, [])


def test_a_write_that_does_not_fit_is_waited_for() -> None:
    """What the socket does not take is registered, to be written when it can be."""
    assert _registered(fits=False) == (1, [EagerLoop.READ | EagerLoop.WRITE])
