"""The anatomy of a hop: parts that sum, confirm and ack beside it; percentiles that do not add."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.results import analyse
from reports.stats import quantile
from runtime.spans import EMIT, PROCESS
from tests.fakes import tiny
from tests.fakes.rundir import MS, Json, Plan, write_run


def cell_of(root: Path) -> Json:
    """The figures of the only cell."""
    found: Json = analyse(root)["figures"]["realtime"]["cells"][0]
    return found


def messages(count: int) -> tiny.Records:
    """A cold message, then warm ones."""
    return [
        record
        for trace in range(1, count + 1)
        for record in tiny.message(trace, at_ms=100.0 * trace, first=trace == 1)
    ]


def test_confirm_and_ack_stand_beside_every_hop(tmp_path: Path) -> None:
    """Each by its own two instants: from the socket to the confirm, from the end to the ack."""

    def shape(_: int) -> tiny.Records:
        records = messages(3)
        for record in records:
            if record["kind"] == EMIT:
                record["t3_ns"] += (record["step"] + 1) * MS
            if record["kind"] == PROCESS:
                record["t3_ns"] += 10 * record["step"] * MS
        return records

    cell = cell_of(tiny.run(tmp_path, tiny.starts(3, shape)))
    assert [hop["confirm"]["mean"] for hop in cell["hops"]] == [2.0, 3.0]
    assert [hop["ack"]["mean"] for hop in cell["hops"]] == [11.0, 21.0]
    assert cell["ingress_parts"]["confirm"]["mean"] == 1.0
    assert cell["ingress_parts"]["ack"]["mean"] == 1.0
    assert {hop["ack"]["messages"] for hop in cell["hops"]} == {6}


def test_they_are_no_part_of_the_hop(tmp_path: Path) -> None:
    """However late the confirm and the ack come, hop, overhead and end-to-end stay as they are."""

    def late(_: int) -> tiny.Records:
        return [
            record | ({"t3_ns": record["t3_ns"] + 500 * MS} if record["t3_ns"] else {})
            for record in messages(3)
        ]

    plain = cell_of(tiny.run(tmp_path / "plain", tiny.starts(3, lambda _: messages(3))))
    cell = cell_of(tiny.run(tmp_path / "late", tiny.starts(3, late)))
    for name in ("hop", "end_to_end", "overhead", "overhead_between", "component", "ingress"):
        assert cell[name] == plain[name]
    assert cell["hops"][0]["confirm"]["mean"] == 501.0


def test_the_parts_sum_to_the_hop(tmp_path: Path) -> None:
    """Means of client-out, transit and client-in are together the mean of each hop, ingress too."""
    plan = Plan("realtime", "R", messages=200, starts=3)
    cell = cell_of(write_run(tmp_path, (plan,)))
    parts = ("client_out", "transit", "client_in")
    for hop in cell["hops"]:
        assert sum(hop[part]["mean"] for part in parts) == pytest.approx(hop["total"]["mean"])
    ingress = cell["ingress_parts"]
    assert sum(ingress[part]["mean"] for part in parts) == pytest.approx(cell["ingress"]["mean"])


def test_what_was_never_settled_has_neither(tmp_path: Path) -> None:
    """A publish without a confirm and an input without an ack are left out, and counted so."""

    def shape(_: int) -> tiny.Records:
        records = messages(3)
        for record in records:
            settled = record["trace"] != 3
            if record["kind"] == EMIT and record["step"] == 0 and not settled:
                record["t3_ns"] = 0
            if record["kind"] == PROCESS and record["step"] == 1 and not settled:
                record["t3_ns"] = 0
        return records

    hops = cell_of(tiny.run(tmp_path, tiny.starts(3, shape)))["hops"]
    counts = [(hop["confirm"]["messages"], hop["ack"]["messages"]) for hop in hops]
    assert counts == [(3, 3), (6, 6)]
    assert hops[0]["confirm"]["min"] == 1.0
    assert hops[0]["total"]["messages"] == 6


def test_percentiles_are_of_all_values_and_never_averaged(tmp_path: Path) -> None:
    """With starts of unlike speed a p95 is the pooled quantile, not the mean of the starts'."""
    rng = np.random.default_rng(1)
    values = [np.round(rng.uniform(low, 2 * low, 200), 3) for low in (1.0, 4.0, 16.0)]

    def shape(start: int) -> tiny.Records:
        records = messages(201)
        for record in records:
            if record["kind"] == PROCESS and record["step"] == 2:
                # The last hop takes these values; it was 6 ms, from an emit at 30.
                extra = round((values[start][max(record["trace"] - 2, 0)] - 6.0) * MS)
                for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
                    record[name] += extra
            if record["kind"] == EMIT and record["step"] == 1:
                record["t2_ns"] = record["t1_ns"]
        return records

    hop = cell_of(tiny.run(tmp_path, tiny.starts(3, shape)))["hops"][1]["total"]
    pooled = quantile(np.sort(np.concatenate(values)), 0.95)
    averaged = float(np.mean([quantile(np.sort(v), 0.95) for v in values]))
    assert hop["p95"] == pytest.approx(pooled, abs=1e-4)
    assert abs(pooled - averaged) > 10
