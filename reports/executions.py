"""Joins the span records of one trial into executions: one row an execution, all in numpy.

The path of an execution is walked backwards from the first input that its last step finished:
each PROCESS names its input, the EMIT with that message names the input before. An execution
whose records do not make a whole path is counted in ``Integrity``, and has no row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from reports.rundir import SpanTable
from runtime.spans import EMIT, ERROR, FIRST, OK, PROCESS, REFUSED, SEND, UNSETTLED

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

NS_PER_MS = 1e6
RESIDUAL_LIMIT = 0.01
"""Share of an execution's end-to-end time that its parts may leave unexplained."""
NONE = -1


@dataclass(frozen=True, slots=True)
class Integrity:
    """What is odd about the records of a trial; counted, never repaired.

    ``negative`` and ``zero`` count intervals over all parts of all hops. ``negative_transit`` are
    those among the negative that two processes measured: a sender may be set aside after its write
    and before it reads the clock. ``reordered`` counts inputs that a step took before one that was
    emitted earlier. ``lost`` are accepted messages that neither reached an end nor failed.
    """

    sent: int
    accepted: int
    handled: int
    failed: int
    lost: int
    duplicated: int
    reordered: int
    negative: int
    negative_transit: int
    zero: int
    residual_max_share: float
    residual_over_limit: int


@dataclass(frozen=True, slots=True)
class Executions:
    """Whole executions of one trial, in the order of their intended sends.

    ``send[i]`` is instant ti of the SEND, ``inputs[k, i]`` of step k's PROCESS, ``outputs[k, i]``
    of the EMIT that became the input of step k + 1; nanoseconds. ``cell`` is the message cell's
    index, ``cold`` says that a process handled its first message in it.
    """

    trace: npt.NDArray[np.uint64]
    cell: npt.NDArray[np.uint16]
    cold: npt.NDArray[np.bool_]
    send: Ints
    inputs: Ints
    outputs: Ints
    integrity: Integrity

    @property
    def count(self) -> int:
        """How many executions there are."""
        return int(self.trace.size)

    @property
    def step_count(self) -> int:
        """How many steps each of them went through."""
        return int(self.inputs.shape[0])


def join(spans: SpanTable, step_count: int) -> Executions:
    """Join the records of a trial whose flow has ``step_count`` steps."""
    last = step_count - 1
    sends, ends, orphans = _ends(spans, last)
    inputs = np.full((step_count, ends.size), NONE, dtype=np.intp)
    outputs = np.full((last, ends.size), NONE, dtype=np.intp)
    inputs[last] = ends
    for k in range(last, 0, -1):
        emits = np.flatnonzero((spans.kind == EMIT) & (spans.step == k - 1))
        outputs[k - 1] = _follow(spans, spans.message[inputs[k]], inputs[k], emits)
        causes = spans.parent[outputs[k - 1]]
        inputs[k - 1] = _follow(spans, causes, outputs[k - 1], _handled(spans, k - 1))
    entered = _follow(spans, spans.message[inputs[0]], inputs[0], sends)
    whole = (inputs != NONE).all(axis=0) & (outputs != NONE).all(axis=0) & (entered == sends)
    share, over = _residual(spans, sends, inputs, outputs)
    order = np.flatnonzero(whole)
    order = order[np.argsort(spans.t0_ns[sends[order]], kind="stable")]
    sends, inputs, outputs = sends[order], inputs[:, order], outputs[:, order]
    rows = Executions(
        trace=spans.trace[sends],
        cell=spans.aux[sends],
        cold=(spans.flags[inputs] & FIRST != 0).any(axis=0),
        send=_instants(spans, sends),
        inputs=_instants(spans, inputs),
        outputs=_instants(spans, outputs),
        integrity=_count(spans, last, share, orphans + max(over, int((~whole).sum()))),
    )
    return _with_intervals(rows)


def interval_ms(end_ns: Ints, start_ns: Ints | np.int64) -> Floats:
    """Milliseconds from start to end; negative where the end came first."""
    milliseconds: Floats = (end_ns - start_ns) / NS_PER_MS
    return milliseconds


def _handled(spans: SpanTable, step: int) -> Rows:
    """PROCESS records of a step that came to an end without an error."""
    done = (spans.outcome == OK) | (spans.outcome == UNSETTLED)
    return np.flatnonzero((spans.kind == PROCESS) & (spans.step == step) & done)


def _ends(spans: SpanTable, last: int) -> tuple[Rows, Rows, int]:
    """Rows of the SEND and of the first finished last PROCESS, of executions that have both.

    The third value counts executions that ended although no SEND of theirs was recorded.
    """
    sends = _first_each(spans.trace, np.flatnonzero(spans.kind == SEND), spans.t1_ns)
    ends = _first_each(spans.trace, _handled(spans, last), spans.t2_ns)
    found = _lookup(spans.trace[sends], sends, spans.trace[ends])
    known = found != NONE
    return found[known], ends[known], int((~known).sum())


def _first_each(key: npt.NDArray[np.uint64], rows: Rows, when_ns: Ints) -> Rows:
    """One row for each value of ``key``: the earliest. Sorted by the key."""
    keys = key[rows]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        order = np.lexsort((when_ns[rows], key[rows]))
        keys = key[rows][order]
    is_first = np.ones(keys.size, dtype=bool)
    is_first[1:] = keys[1:] != keys[:-1]
    return rows[order[is_first]]


