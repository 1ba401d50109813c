"""What is odd about the records of a trial: lost, duplicated, reordered, negative, unexplained.

Everything is counted, for the trial and for each message cell of it; nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from reports.rundir import SpanTable
from runtime.spans import EMIT, ERROR, OK, PROCESS, REFUSED, SEND, UNSETTLED

RESIDUAL_LIMIT = 0.01
"""Share of an execution's end-to-end time that its parts may leave unexplained."""
RESIDUAL_ALLOWED = 0.001
"""Share of a trial's executions that may be over that limit; beyond it the trial is invalid."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Traces = npt.NDArray[np.uint64]
Cells = npt.NDArray[np.int64]

UNKNOWN = -1
"""Stands for the message cell of a record whose SEND is missing."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """Counts over the records of a trial, or of one message cell of it.

    ``negative`` and ``zero`` count intervals over all parts of all hops. ``negative_transit`` are
    those among the negative that two processes measured: a sender may be set aside after its write
    and before it reads the clock. ``reordered`` counts inputs that a step took before one that was
    emitted earlier. ``lost`` are accepted messages that neither reached an end nor failed.
    ``ended`` executions came to the last step; ``incomplete`` are those of them whose records make
    no whole path. ``residual_over_limit`` of them are not explained by their parts.
    """

    sent: int = 0
    accepted: int = 0
    handled: int = 0
    failed: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    negative: int = 0
    negative_transit: int = 0
    zero: int = 0
    ended: int = 0
    incomplete: int = 0
    residual_over_limit: int = 0
    residual_max_share: float = 0.0

    @property
    def residual_share_over_limit(self) -> float:
        """Share of the ended executions whose residual is over its limit."""
        return self.residual_over_limit / self.ended if self.ended else 0.0

    @property
    def conserved(self) -> bool:
        """Whether few enough executions have a residual over the limit."""
        return self.residual_share_over_limit <= RESIDUAL_ALLOWED


def total(parts: list[Integrity]) -> Integrity:
    """The counts of several trials together."""
    names = [field.name for field in fields(Integrity) if field.name != "residual_max_share"]
    summed = {name: sum(getattr(part, name) for part in parts) for name in names}
    largest = max((part.residual_max_share for part in parts), default=0.0)
    return Integrity(**summed, residual_max_share=largest)


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of a trial, and those of each message cell that its messages name."""

    whole: Integrity
    by_cell: Mapping[int, Integrity]


@dataclass(frozen=True, slots=True)
class Joined:
    """What joining the records has shown: arrays with one value an ended execution.

    ``share`` is its residual, ``whole`` says that its records make a whole path; ``orphans`` counts
    executions that ended although no SEND of theirs was recorded. ``intervals`` has, for each
    execution with a whole path (``cell`` is theirs), how many of its intervals are negative,
    negative transits, and zero, in that order; ``reordered`` the cells of inputs out of order.
    """

    ended_cell: Cells
    share: Floats
    whole: npt.NDArray[np.bool_]
    orphans: int
    cell: Cells
    intervals: Ints
    reordered: Cells


