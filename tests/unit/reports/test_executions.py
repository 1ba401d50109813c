"""Joining span records into executions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reports import measures
from reports.executions import Executions, join
from reports.rundir import SPAN_COLUMNS, SpanTable
from runtime.spans import EMIT, ERROR, OK, PROCESS, REDELIVERED, REFUSED
from tests.fakes import tiny
from tests.fakes.rundir import MS, Json, rows


def joined(records: list[Json], steps: int = 3) -> Executions:
    """Join hand-written records."""
    columns = rows(records)
    return join(SpanTable(**{name: columns[name] for name in SPAN_COLUMNS}), steps)


def every(executions: Executions) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A mask of all executions."""
    return np.ones(executions.count, dtype=bool)


def test_measures_are_as_defined() -> None:
    """Every figure of one execution has the value that its definition gives by hand."""
    found = joined(tiny.message(1))
    mask = every(found)

    def value(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
        return [round(float(v), 6) for v in values]

    hop = measures.hop(found, 1, mask)
    ingress = measures.hop(found, 0, mask)
    assert value(measures.end_to_end(found, mask)) == [50.0]
    assert value(measures.uncorrected(found, mask)) == [49.0]
    assert value(measures.component(found, mask)) == [31.0]
    assert value(measures.overhead(found, mask)) == [19.0]
    assert value(measures.overhead_between(found, mask)) == [13.0]
    assert value(measures.hops(found, mask)) == [7.0, 6.0]
    assert [
        value(v)[0] for v in (ingress.total, ingress.client_out, ingress.transit, ingress.client_in)
    ] == [5.0, 1.0, 3.0, 1.0]
    assert [value(v)[0] for v in (hop.total, hop.client_out, hop.transit, hop.client_in)] == [
        7.0,
        2.0,
        3.0,
        2.0,
    ]
    assert value(measures.process(found, 1, mask)) == [10.0]


def test_order_of_records_does_not_matter() -> None:
    """Records of several executions in any order give the same rows, by intended send."""
    records = [r for t in (3, 1, 2) for r in tiny.message(t, at_ms=100.0 * t)]
    shuffled = [records[i] for i in np.random.default_rng(1).permutation(len(records))]
    found = joined(shuffled)
    assert found.trace.tolist() == [1, 2, 3]
    assert joined(records).inputs.tolist() == found.inputs.tolist()


@given(st.lists(st.integers(1, 2**64 - 1), min_size=3, max_size=30, unique=True))
def test_any_message_ids(ids: list[int]) -> None:
    """Executions are joined whatever 64-bit numbers their messages have."""
    count = len(ids) // 3
    records = []
    for trace in range(1, count + 1):
        new = dict(zip(range(trace * 10, trace * 10 + 3), ids[(trace - 1) * 3 :], strict=False))
        for record in tiny.message(trace):
            renamed = {k: new[record[k]] for k in ("message", "parent") if record.get(k)}
            records.append(record | renamed)
    found = joined(records)
    assert count == found.count
    assert found.integrity.residual_over_limit == 0


def test_cold_is_marked_by_the_first_flag() -> None:
    """An execution in which a process handled its first message is cold, the others are not."""
    found = joined([*tiny.message(1, first=True), *tiny.message(2, at_ms=100)])
    assert found.cold.tolist() == [True, False]


def test_negative_intervals_are_counted_and_kept() -> None:
    """A delivery before the sender's write returned is counted and stays in the figures."""
    records = tiny.message(1)
    records[3]["t0_ns"] = records[2]["t2_ns"] - MS
    found = joined(records)
    assert (found.integrity.negative, found.integrity.negative_transit) == (1, 1)
    assert measures.hop(found, 1, every(found)).transit.tolist() == [-1.0]


def test_zero_intervals_are_counted() -> None:
    """An interval of nothing is not negative, but counted."""
    records = tiny.message(1)
    records[3]["t0_ns"] = records[2]["t2_ns"]
    integrity = joined(records).integrity
    assert (integrity.negative, integrity.zero) == (0, 1)


def test_negative_lag_is_no_transit() -> None:
    """A send before its intended instant is counted as negative, not as transit."""
    records = tiny.message(1)
    records[0]["t0_ns"] = records[0]["t1_ns"] + MS
    integrity = joined(records).integrity
    assert (integrity.negative, integrity.negative_transit) == (1, 0)


def test_lost_message_is_found() -> None:
    """A message that was accepted and never handled is lost, and has no row."""
    found = joined([*tiny.message(1), tiny.message(2, at_ms=100)[0]])
    assert (found.count, found.integrity.lost, found.integrity.sent) == (1, 1, 2)


def test_refused_message_is_not_lost() -> None:
    """A message that the broker refused was never accepted."""
    refused = tiny.message(2, at_ms=100)[0] | {"outcome": REFUSED}
    integrity = joined([*tiny.message(1), refused]).integrity
    assert (integrity.sent, integrity.accepted, integrity.lost) == (2, 1, 0)


def test_failed_message_is_not_lost() -> None:
    """A message whose process raised is failed, and in no figure."""
    records = tiny.message(2, at_ms=100)[:2]
    records[1]["outcome"] = ERROR
    found = joined([*tiny.message(1), *records])
    assert (found.count, found.integrity.failed, found.integrity.lost) == (1, 1, 0)


def test_step_that_emits_nothing_ends_an_execution() -> None:
    """An execution that a step ends on purpose is handled, neither lost nor whole."""
    records = tiny.message(2, at_ms=100)[:2]
    records[1]["aux"] = 0
    found = joined([*tiny.message(1), *records])
    assert (found.count, found.integrity.handled, found.integrity.lost) == (1, 2, 0)


def test_missing_emit_breaks_conservation() -> None:
    """Without an EMIT the parts do not explain the whole: counted, and the row left out."""
    records = tiny.message(1)
    del records[2]
    found = joined(records)
    assert (found.count, found.integrity.residual_over_limit) == (0, 1)
    # The path breaks at the source: 5 ms of ingress, 9 ms in it and 7 ms of hop 1 are unexplained.
    assert round(found.integrity.residual_max_share, 6) == 0.42


def test_end_without_send_is_counted() -> None:
    """An execution whose SEND is missing cannot be judged and is counted as broken."""
    found = joined([*tiny.message(1), *tiny.message(2, at_ms=100)[1:]])
    assert (found.count, found.integrity.residual_over_limit) == (1, 1)


def test_redelivered_message_counts_once() -> None:
    """A message handled twice is a duplicate; its first handling is the one in the figures."""
    records = tiny.message(1)
    again = records[5] | {"flags": REDELIVERED}
    again |= {f"t{i}_ns": again[f"t{i}_ns"] + 500 * MS for i in range(4)}
    for order in ([*records, again], [again, *records]):
        found = joined(order)
        assert (found.count, found.integrity.duplicated) == (1, 1)
        assert measures.end_to_end(found, every(found)).tolist() == [50.0]


def test_reordered_inputs_are_counted() -> None:
    """A step that takes the later of two messages first is counted once for that hop."""
    first, second = tiny.message(1), tiny.message(2, at_ms=10)
    for record in first[3:]:
        for i in range(4):
            record[f"t{i}_ns"] += 100 * MS if record.get(f"t{i}_ns") else 0
    assert joined([*first, *second]).integrity.reordered == 1


def test_fan_out_follows_the_first_to_arrive() -> None:
    """Of two messages that one input caused, the path of the first that ended is taken."""
    records = tiny.message(1)
    twin = [dict(records[4]), dict(records[5])]
    for record in twin:
        record["message"] = 99
        record |= {f"t{i}_ns": record[f"t{i}_ns"] + 20 * MS for i in range(4) if record[f"t{i}_ns"]}
    found = joined([*records[:4], *twin, *records[4:]])
    assert (found.count, found.integrity.duplicated) == (1, 0)
    assert measures.end_to_end(found, every(found)).tolist() == [50.0]


def test_flow_of_one_step_has_no_hops() -> None:
    """A flow of a single step has an end-to-end time and an ingress, but no hop."""
    records = tiny.message(1)[:2]
    found = joined(records, steps=1)
    assert measures.end_to_end(found, every(found)).tolist() == [16.0]
    assert measures.hops(found, every(found)).size == 0


def test_no_records_at_all() -> None:
    """A trial that recorded nothing has no executions and no false counts."""
    found = joined([])
    assert (found.count, found.integrity.lost, found.integrity.residual_over_limit) == (0, 0, 0)


def test_kinds_are_what_the_records_say() -> None:
    """The hand-written records use the codes of the runtime (a guard for this file)."""
    assert [r["kind"] for r in tiny.message(1)] == [1, PROCESS, EMIT, PROCESS, EMIT, PROCESS]
    assert OK == 0