def _lookup(
    sorted_keys: npt.NDArray[np.uint64], rows: Rows, wanted: npt.NDArray[np.uint64]
) -> Rows:
    """The row of each wanted key, NONE where there is none; keys must be sorted and unique."""
    if not sorted_keys.size:
        return np.full(wanted.size, NONE, dtype=np.intp)
    at = np.minimum(np.searchsorted(sorted_keys, wanted), sorted_keys.size - 1)
    return np.where(sorted_keys[at] == wanted, rows[at], NONE)


def _follow(spans: SpanTable, wanted: npt.NDArray[np.uint64], at: Rows, among: Rows) -> Rows:
    """For each row in ``at``: the row in ``among`` that carries the message it wants.

    Of a message that was handled twice, its first handling is taken.
    """
    among = _first_each(spans.message, among, spans.t1_ns)
    return np.where(at == NONE, NONE, _lookup(spans.message[among], among, wanted))


def _instants(spans: SpanTable, rows: Rows) -> Ints:
    """The four instants of each row, as the last axis but one."""
    return np.stack([t[rows] for t in (spans.t0_ns, spans.t1_ns, spans.t2_ns, spans.t3_ns)], -2)


def _residual(spans: SpanTable, sends: Rows, inputs: Rows, outputs: Rows) -> tuple[float, int]:
    """Largest share of an execution that no part explains, and how many are over the limit."""
    if not sends.size:
        return 0.0, 0
    last = inputs.shape[0] - 1
    whole_ns = spans.t2_ns[inputs[last]] - spans.t0_ns[sends]
    parts_ns = spans.t1_ns[sends] - spans.t0_ns[sends]
    parts_ns += _between(spans.t1_ns, inputs[0], spans.t1_ns, sends)
    for k in range(last):
        parts_ns += _between(spans.t1_ns, outputs[k], spans.t1_ns, inputs[k])
        parts_ns += _between(spans.t1_ns, inputs[k + 1], spans.t1_ns, outputs[k])
    parts_ns += _between(spans.t2_ns, inputs[last], spans.t1_ns, inputs[last])
    share = np.abs(whole_ns - parts_ns) / np.maximum(np.abs(whole_ns), 1)
    return float(share.max()), int((share > RESIDUAL_LIMIT).sum())


def _between(end_ns: Ints, ends: Rows, start_ns: Ints, starts: Rows) -> Ints:
    """Time between two rows' instants where both are there, 0 where a span is missing."""
    known = (ends != NONE) & (starts != NONE)
    return np.where(known, end_ns[ends] - start_ns[starts], 0)


def _count(spans: SpanTable, last: int, share: float, over: int) -> Integrity:
    """Account for every message that was sent."""
    sends = spans.kind == SEND
    settled = (spans.outcome == OK) | (spans.outcome == UNSETTLED)
    accepted = np.unique(spans.trace[sends & settled])
    refused = sends & (spans.outcome == REFUSED)
    handling = spans.kind == PROCESS
    gone = (handling & (spans.outcome == ERROR)) | (
        (spans.kind == EMIT) & ((spans.outcome == ERROR) | (spans.outcome == REFUSED))
    )
    erred = np.unique(spans.trace[gone])
    ended = handling & settled
    # A step that emits nothing ends an execution in good order.
    ended &= (spans.step == last) | (spans.aux == 0)
    handled = np.unique(spans.trace[ended])
    failed = np.setdiff1d(erred, handled, assume_unique=True)
    lost = np.setdiff1d(np.setdiff1d(accepted, handled, assume_unique=True), failed)
    messages = np.sort(spans.message[handling & (spans.outcome != ERROR)])
    return Integrity(
        sent=int(sends.sum()), accepted=int(sends.sum() - refused.sum()),
        handled=int(handled.size), failed=int(failed.size), lost=int(lost.size),
        duplicated=int((messages[1:] == messages[:-1]).sum()),
        reordered=0, negative=0, negative_transit=0, zero=0,
        residual_max_share=share, residual_over_limit=over,
    )  # fmt: skip


def _with_intervals(rows: Executions) -> Executions:
    """Count what is negative, zero or out of order among the intervals of every hop."""
    negative = transit = zero = reordered = 0
    sources = [rows.send[1:3], *(rows.outputs[k, 1:3] for k in range(rows.step_count - 1))]
    for k, (emitted, handed) in enumerate(sources):
        delivered, entered, ended = rows.inputs[k, 0], rows.inputs[k, 1], rows.inputs[k, 2]
        for end, start in (
            (handed, emitted), (delivered, handed), (entered, delivered), (ended, entered),
        ):  # fmt: skip
            negative += int((end < start).sum())
            zero += int((end == start).sum())
        transit += int((delivered < handed).sum())
        in_order = entered[np.argsort(emitted, kind="stable")]
        reordered += int((in_order[1:] < in_order[:-1]).sum())
    late = rows.send[1] < rows.send[0]
    integrity = replace(
        rows.integrity,
        negative=negative + int(late.sum()),
        negative_transit=transit,
        zero=zero,
        reordered=reordered,
    )
    return replace(rows, integrity=integrity)