def count(spans: SpanTable, last: int, joined: Joined) -> Counted:
    """Account for every message that was sent, in all and by message cell."""
    sends = np.flatnonzero(spans.kind == SEND)
    refused = sends[spans.outcome[sends] == REFUSED]
    traces = _fates(spans, last)
    over = (joined.share > RESIDUAL_LIMIT) | ~joined.whole
    whole = Integrity(
        sent=sends.size, accepted=sends.size - refused.size,
        **{name: int(found.size) for name, found in traces.items()},
        reordered=int(joined.reordered.size),
        **dict(zip(_INTERVALS, joined.intervals.sum(axis=1).tolist(), strict=True)),
        ended=int(joined.share.size) + joined.orphans,
        incomplete=int((~joined.whole).sum()) + joined.orphans,
        residual_over_limit=int(over.sum()) + joined.orphans,
        residual_max_share=float(joined.share.max(initial=0.0)),
    )  # fmt: skip
    aux = spans.aux[sends].astype(np.int64)
    cells = np.unique(aux)
    if cells.size <= 1:
        return Counted(whole, {int(cell): whole for cell in cells})
    order = np.argsort(spans.trace[sends], kind="stable")
    keys, values = spans.trace[sends][order], aux[order]
    placed = {name: _cell_of(found, keys, values) for name, found in traces.items()}
    by_cell = {}
    for cell in cells:
        rows = joined.cell == cell
        ended = joined.ended_cell == cell
        by_cell[int(cell)] = Integrity(
            sent=int((aux == cell).sum()),
            accepted=int((aux == cell).sum() - (spans.aux[refused] == cell).sum()),
            **{name: int((found == cell).sum()) for name, found in placed.items()},
            reordered=int((joined.reordered == cell).sum()),
            **dict(zip(_INTERVALS, joined.intervals[:, rows].sum(axis=1).tolist(), strict=True)),
            ended=int(ended.sum()),
            incomplete=int((~joined.whole[ended]).sum()),
            residual_over_limit=int(over[ended].sum()),
            residual_max_share=float(joined.share[ended].max(initial=0.0)),
        )  # fmt: skip
    return Counted(whole, by_cell)


_INTERVALS = ("negative", "negative_transit", "zero")


def _distinct(traces: Traces) -> Traces:
    """The different ones, in order: with numpy's own unique, hashing, fifteen times slower."""
    ordered: Traces = np.sort(traces)
    different: Traces = ordered[np.append(True, ordered[1:] != ordered[:-1])[: ordered.size]]
    return different


def _fates(spans: SpanTable, last: int) -> dict[str, Traces]:
    """The executions that were handled, failed or lost, and those of each duplicate."""
    settled = (spans.outcome == OK) | (spans.outcome == UNSETTLED)
    handling = spans.kind == PROCESS
    accepted = _distinct(spans.trace[(spans.kind == SEND) & settled])
    gone = (handling & (spans.outcome == ERROR)) | (
        (spans.kind == EMIT) & ((spans.outcome == ERROR) | (spans.outcome == REFUSED))
    )
    erred = _distinct(spans.trace[gone])
    # A step that emits nothing ends an execution in good order.
    ended = handling & settled & ((spans.step == last) | (spans.aux == 0))
    handled = _distinct(spans.trace[ended])
    failed = np.setdiff1d(erred, handled, assume_unique=True)
    lost = np.setdiff1d(accepted, handled, assume_unique=True)
    lost = np.setdiff1d(lost, failed, assume_unique=True)
    return {
        "handled": handled, "failed": failed, "lost": lost,
        "duplicated": _duplicates(spans, np.flatnonzero(handling & settled)),
    }  # fmt: skip


def _duplicates(spans: SpanTable, inputs: npt.NDArray[np.intp]) -> Traces:
    """The execution of every handling of a message but its first."""
    messages = np.sort(spans.message[inputs])
    again = messages[1:][messages[1:] == messages[:-1]]
    if not again.size:
        return np.empty(0, dtype=np.uint64)
    order = np.argsort(spans.message[inputs], kind="stable")
    keys = spans.message[inputs][order]
    repeated = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    found: Traces = spans.trace[inputs][order][repeated]
    return found


def _cell_of(traces: Traces, keys: Traces, values: Cells) -> Cells:
    """The message cell of each execution, UNKNOWN without a SEND; ``keys`` are sorted."""
    at = np.minimum(np.searchsorted(keys, traces), keys.size - 1)
    found: Cells = np.where(keys[at] == traces, values[at], UNKNOWN)
    return found


def with_stored(found: Integrity, *, lost: int, duplicated: int) -> Integrity:
    """The counts where the bench itself had counted more of the lost or the duplicated."""
    return replace(found, lost=max(found.lost, lost), duplicated=max(found.duplicated, duplicated))
