"""The span codec and its spool."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import SpoolError
from runtime.spans import (
    EMIT,
    HEADER,
    OK,
    PROCESS,
    REBOUND,
    RECORD,
    SEND,
    Mark,
    Span,
    Spool,
    decode,
    encode,
)
from runtime.spool import SpoolTail, Tally, marks, read_spool

_u8 = st.integers(0, 0xFF)
_u16 = st.integers(0, 0xFFFF)
_u32 = st.integers(0, 0xFFFFFFFF)
_u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
_ns = st.integers(0, 2**62)
_spans = st.builds(Span, _u8, _u8, _u16, _u16, _u16, _u64, _u64, _u64, _ns, _ns, _ns, _ns, _u32)


def _spool(path: Path, records: int = 3) -> Path:
    spool = Spool(str(path), step=2, clock="boot time:[1]")
    for number in range(1, records + 1):
        spool.write(spool.encode(PROCESS, OK, 1, 0, number, 10 * number, 0, 1, 2, 3, 4))
    spool.close()
    return path


@given(_spans)
def test_codec_round_trip(span: Span) -> None:
    """Every span comes back from its bytes as it was."""
    assert decode(encode(span)) == span


@given(_spans, st.integers(0, RECORD.size - 5), st.integers(1, 255))
def test_a_flipped_byte_is_found(span: Span, position: int, flip: int) -> None:
    """One changed byte anywhere in a record makes it invalid."""
    damaged = bytearray(encode(span))
    damaged[position] ^= flip
    with pytest.raises(ValueError, match="damaged"):
        decode(bytes(damaged))


@given(st.lists(_spans, min_size=1, max_size=20))
def test_numpy_agrees_with_the_codec(spans: list[Span]) -> None:
    """The vectorised check and the worker's own accept the same records, field by field."""
    from runtime.spool import DTYPE, _sound

    records = np.frombuffer(b"".join(encode(span) for span in spans), dtype=DTYPE)
    assert _sound(records).all()
    assert [tuple(record)[:-1] for record in records.tolist()] == [tuple(span) for span in spans]


def test_read_back(tmp_path: Path) -> None:
    """A spool gives back its header and its records."""
    content = read_spool(_spool(tmp_path / "a.spool"))
    assert (content.step, content.clock_id, content.problems) == (2, "boot time:[1]", ())
    assert content.pid == os.getpid()
    assert content.records["trace"].tolist() == [1, 2, 3]
    assert content.records["step"].tolist() == [2, 2, 2]


def test_torn_record_is_left_out_and_named(tmp_path: Path) -> None:
    """A record that was cut off is reported; the ones before it are kept."""
    path = _spool(tmp_path / "a.spool")
    os.truncate(path, path.stat().st_size - 10)
    content = read_spool(path)
    assert content.records["trace"].tolist() == [1, 2]
    assert "cut off" in content.problems[0]


def test_damaged_record_is_left_out_and_named(tmp_path: Path) -> None:
    """A record whose check fails is reported; the others are kept."""
    path = _spool(tmp_path / "a.spool")
    data = bytearray(path.read_bytes())
    data[HEADER.size + RECORD.size + 20] ^= 0xFF
    path.write_bytes(data)
    content = read_spool(path)
    assert content.records["trace"].tolist() == [1, 3]
    assert "1 of 3 records are damaged" in content.problems[0]


def test_missing_last_records_are_noticed(tmp_path: Path) -> None:
    """A gap in the numbering is reported even where every record that is left is sound."""
    path = _spool(tmp_path / "a.spool")
    data = path.read_bytes()
    path.write_bytes(data[: HEADER.size] + data[HEADER.size + RECORD.size :])
    assert "has number 3, but 2 are there" in read_spool(path).problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "too short"), (b"x" * 500, "is not a spool")],
)
def test_not_a_spool(tmp_path: Path, content: bytes, message: str) -> None:
    """Something else is refused by what it is."""
    path = tmp_path / "a.spool"
    path.write_bytes(content)
    with pytest.raises(SpoolError, match=message):
        read_spool(path)


def test_missing_spool(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(SpoolError, match=r"none\.spool"):
        read_spool(tmp_path / "none.spool")


def test_newer_format_says_so(tmp_path: Path) -> None:
    """A spool of another format is refused with both numbers."""
    path = _spool(tmp_path / "a.spool")
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(SpoolError, match="format 9, this version reads 1"):
        read_spool(path)


def test_spool_is_never_overwritten(tmp_path: Path) -> None:
    """A second worker cannot take over a spool that exists."""
    path = _spool(tmp_path / "a.spool")
    with pytest.raises(FileExistsError):
        Spool(str(path), step=0, clock="")


def test_tail_gives_each_record_once(tmp_path: Path) -> None:
    """Following a spool gives what was added since, and nothing before the file is there."""
    path = tmp_path / "a.spool"
    tail = SpoolTail(path)
    assert len(tail.new_records()) == 0
    spool = Spool(str(path), step=0, clock="")
    spool.mark(Mark.CONSUMING, 77)
    assert marks(tail.new_records()) == {"consuming": 77}
    assert len(tail.new_records()) == 0
    half = spool.encode(SEND, OK, 0, 0, 1, 1, 0, 1)
    spool.write(half[:30])
    assert len(tail.new_records()) == 0
    spool.write(half[30:])
    assert tail.new_records()["kind"].tolist() == [SEND]
    spool.close()


def test_tally_knows_what_is_under_way(tmp_path: Path) -> None:
    """A message counts from its confirm until a step has finished it."""
    spool = Spool(str(tmp_path / "a.spool"), step=0, clock="")
    tail, tally = SpoolTail(tmp_path / "a.spool"), Tally()
    spool.write(spool.encode(SEND, OK, 0, 0, 1, 1, 0, 1))
    tally.add(tail.new_records())
    assert tally.under_way == 1
    spool.write(
        spool.encode(PROCESS, OK, 1, 0, 1, 1, 0, 1) + spool.encode(EMIT, OK, 0, 0, 1, 2, 1, 0)
    )
    tally.add(tail.new_records())
    assert (tally.under_way, tally.processed) == (1, 1)
    spool.write(spool.encode(PROCESS, OK, 0, 0, 1, 2, 1, 1))
    tally.add(tail.new_records())
    assert tally.under_way == 0
    spool.close()


def test_tally_counts_what_was_sent_back_as_under_way(tmp_path: Path) -> None:
    """A message that its step sends back is neither done nor failed: it comes again."""
    spool = Spool(str(tmp_path / "a.spool"), step=0, clock="")
    tail, tally = SpoolTail(tmp_path / "a.spool"), Tally()
    spool.write(spool.encode(SEND, OK, 0, 0, 1, 1, 0, 1))
    spool.write(spool.encode(PROCESS, REBOUND, 0, 0, 1, 1, 0, 1))
    tally.add(tail.new_records())
    assert (tally.under_way, tally.failed) == (1, 0)
    spool.write(spool.encode(PROCESS, OK, 0, 0, 1, 1, 0, 1))
    tally.add(tail.new_records())
    assert tally.under_way == 0
    spool.close()
