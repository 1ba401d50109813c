"""What is read from packets: streams put together as TCP would, and the messages in them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.broker.rabbitmq_wire import message_properties, publish_method
from runtime.message import Ids, encode_headers
from tests.wire.packets import Segment, Stream, messages, put_together, read_capture

HELLO = b"AMQP\x00\x00\x09\x01"
WAY = (b"\x0a\x00\x00\x01", 40000, b"\x0a\x00\x00\x02", 5672)
BACK = (WAY[2], WAY[3], WAY[0], WAY[1])
FIRST = 1000


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """An AMQP 0-9-1 frame (4.2.3)."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def content(message: int, body: bytes, *, channel: int = 1) -> list[bytes]:
    """Header and body frames of a message."""
    headers = encode_headers(Ids(7, message, 0), {})
    properties = message_properties(headers, persistent=False, tag="1")
    pieces = [body[:5], body[5:]]
    return [
        frame(2, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties),
        *(frame(3, channel, piece) for piece in pieces if piece),
    ]


def published(message: int, body: bytes = b"a body", *, channel: int = 1) -> list[bytes]:
    """The frames of one publish."""
    return [publish_method(channel, "ex", "2.step"), *content(message, body, channel=channel)]


def cut(data: bytes, sizes: list[int], direction: tuple[bytes, int, bytes, int]) -> list[Segment]:
    """A connection's opening, then its data in segments of these sizes, 10 ns apart."""
    segments = [Segment(0, direction, FIRST, True, b"")]
    at = 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        if piece:
            at_ns = 10 * len(segments)
            segments.append(Segment(at_ns, direction, FIRST + at, False, piece))
            at += len(piece)
    return segments


def only(segments: list[Segment]) -> Stream:
    """The one stream that these segments make."""
    (stream,), midway = put_together(segments)
    assert midway == ()
    return stream


def test_a_message_over_several_packets() -> None:
    """A message has the instants of its first and its last packet, and says whose it is."""
    before, after = published(1), published(2, b"another one")
    data = HELLO + b"".join(before + after)
    start = len(HELLO) + len(b"".join(before))
    stream = only(cut(data, [start - 3, 30, 40], WAY))
    first, second = messages(stream)
    assert (first.message, first.first_ns, first.last_ns, first.packets) == (1, 10, 20, 2)
    assert (second.message, second.first_ns, second.last_ns, second.packets) == (2, 20, 40, 3)
    assert (second.method, second.exchange, second.key, second.trace) == (
        "publish", "ex", "2.step", 7,
    )  # fmt: skip


def test_messages_of_two_channels_may_alternate() -> None:
    """Frames of several channels of one connection are told apart."""
    one, two = published(1, channel=1), published(2, channel=2)
    woven = [part for pair in zip(one, two, strict=True) for part in pair]
    found = list(messages(only(cut(HELLO + b"".join(woven), [], WAY))))
    assert [sighting.message for sighting in found] == [1, 2]


@given(
    sizes=st.lists(st.integers(1, 60), min_size=3, max_size=12),
    seed=st.integers(0, 1000),
)
def test_order_and_repetition_of_segments_do_not_matter(sizes: list[int], seed: int) -> None:
    """Whatever the order of segments, doubled or overlapping, the messages are the same."""
    data = HELLO + b"".join(published(1) + published(2) + published(3))
    opening, *segments = cut(data, sizes, WAY)
    drawn = random.Random(seed)
    doubled = drawn.choice(segments)
    at = doubled.sequence - FIRST
    longer = data[max(0, at - 5) : at + len(doubled.data) + 5]
    segments.append(doubled._replace(sequence=FIRST + max(0, at - 5), data=longer))
    drawn.shuffle(segments)
    stream = only([opening, *segments])
    assert bytes(stream.data) == data
    assert [sighting.message for sighting in messages(stream)] == [1, 2, 3]


def test_sequence_numbers_wrap() -> None:
    """A stream that passes 2^32 goes on."""
    data = HELLO + b"".join(published(1))
    opening, *segments = cut(data, [20, 20], WAY)
    shift = (1 << 32) - FIRST - 25
    moved = [
        one._replace(sequence=(one.sequence + shift) % (1 << 32)) for one in [opening, *segments]
    ]
    assert bytes(only(moved).data) == data


def test_what_was_seen_first_counts() -> None:
    """A packet that is sent again changes no instant, and is counted."""
    opening, packet = cut(HELLO + b"".join(published(1)), [], WAY)
    stream = only([opening, packet, packet._replace(at_ns=500)])
    assert stream.retransmitted == 1
    assert [sighting.last_ns for sighting in messages(stream)] == [10]


def test_a_connection_from_before_is_named() -> None:
    """A direction whose opening was not captured is named, and nothing is made of it."""
    _, *segments = cut(HELLO + b"".join(published(1)), [40], BACK)
    assert put_together(segments) == ([], (BACK,))


def test_one_pair_of_ports_used_twice() -> None:
    """A new connection between the same two ports is another stream."""
    segments = cut(HELLO + b"".join(published(1)), [], WAY)
    again = [one._replace(sequence=one.sequence + 9999) for one in segments]
    streams, midway = put_together([*segments, *again])
    assert [len(list(messages(stream))) for stream in streams] == [1, 1]
    assert midway == ()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b""])
def test_what_is_no_amqp_holds_no_message(data: bytes) -> None:
    """Another protocol's connection gives nothing, and no error."""
    assert list(messages(only(cut(data, [], WAY)))) == []


def test_a_message_that_is_cut_off_is_none() -> None:
    """A message whose last frame is missing was not seen."""
    data = HELLO + b"".join(published(1) + published(2))
    assert [one.message for one in messages(only(cut(data[:-1], [], WAY)))] == [1]


def ethernet(payload: object, protocol: int) -> bytes:
    """An Ethernet packet with IP in it."""
    packet = dpkt.ip.IP(src=WAY[0], dst=WAY[2], p=protocol, data=payload)
    packet.len = len(packet)
    return bytes(dpkt.ethernet.Ethernet(data=packet))


def test_a_capture_file(tmp_path: Path) -> None:
    """Packets of a file with nanoseconds become messages and beacons, exact to the nanosecond."""
    data = HELLO + b"".join(published(5))
    tcp = [
        dpkt.tcp.TCP(sport=WAY[1], dport=WAY[3], seq=41, flags=dpkt.tcp.TH_SYN),
        dpkt.tcp.TCP(sport=WAY[1], dport=WAY[3], seq=42, flags=dpkt.tcp.TH_ACK, data=data),
    ]
    packets = [ethernet(one, dpkt.ip.IP_PROTO_TCP) for one in tcp]
    for text in (b"hopbench entry 3 17", b"another's"):
        datagram = dpkt.udp.UDP(sport=1, dport=2, data=text)
        datagram.ulen = len(datagram)
        packets.append(ethernet(datagram, dpkt.ip.IP_PROTO_UDP))
    seconds, last = 1_795_000_000, 987_654_321
    # The pcap format with nanoseconds: magic, version, two fields of no use, snap length, Ethernet.
    written = struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    for packet in packets:
        written += struct.pack("<IIII", seconds, last, len(packet), len(packet)) + packet
    file = tmp_path / "packets.pcap"
    file.write_bytes(written)
    traffic = read_capture(file)
    at_ns = seconds * 1_000_000_000 + last
    assert [(one.message, one.last_ns) for one in traffic.sightings] == [(5, at_ns)]
    assert [(b.at_ns, b.what, b.step, b.trace) for b in traffic.beacons] == [
        (at_ns, "entry", 3, 17)
    ]
