"""From captured packets to what they carried: AMQP messages, and the beacons of components.

TCP streams are put together from their segments (out of order, doubled, overlapping), and AMQP
0-9-1 frames are read by pika's own decoder, which shares no code with the frames that we write.
Packets are read by dpkt. All instants are those of the capture, in nanoseconds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import dpkt
import pika.frame
from pika import spec

_HELLO = b"AMQP\x00\x00\x09\x01"
_SEQUENCES = 1 << 32
_BEACON = re.compile(rb"hopbench (entry|emit) (\d+) (\d+)")
_WITH_CONTENT = (spec.Basic.Publish, spec.Basic.Deliver, spec.Basic.Return, spec.Basic.GetOk)

Direction = tuple[bytes, int, bytes, int]
"""Source address and port, destination address and port."""


class Segment(NamedTuple):
    """One TCP packet. ``sequence`` is that of its first octet of data."""

    at_ns: int
    direction: Direction
    sequence: int
    opens: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Sighting:
    """One AMQP message on the wire; ``first_ns`` and ``last_ns`` are its first and last packet.

    ``method`` is ``publish`` (to the broker), ``deliver`` (from it), ``return`` or ``getok``.
    """

    method: str
    exchange: str
    key: str
    trace: int
    message: int
    redelivered: bool
    first_ns: int
    last_ns: int
    packets: int


@dataclass(frozen=True, slots=True)
class Beacon:
    """A component's datagram: ``what`` is ``entry`` or ``emit``."""

    at_ns: int
    what: str
    step: int
    trace: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a capture held. ``midway`` are directions whose beginning was not captured."""

    sightings: tuple[Sighting, ...]
    beacons: tuple[Beacon, ...]
    retransmitted: int
    midway: tuple[Direction, ...]


@dataclass(slots=True)
class Stream:
    """The octets of one direction of one connection, and when each of them was seen first."""

    next_sequence: int
    data: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    waiting: list[Segment] = field(default_factory=list)
    retransmitted: int = 0

    def add(self, segment: Segment) -> None:
        """Take a segment in; one that is ahead waits for what is missing before it."""
        self.waiting.append(segment)
        self.waiting.sort(key=lambda one: _ahead(one.sequence, self.next_sequence))
        while self.waiting and _ahead(self.waiting[0].sequence, self.next_sequence) <= 0:
            first = self.waiting.pop(0)
            known = -_ahead(first.sequence, self.next_sequence)
            self.retransmitted += known > 0
            fresh = first.data[known:]
            if fresh:
                self.data += fresh
                self.ends.append(len(self.data))
                self.times_ns.append(first.at_ns)
                self.next_sequence = (self.next_sequence + len(fresh)) % _SEQUENCES

    def seen_ns(self, start: int, end: int) -> tuple[int, int, int]:
        """When the octets from ``start`` to ``end`` were seen: earliest, latest; in how many."""
        times = self.times_ns[bisect_right(self.ends, start) : bisect_right(self.ends, end - 1) + 1]
        return min(times), max(times), len(times)


def read_capture(file: Path) -> Traffic:
    """Read a capture file of Ethernet packets."""
    segments: list[Segment] = []
    beacons: list[Beacon] = []
    with file.open("rb") as opened:
        for at_ns, packet in _ip_packets(opened):
            if isinstance(packet.data, dpkt.tcp.TCP):
                segments.append(_segment(at_ns, packet, packet.data))
            elif isinstance(packet.data, dpkt.udp.UDP):
                matched = _BEACON.fullmatch(packet.data.data)
                if matched:
                    what, step, trace = matched.groups()
                    beacons.append(Beacon(at_ns, what.decode(), int(step), int(trace)))
    streams, midway = put_together(segments)
    sightings = [one for stream in streams for one in messages(stream)]
    sightings.sort(key=lambda one: one.last_ns)
    retransmitted = sum(stream.retransmitted for stream in streams)
    return Traffic(tuple(sightings), tuple(beacons), retransmitted, midway)


def put_together(segments: Iterable[Segment]) -> tuple[list[Stream], tuple[Direction, ...]]:
    """All streams that were seen from their first segment, and the directions that were not."""
    finished: list[Stream] = []
    current: dict[Direction, Stream] = {}
    midway: set[Direction] = set()
    for segment in segments:
        if segment.opens:
            known = current.get(segment.direction)
            if known is None or known.data or known.next_sequence != segment.sequence:
                current[segment.direction] = Stream(segment.sequence)
                finished.append(current[segment.direction])
        if segment.data:
            stream = current.get(segment.direction)
            if stream is None:
                midway.add(segment.direction)
            else:
                stream.add(segment)
    return finished, tuple(sorted(midway))


def messages(stream: Stream) -> Iterator[Sighting]:
    """The messages in one direction of an AMQP connection; nothing where it is no such thing."""
    data = bytes(stream.data)
    at = 0
    if data.startswith(_HELLO):
        at = len(_HELLO)
    elif not data.startswith(b"\x01\x00\x00"):
        return
    open_: dict[int, _Open] = {}
    while at < len(data):
        size, frame = pika.frame.decode_frame(data[at:])
        if frame is None:
            # The connection, or the capture, ended within a frame.
            return
        end = at + size
        channel = getattr(frame, "channel_number", 0)
        if isinstance(frame, pika.frame.Method) and isinstance(frame.method, _WITH_CONTENT):
            open_[channel] = _Open(frame.method, at)
        elif isinstance(frame, pika.frame.Header):
            open_[channel].header = frame
        elif isinstance(frame, pika.frame.Body):
            open_[channel].received += len(frame.fragment)
        content = open_.get(channel)
        if content is not None and content.complete():
            del open_[channel]
            yield _sighting(content, stream.seen_ns(content.start, end))
        at = end


@dataclass(slots=True)
class _Open:
    """A message of which some frames were read."""

    method: Any
    start: int
    header: Any = None
    received: int = 0

    def complete(self) -> bool:
        """Whether its header and all of its body are there."""
        return self.header is not None and self.received >= self.header.body_size


def _sighting(content: _Open, seen: tuple[int, int, int]) -> Sighting:
    headers = content.header.properties.headers or {}
    return Sighting(
        method=type(content.method).__name__.lower(),
        exchange=content.method.exchange,
        key=content.method.routing_key,
        trace=int(headers.get("threadId", "0"), 16),
        message=int(headers.get("messageId", "0"), 16),
        redelivered=bool(getattr(content.method, "redelivered", False)),
        first_ns=seen[0],
        last_ns=seen[1],
        packets=seen[2],
    )


def by_message(sightings: Iterable[Sighting], method: str) -> dict[int, list[Sighting]]:
    """Sightings of one method, by the message's id."""
    found: dict[int, list[Sighting]] = defaultdict(list)
    for one in sightings:
        if one.method == method:
            found[one.message].append(one)
    return dict(found)


