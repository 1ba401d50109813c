"""The span record, its codec, and the spool that a worker appends to.

A spool is a file: one header, then records of one fixed size. Every record goes to the kernel in
one ``write`` as soon as it is complete, so it survives the worker's SIGKILL. Spans never travel
over the broker. This module is loaded by every worker: it may import nothing but the cheapest
parts of the standard library.

======== ======================= =============================================================
kind     written by              instants (t0, t1, t2, t3)
======== ======================= =============================================================
SEND     the load generator      intended send, actual send, handed to the socket, confirmed
EMIT     a step, per output      0, emit, handed to the socket, confirmed
PROCESS  a step, per input       delivered, process entry, process end, acknowledged
MARK     a step, per phase       instant, 0, 0, 0 (``message`` is the phase, see :class:`Mark`)
======== ======================= =============================================================

The STOPPING mark carries, in t1 and t2, the process's peak memory in bytes and its CPU
nanoseconds. An instant that did not happen is 0. ``aux`` is the message cell's index in a SEND, the
number of outputs in a PROCESS. ``trace`` is the execution's number (1, 2, ...), ``message`` the
message's own id, ``parent`` the id of the message that caused it (0 for a SEND).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

MAGIC = b"HOPSPOOL"
FORMAT = 1
HEADER = struct.Struct("<8sHHHHI108s")
"""magic, format, header bytes, record bytes, step index, process id, clock id (NUL padded)."""
RECORD = struct.Struct("<BBHHHQQQqqqqII")
"""kind, outcome, step, aux, flags, trace, message, parent, t0..t3, sequence, check."""
LOAD_STEP = 0xFFFF
"""The step index of the load generator, which stands before step 0."""

SEND, EMIT, PROCESS, MARK = 1, 2, 3, 4
OK, ERROR, REFUSED, UNSETTLED, REBOUND = 0, 1, 2, 3, 4
"""Outcomes. UNSETTLED: the process ended before the broker had confirmed or could be acked.
REBOUND, of a PROCESS: the step sent its input back to its own queue; it comes again, later."""
FIRST, REDELIVERED, LATE = 1, 2, 4
"""Flags. FIRST: the first message that this process handled (or sent). LATE, of an EMIT: it was
made when ``process`` had returned, by a listener's thread say; its parent is the message that
``process`` was last called with."""

_SEED = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


class Mark:
    """Phases of a worker's start, as ``message`` of a MARK record."""

    FIRST_INSTRUCTION = 1
    IMPORTED = 2
    CONNECTED = 3
    CONSUMING = 4
    STOPPING = 5
    NAMES = (None, "first_instruction", "imported", "connected", "consuming", "stopping")
    """Names by code; code 0 is not used."""


class Span(NamedTuple):
    """One record. Instants are nanoseconds of the spool's clock; see the module's table."""

    kind: int
    outcome: int
    step: int
    aux: int
    flags: int
    trace: int
    message: int
    parent: int
    t0_ns: int
    t1_ns: int
    t2_ns: int
    t3_ns: int
    sequence: int


def checksum(span: Span) -> int:
    """32-bit check of a record: its 64-bit words, exclusive-ored with a seed, folded.

    Chosen because numpy can verify a million of them in milliseconds. It finds torn, zeroed and
    flipped records; it is no defence against intent.
    """
    word = span.kind | span.outcome << 8 | span.step << 16 | span.aux << 32 | span.flags << 48
    word ^= _SEED ^ span.trace ^ span.message ^ span.parent
    word ^= (span.t0_ns ^ span.t1_ns ^ span.t2_ns ^ span.t3_ns) & _MASK
    return (word ^ word >> 32 ^ span.sequence) & 0xFFFFFFFF


def encode(span: Span) -> bytes:
    """Pack a span into ``RECORD.size`` bytes, check included."""
    return RECORD.pack(*span, checksum(span))


def decode(record: bytes) -> Span:
    """Unpack one record. Raises ValueError when its check does not match."""
    *fields, check = RECORD.unpack(record)
    span = Span(*fields)
    if checksum(span) != check:
        raise ValueError(f"span record {span.sequence} is damaged")
    return span


class Spool:
    """An append-only file of spans, written by one thread of one process."""

    def __init__(self, path: str, *, step: int, clock: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._step = step
        self._sequence = 0
        header = HEADER.pack(
            MAGIC, FORMAT, HEADER.size, RECORD.size, step, os.getpid(), clock.encode()[:108]
        )
        os.write(self._fd, header)

    def encode(
        self,
        kind: int,
        outcome: int,
        aux: int,
        flags: int,
        trace: int,
        message: int,
        parent: int,
        t0_ns: int,
        t1_ns: int = 0,
        t2_ns: int = 0,
        t3_ns: int = 0,
    ) -> bytes:
        """Number and pack one record of this spool, without writing it."""
        self._sequence += 1
        return encode(
            Span(
                kind, outcome, self._step, aux, flags, trace, message, parent,
                t0_ns, t1_ns, t2_ns, t3_ns, self._sequence & 0xFFFFFFFF,
            )
        )  # fmt: skip

    def write(self, records: bytes) -> None:
        """Hand whole records to the kernel. Raises OSError, e.g. when the disk is full."""
        written = os.write(self._fd, records)
        if written != len(records):
            # A short write on a regular file means that the disk is full; the next one says so.
            os.write(self._fd, records[written:])

    def mark(self, phase: int, instant_ns: int) -> None:
        """Record that the worker reached a phase of its start."""
        self.write(self.encode(MARK, OK, 0, 0, 0, phase, 0, instant_ns))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
