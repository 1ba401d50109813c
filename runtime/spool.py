"""Reads spools: all of one at once, or what was added since the last look.

The only reader of the format in ``runtime/spans.py``; numpy makes a million records milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import SpoolError
from runtime.spans import (
    EMIT,
    FORMAT,
    HEADER,
    MAGIC,
    MARK,
    OK,
    PROCESS,
    REBOUND,
    RECORD,
    SEND,
    Mark,
)

DTYPE = np.dtype(
    [
        ("kind", "u1"), ("outcome", "u1"), ("step", "<u2"), ("aux", "<u2"), ("flags", "<u2"),
        ("trace", "<u8"), ("message", "<u8"), ("parent", "<u8"),
        ("t0_ns", "<i8"), ("t1_ns", "<i8"), ("t2_ns", "<i8"), ("t3_ns", "<i8"),
        ("sequence", "<u4"), ("check", "<u4"),
    ]
)  # fmt: skip
assert DTYPE.itemsize == RECORD.size

Records = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class SpoolContent:
    """What a spool holds. ``problems`` says what was damaged; the records are the sound ones.

    ``damaged`` counts the records that are not: cut off, or with a check that fails.
    """

    step: int
    pid: int
    clock_id: str
    records: Records
    problems: tuple[str, ...]
    damaged: int


def read_spool(path: Path) -> SpoolContent:
    """Read a whole spool, keeping what is sound.

    A torn last record (the process was killed while it wrote) and records whose check fails are
    left out and named. Raises SpoolError when the file is missing, or is no spool of this format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpoolError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy="Did the worker start? Its log says",
        ) from error
    step, pid, clock = _header(data, path)
    body = memoryview(data)[HEADER.size :]
    whole, torn = divmod(len(body), RECORD.size)
    records = np.frombuffer(body[: whole * RECORD.size], dtype=DTYPE)
    problems = []
    if torn:
        problems.append(f"{path.name}: the last record is cut off after {torn} bytes")
    sound = _sound(records)
    damaged = int((~sound).sum())
    if damaged:
        problems.append(f"{path.name}: {damaged} of {len(records)} records are damaged")
        records = records[sound]
    if len(records) and int(records["sequence"].max()) != whole:
        problems.append(
            f"{path.name}: the last record has number {int(records['sequence'].max())}, "
            f"but {whole} are there"
        )
    return SpoolContent(step, pid, clock, records, tuple(problems), damaged + bool(torn))


class SpoolTail:
    """Follows a spool that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = HEADER.size

    def new_records(self) -> Records:
        """Records added since the last call; empty while the file is not there yet."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            data = b""
        whole = len(data) // RECORD.size
        self._offset += whole * RECORD.size
        return np.frombuffer(data[: whole * RECORD.size], dtype=DTYPE)


def marks(records: Records) -> dict[str, int]:
    """Phase name -> instant (ns) of a worker's MARK records."""
    found = records[records["kind"] == MARK]
    named: dict[str, int] = {}
    for record in found:
        code = int(record["message"])
        name = Mark.NAMES[code] if code < len(Mark.NAMES) else None
        if name is not None:
            named[name] = int(record["t0_ns"])
    return named


@dataclass(slots=True)
class Tally:
    """Counts messages over all spools of a flow, to know when nothing is under way any more."""

    accepted: int = 0
    refused: int = 0
    processed: int = 0
    failed: int = 0
    emitted: int = 0

    def add(self, records: Records) -> None:
        """Count what these records say."""
        kind, outcome = records["kind"], records["outcome"]
        sends = kind == SEND
        self.accepted += int((sends & (outcome == OK)).sum())
        self.refused += int((sends & (outcome != OK)).sum())
        # What a step sent back is under way as before.
        handled = (kind == PROCESS) & (outcome != REBOUND)
        self.processed += int(handled.sum())
        self.failed += int((handled & (outcome != OK)).sum())
        self.emitted += int(((kind == EMIT) & (outcome == OK)).sum())

    @property
    def under_way(self) -> int:
        """Messages that the broker took and that no step has finished yet."""
        return self.accepted + self.emitted - self.processed


def _header(data: bytes, path: Path) -> tuple[int, int, str]:
    if len(data) < HEADER.size:
        raise SpoolError("is too short to be a spool", where=str(path))
    magic, version, header_size, record_size, step, pid, clock = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise SpoolError("is not a spool", where=str(path))
    if (version, header_size, record_size) != (FORMAT, HEADER.size, RECORD.size):
        raise SpoolError(
            f"has spool format {version}, this version reads {FORMAT}",
            where=str(path),
            remedy="Run worker images and bench from one checkout (nox -s images)",
        )
    return step, pid, clock.rstrip(b"\0").decode("utf-8", "replace")


def _sound(records: Records) -> NDArray[np.bool_]:
    # The vectorised twin of runtime.spans.checksum; a test holds the two together.
    word = (
        records["kind"].astype(np.uint64)
        | records["outcome"].astype(np.uint64) << np.uint64(8)
        | records["step"].astype(np.uint64) << np.uint64(16)
        | records["aux"].astype(np.uint64) << np.uint64(32)
        | records["flags"].astype(np.uint64) << np.uint64(48)
    )
    word ^= np.uint64(0x9E3779B97F4A7C15)
    for name in ("trace", "message", "parent"):
        word ^= records[name]
    for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
        word ^= records[name].astype(np.uint64)
    folded = (word ^ word >> np.uint64(32) ^ records["sequence"].astype(np.uint64)) & np.uint64(
        0xFFFFFFFF
    )
    sound: NDArray[np.bool_] = folded == records["check"].astype(np.uint64)
    return sound
