"""Joins the span records of one trial into executions: one row an execution, all in numpy.

The path of an execution is walked backwards from the first input that its last step finished:
each PROCESS names its input, the EMIT with that message names the input before. An execution
whose records do not make a whole path is counted in ``Integrity``, and has no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.integrity import Integrity, Joined, count
from reports.rundir import SpanTable
from runtime.spans import EMIT, FIRST, LATE, OK, PROCESS, SEND, UNSETTLED

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

NS_PER_MS = 1e6
NONE = -1


@dataclass(frozen=True, slots=True)
class Executions:
    """Whole executions of one trial, in the order of their intended sends.

    ``send[i]`` is instant ti of the SEND, ``inputs[k, i]`` of step k's PROCESS, ``outputs[k, i]``
    of the EMIT that became the input of step k + 1; nanoseconds. ``cell`` is the message cell's
    index, ``cold`` says that a process handled its first message in it. ``integrity`` counts what
    is odd in all of the trial, ``integrity_by_cell`` for each message cell that its messages name.
    """

    trace: npt.NDArray[np.uint64]
    cell: npt.NDArray[np.uint16]
    cold: npt.NDArray[np.bool_]
    send: Ints
    inputs: Ints
    outputs: Ints
    integrity: Integrity
    integrity_by_cell: Mapping[int, Integrity]

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
    share = _residual(spans, sends, inputs, outputs)
    ended_cell = spans.aux[sends].astype(np.int64)
    order = np.flatnonzero(whole)
    order = order[np.argsort(spans.t0_ns[sends[order]], kind="stable")]
    sends, inputs, outputs = sends[order], inputs[:, order], outputs[:, order]
    send, entered_at, left_at = (_instants(spans, rows) for rows in (sends, inputs, outputs))
    intervals, late = _intervals(send, entered_at, left_at)
    counted = count(
        spans, last,
        Joined(
            ended_cell=ended_cell, share=share, whole=whole, orphans=orphans,
            cell=ended_cell[order], intervals=intervals, reordered=ended_cell[order][late],
        ),
    )  # fmt: skip
    return Executions(
        trace=spans.trace[sends],
        cell=spans.aux[sends],
        cold=(spans.flags[inputs] & FIRST != 0).any(axis=0),
        send=send,
        inputs=entered_at,
        outputs=left_at,
        integrity=counted.whole,
        integrity_by_cell=counted.by_cell,
    )


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


def _residual(spans: SpanTable, sends: Rows, inputs: Rows, outputs: Rows) -> Floats:
    """Share of each execution's end-to-end time that its parts do not explain.

    Parts follow one another from the intended send to the end, so what is not explained is the time
    of spans that are missing, and the time that is counted twice where the records contradict each
    other: an input delivered before it was emitted or entered before it was delivered, an output
    emitted after its ``process`` had ended (unless it says so), an end before the entry, an ack or
    a confirm before what it settles. That a delivery is seen before its sender's write has returned
    is none of these: the sender may be set aside before it reads the clock.
    """
    last = inputs.shape[0] - 1
    whole_ns = spans.t2_ns[inputs[last]] - spans.t0_ns[sends]
    lag_ns = spans.t1_ns[sends] - spans.t0_ns[sends]
    parts_ns, twice_ns = lag_ns.copy(), np.maximum(-lag_ns, 0)
    for k in range(last + 1):
        left = sends if k == 0 else outputs[k - 1]
        parts_ns += _between(spans.t1_ns, inputs[k], spans.t1_ns, left)
        twice_ns += _before(spans.t0_ns, inputs[k], spans.t1_ns, left)
        twice_ns += _before(spans.t1_ns, inputs[k], spans.t0_ns, inputs[k])
        twice_ns += _before(spans.t2_ns, inputs[k], spans.t1_ns, inputs[k])
        twice_ns += _before(spans.t3_ns, inputs[k], spans.t2_ns, inputs[k])
        twice_ns += _before(spans.t3_ns, left, spans.t1_ns, left)
        if k < last:
            parts_ns += _between(spans.t1_ns, outputs[k], spans.t1_ns, inputs[k])
            twice_ns += _before(spans.t1_ns, outputs[k], spans.t1_ns, inputs[k])
            after_end_ns = _before(spans.t2_ns, inputs[k], spans.t1_ns, outputs[k])
            twice_ns += np.where(spans.flags[outputs[k]] & LATE != 0, 0, after_end_ns)
    parts_ns += _between(spans.t2_ns, inputs[last], spans.t1_ns, inputs[last])
    share: Floats = (np.abs(whole_ns - parts_ns) + twice_ns) / np.maximum(np.abs(whole_ns), 1)
    return share


def _between(end_ns: Ints, ends: Rows, start_ns: Ints, starts: Rows) -> Ints:
    """Time between two rows' instants where both are there, 0 where a span is missing."""
    known = (ends != NONE) & (starts != NONE)
    return np.where(known, end_ns[ends] - start_ns[starts], 0)


def _before(later_ns: Ints, laters: Rows, earlier_ns: Ints, earliers: Rows) -> Ints:
    """By how much the later instant comes first; 0 where it does not, or did not happen."""
    after_ns = np.where(later_ns[laters] == 0, 0, _between(later_ns, laters, earlier_ns, earliers))
    return np.maximum(-after_ns, 0)


def _intervals(send: Ints, inputs: Ints, outputs: Ints) -> tuple[Ints, Rows]:
    """Per execution its intervals that are negative, negative transits and zero; and disorder.

    The second value are the executions that a step took although one that was emitted to it later
    had come before, once for each such input.
    """
    found = np.zeros((3, send.shape[-1]), dtype=np.int64)
    negative, transit, zero = found
    late: list[Rows] = []
    for k, (emitted, handed) in enumerate((send[1:3], *outputs[:, 1:3])):
        delivered, entered, ended = inputs[k, 0], inputs[k, 1], inputs[k, 2]
        for end, start in (
            (handed, emitted), (delivered, handed), (entered, delivered), (ended, entered),
        ):  # fmt: skip
            negative += end < start
            zero += end == start
        transit += delivered < handed
        order = np.argsort(emitted, kind="stable")
        in_order = entered[order]
        late.append(order[1:][in_order[1:] < in_order[:-1]])
    negative += send[1] < send[0]
    return found, np.concatenate(late)
