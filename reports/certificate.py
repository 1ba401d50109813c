"""The meter certificate: what a run of ``bench certify`` shows of the meter itself.

A pure function of the run directory. Every check is shown, not shown or undecided, and the
certificate is valid only when all are shown; what was not measured is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import measures
from reports.cells import Cell
from reports.evidence import Evidence, gather
from reports.frozen import freezes
from reports.integrity import RESIDUAL_ALLOWED, RESIDUAL_LIMIT, total
from reports.meter import clocks, probe_overhead, read_meter
from reports.recovered import BOUND_MS, BOUND_SHARE, by_start, component_delays, network_delays
from reports.rundir import read_run
from reports.shown import (
    Check,
    Figure,
    Floats,
    Json,
    Of,
    Shown,
    all_of,
    apart,
    average,
    figure_of,
    median,
    paired,
)
from reports.stats import MIN_STARTS

FORMAT = 1
KIND = "hopbench meter certificate"
SAME = ("same-a", "same-b")
SAME_CONFIDENCE = 0.99
"""At 95 %, one honest certificate in twenty would fail by this check alone."""
RESOLUTION_LIMIT = 0.25
"""Within starts; between starts it is shown and held to nothing."""
MACHINE = ("cpu", "cores", "memory_bytes", "kernel", "os", "engine")


def certify(run_dir: Path) -> dict[str, Any]:
    """The certificate (docs/formats.md). Raises FormatError and DataError as the report does."""
    evidence, meter = gather(read_run(run_dir)), read_meter(run_dir)
    checks = [
        component_delays(evidence),
        network_delays(evidence),
        freezes(evidence),
        same(evidence),
        probe_overhead(meter),
        clocks(meter, evidence),
        conservation(evidence),
    ]
    run = evidence.run
    environment = run.environment
    doubts = evidence.doubts([scenario.name for scenario in run.scenarios])
    verdict = all_of([check.verdict for check in checks])
    if doubts and verdict is Shown.SHOWN:
        verdict = Shown.UNDECIDED
    return {
        "format": FORMAT, "kind": KIND,
        "verdict": str(verdict), "valid": verdict is Shown.SHOWN,
        "run_id": run.run_id, "created": run.created, "finished": run.finished,
        "seed": run.seed, "quick": run.profile == "quick",
        "hopbench": environment.get("hopbench"), "commit": environment.get("commit"),
        "machine": {name: environment.get(name) for name in MACHINE},
        "launcher": run.launcher, "isolates": run.isolates,
        "broker": run.broker, "broker_version": environment.get("broker_version"),
        "broker_placement": run.broker_placement,
        "bound": {"share": BOUND_SHARE, "ms": BOUND_MS},
        "checks": [check.document() for check in checks],
        "doubts": doubts,
    }  # fmt: skip


def same(evidence: Evidence) -> Check:
    """A against A: every other message of a start against the rest, and starts against starts.

    Both ratios must be 1. How far apart two things must be to be told apart is held to a limit
    within starts, where all delays are compared; between starts it is a fact about the machine.
    """
    check = "a-against-a", "A flow measured twice is the same flow"
    cells = [cell for name in SAME for cell in evidence.cells.get(name, ())]
    if len(cells) != len(SAME):
        doubts = evidence.doubts([s.name for s in evidence.run.scenarios if s.name in SAME])
        return Check(*check, Shown.UNDECIDED, "; ".join(doubts) or "not measured")
    rows: list[Json | None] = []
    first, second = (by_start(cell, measures.hops) for cell in cells)
    even, odd = (_every_other(cells, rest) for rest in (0, 1))
    for name, of in (("p50", _log(median)), ("mean", _log(average))):
        within = paired(even, odd, of, "x", SAME_CONFIDENCE)
        between = apart(first, second, of, "x", SAME_CONFIDENCE)
        rows += [
            _ratio(f"{name} hop of every other message over the rest's, within starts", within),
            _ratio(f"{name} hop of A over that of A, again, between starts", between),
        ]
    found = [row for row in rows if row is not None]
    if len(found) < len(rows):
        return Check(*check, Shown.UNDECIDED, f"fewer than {MIN_STARTS} starts of each")
    inside, across = found[:2]
    figures = "; ".join(
        f"{row['label']}: {figure_of(row['figure']).words()}" for row in (inside, across)
    )
    said = (
        f"at {100 * SAME_CONFIDENCE:g} %, {figures}; p50s are told apart beyond "
        f"{100 * inside['resolution']:.1f} % within starts, {100 * across['resolution']:.1f} % "
        "between them"
    )
    if not all(row["figure"]["low"] <= 1 <= row["figure"]["high"] for row in (inside, across)):
        return Check(*check, Shown.NOT_SHOWN, f"{said}; they are not the same", tuple(found))
    if inside["resolution"] > RESOLUTION_LIMIT:
        said += f"; {100 * RESOLUTION_LIMIT:g} % are allowed within starts: too noisy a machine"
        return Check(*check, Shown.UNDECIDED, said, tuple(found))
    return Check(*check, Shown.SHOWN, said, tuple(found))


def _every_other(cells: Sequence[Cell], rest: int) -> dict[int, Floats]:
    """Hops of the executions whose numbers leave this rest by 2, by start; they alternate."""
    found: dict[int, Floats] = {}
    for cell in cells:
        found |= by_start(cell.where(lambda rows: rows.trace % 2 == rest), measures.hops)
    return found


def _ratio(label: str, logarithms: Figure | None) -> Json | None:
    """A row from the difference of logarithms; None without an interval."""
    if logarithms is None or logarithms.low is None or logarithms.high is None:
        return None
    value, low, high = (math.exp(v) for v in (logarithms.value, logarithms.low, logarithms.high))
    return {
        "label": label,
        "figure": logarithms.document() | {"value": value, "low": low, "high": high},
        "confidence": SAME_CONFIDENCE,
        "resolution": math.exp((logarithms.high - logarithms.low) / 2) - 1,
        "limit": None,
    }  # fmt: skip


def conservation(evidence: Evidence) -> Check:
    """In all trials, valid or not: nothing lost or doubled, and the parts add up to the whole."""
    check = "conservation", "No message is lost, and its parts add up to the whole"
    counted = total([trial.integrity for trial in evidence.trials])
    one_clock = counted.negative - counted.negative_transit
    wrong = {
        "messages lost": counted.lost, "messages handled twice": counted.duplicated,
        "executions without a whole path": counted.incomplete, "intervals negative": one_clock,
    }  # fmt: skip
    said = (
        f"{counted.ended} executions, {counted.residual_over_limit} of {counted.ended} with more "
        f"than {100 * RESIDUAL_LIMIT:g} % unexplained, at most {counted.residual_max_share:.2%}"
    )
    row: Json = {
        "label": "executions", "executions": counted.ended,
        "over_limit": counted.residual_over_limit, "max_share": counted.residual_max_share,
        "limit": RESIDUAL_LIMIT, "allowed_share": RESIDUAL_ALLOWED,
        "negative_transits": counted.negative_transit, "wrong": wrong,
    }  # fmt: skip
    found = _said(wrong)
    if found:
        return Check(*check, Shown.NOT_SHOWN, f"{said}; {found}", (row,))
    if not counted.ended:
        return Check(*check, Shown.UNDECIDED, "no execution came to its end", (row,))
    if not counted.conserved:
        return Check(*check, Shown.NOT_SHOWN, said, (row,))
    return Check(*check, Shown.SHOWN, said, (row,))


def failed(checks: Sequence[Json]) -> list[str]:
    """A line for each check that is not shown, worst first."""
    order = [str(Shown.NOT_SHOWN), str(Shown.UNDECIDED)]
    return [
        f"{check['verdict']}: {check['title']}: {check['reason']}"
        for verdict in order
        for check in checks
        if check["verdict"] == verdict
    ]


def _log(of: Of) -> Of:
    """The logarithm of a start's statistic: ratios become differences."""
    return lambda values: math.log(of(values))


def _said(wrong: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in wrong.items() if count)
