"""Spools that a trial reads back damaged: named, counted, the sound records kept, never valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.outcome import Observed, Plan, _read
from runtime.clock import clock_id
from runtime.spans import HEADER, OK, PROCESS, RECORD, Spool
from scenarios.files import CATALOGUE, load_scenario

RECORDS = 10


def spooled(tmp_path: Path, clock: str = "") -> Path:
    """A real spool of ten records, as a worker writes it."""
    path = tmp_path / "action.spool"
    spool = Spool(str(path), step=2, clock=clock or clock_id())
    for number in range(1, RECORDS + 1):
        spool.write(spool.encode(PROCESS, OK, 0, 0, number, number, 0, 1, 2, 3, 4))
    spool.close()
    return path


def read(path: Path) -> tuple[Observed, int, set[str]]:
    """What a trial makes of a spool: itself, how many records it keeps, the clocks it saw."""
    scenario = load_scenario(Path(CATALOGUE) / "realtime.toml")
    plan = Plan(index=1, scenario=scenario, containers=None, messages=RECORDS, seed=1)
    seen, clocks = Observed(plan, "t", scenario.flow(), (), start_ns=1), set[str]()
    return seen, len(_read(seen, path, clocks)), clocks


def test_sound_spool(tmp_path: Path) -> None:
    """Nothing is blamed where nothing is wrong (a guard)."""
    seen, kept, clocks = read(spooled(tmp_path))
    assert (seen.status, seen.reasons, seen.damaged_records) == ("valid", [], 0)
    assert (kept, clocks) == (RECORDS, {clock_id()})


def cut(content: bytearray) -> bytearray:
    """The last record cut off in the middle."""
    return content[: -RECORD.size // 2]


def corrupt(content: bytearray) -> bytearray:
    """A bit flipped in the third record's first instant."""
    content[HEADER.size + 2 * RECORD.size + 40] ^= 4
    return content


def hole(content: bytearray) -> bytearray:
    """The fifth record taken out whole: no check of a record can tell."""
    start = HEADER.size + 4 * RECORD.size
    return content[:start] + content[start + RECORD.size :]


@pytest.mark.parametrize(
    ("harm", "kept", "damaged", "said"),
    [
        (cut, 9, 1, "the last record is cut off"),
        (corrupt, 9, 1, "1 of 10 records are damaged"),
        (hole, 9, 0, "the last record has number 10, but 9 are there"),
    ],
)
def test_damaged_spool(
    tmp_path: Path, harm: Callable[[bytearray], bytearray], kept: int, damaged: int, said: str
) -> None:
    """The trial is invalid, file and remedy are named, and all that is sound is kept."""
    path = spooled(tmp_path)
    path.write_bytes(harm(bytearray(path.read_bytes())))
    seen, found, _ = read(path)
    assert (seen.status, found, seen.damaged_records) == ("invalid", kept, damaged)
    (reason,) = seen.reasons
    assert reason.startswith("action.spool: ")
    assert said in reason
    assert reason.endswith("measure again")


@pytest.mark.parametrize("content", [b"", b"HOPSPOOL", bytes(HEADER.size)])
def test_no_spool_at_all(tmp_path: Path, content: bytes) -> None:
    """A file that is no spool fails the trial, and is named."""
    path = tmp_path / "action.spool"
    path.write_bytes(content)
    seen, kept, _ = read(path)
    assert (seen.status, kept) == ("failed", 0)
    assert str(path) in seen.reasons[0]


def test_another_clock_is_seen(tmp_path: Path) -> None:
    """The clock that a worker's spool names is among those that the trial has seen."""
    _, _, clocks = read(spooled(tmp_path, "another-boot time:[1]"))
    assert clocks == {"another-boot time:[1]"}
