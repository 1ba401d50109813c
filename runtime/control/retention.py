"""Removes what ended containers wrote, so that a flow that is up for months fills no disk.

What statistics need of it stays: how often a step has sent a message back since the flow's start.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

from runtime.errors import StoreError
from runtime.spans import PROCESS, REBOUND
from runtime.spool import SpoolTail

SPOOL = "spans.spool"
_TALLY = "removed.json"
"""Of a start's folder: ``last``, whose folder was removed last, and what all removed had sent back.
"""


def forget(container: Path) -> None:
    """Remove the folder of a container that has ended; what it sent back stays counted.

    Raises StoreError for a folder that cannot be removed.
    """
    start = container.parent
    _, counts = _tally(start)
    counts.update(_sent_back(container / SPOOL))
    new = start / f"{_TALLY}.new"
    try:
        new.write_text(json.dumps({"last": container.name, "rebounds": counts}), encoding="utf-8")
        new.rename(start / _TALLY)
        shutil.rmtree(container)
    except OSError as error:
        raise _not_removed(container, error) from error


def forget_starts(flow: Path, keep: int) -> None:
    """Remove the folders of a flow's starts but for the last ``keep``.

    Raises StoreError for one that cannot be removed.
    """
    for start in starts(flow)[: -keep or None]:
        try:
            shutil.rmtree(start)
        except OSError as error:
            raise _not_removed(start, error) from error


def starts(flow: Path) -> list[Path]:
    """The folders of a flow's starts, the oldest first; none for a flow that never started."""
    found = [one for one in flow.iterdir() if one.is_dir()] if flow.is_dir() else []
    # Starts are named by when their platform began, and counted in it.
    return sorted(found, key=lambda one: _order(one.name))


def rebounds(start: Path) -> dict[int, int]:
    """Place of a step -> how many messages its containers sent back since this start.

    Containers may end and be removed meanwhile: each is counted once.
    """
    while True:
        last, counts = _tally(start)
        for path in start.glob(f"*/{SPOOL}"):
            if path.parent.name != last:
                counts = counts + _sent_back(path)
        if _tally(start)[0] == last:
            return {int(step): count for step, count in counts.items()}


def _sent_back(spool: Path) -> Counter[str]:
    records = SpoolTail(spool).new_records()
    sent_back = records[(records["kind"] == PROCESS) & (records["outcome"] == REBOUND)]
    return Counter(str(step) for step in sent_back["step"].tolist())


def _tally(start: Path) -> tuple[str | None, Counter[str]]:
    try:
        found = json.loads((start / _TALLY).read_bytes())
    except FileNotFoundError:
        return None, Counter()
    return found["last"], Counter(found["rebounds"])


def _order(name: str) -> tuple[str, int]:
    made, _, number = name.partition("-")
    return made, int(number) if number.isdecimal() else 0


def _not_removed(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"what an ended container wrote cannot be removed: {error.strerror or error}",
        where=str(folder),
        remedy="See whether the platform's user owns it, and remove it",
    )