def _ip_packets(opened: Any) -> Iterator[tuple[int, Any]]:
    reader = dpkt.pcap.Reader(opened)
    if reader.datalink() != dpkt.pcap.DLT_EN10MB:
        raise ValueError(f"packets of link type {reader.datalink()}, not of Ethernet")
    for seconds, raw in reader:
        packet = dpkt.ethernet.Ethernet(raw).data
        if isinstance(packet, dpkt.ip.IP):
            # A Decimal, exact to the nanosecond, since the capture was asked for these.
            yield int(seconds * 1_000_000_000), packet


def _segment(at_ns: int, packet: Any, tcp: Any) -> Segment:
    opens = bool(tcp.flags & dpkt.tcp.TH_SYN)
    # SYN takes a sequence number of its own (RFC 9293, 3.4).
    sequence = (tcp.seq + opens) % _SEQUENCES
    direction = (packet.src, tcp.sport, packet.dst, tcp.dport)
    return Segment(at_ns, direction, sequence, opens, bytes(tcp.data))


def _ahead(sequence: int, reference: int) -> int:
    """How far a sequence number is ahead of another, modulo 2^32 (RFC 9293, 3.4); may be < 0."""
    distance = (sequence - reference) % _SEQUENCES
    return distance - _SEQUENCES if distance >= _SEQUENCES // 2 else distance
