"""What became of every message of a trial, from the trial's spans."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.spans import EMIT, ERROR, OK, PROCESS, REFUSED, SEND
from runtime.spool import Records


@dataclass(frozen=True, slots=True)
class Accounting:
    """Messages that were sent, and where each ended. ``accepted`` = handled + failed + lost.

    ``ended_early``: handled ones whose execution ended before the last step, since a component
    emitted nothing. ``duplicated``: messages that one step handled more than once.
    """

    sent: int
    accepted: int
    refused: int
    handled: int
    ended_early: int
    failed: int
    lost: int
    duplicated: int

    def as_json(self) -> dict[str, int]:
        """For trial.json."""
        return asdict(self)


def leaves(records: Records, steps: int) -> NDArray[np.bool_]:
    """Which records are of messages that leave the flow: what the last step has emitted."""
    found: NDArray[np.bool_] = (records["kind"] == EMIT) & (records["step"] == steps - 1)
    return found


def account(records: Records, steps: int) -> Accounting:
    """Follow every execution to its end.

    An execution is failed when any of its messages failed, handled when every one of its messages
    was handled, and lost otherwise: a message of it was accepted by the broker, and no step has
    said what became of it.
    """
    records = records[~leaves(records, steps)]
    kind, outcome = records["kind"], records["outcome"]
    sends = kind == SEND
    accepted = np.unique(records["trace"][sends & (outcome == OK)])
    processed = kind == PROCESS
    failed = np.unique(
        records["trace"][(processed & (outcome == ERROR)) | ((kind == EMIT) & (outcome == REFUSED))]
    )
    failed = np.intersect1d(failed, accepted, assume_unique=True)
    # A message that exists: accepted from the generator, or emitted and confirmed.
    existing = records["message"][(sends | (kind == EMIT)) & (outcome == OK)]
    owner = records["trace"][(sends | (kind == EMIT)) & (outcome == OK)]
    done = processed & (outcome == OK)
    unfinished = np.unique(owner[~np.isin(existing, records["message"][done])])
    lost = np.setdiff1d(np.intersect1d(unfinished, accepted), failed)
    handled = np.setdiff1d(np.setdiff1d(accepted, failed), lost)
    reached = np.unique(records["trace"][done & (records["step"] == steps - 1)])
    keys = records["step"][done].astype(np.uint64) << np.uint64(48)
    keys = keys ^ records["message"][done]
    return Accounting(
        sent=int(sends.sum()),
        accepted=len(accepted),
        refused=int((sends & (outcome != OK)).sum()),
        handled=len(handled),
        ended_early=len(np.setdiff1d(handled, reached)),
        failed=len(failed),
        lost=len(lost),
        duplicated=len(keys) - len(np.unique(keys)),
    )
