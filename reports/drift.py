"""What grows while a flow runs: latency, memory, descriptors and threads, each with its trend."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reports import measures
from reports.evidence import Evidence
from reports.rundir import UNREAD
from reports.trend import Trend, trend
from reports.trials import Trial
from runtime.model import FlowType

Json = dict[str, Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

WINDOWS = 20
SETTLING = 0.1
"""Share of the load's time that is left out at its beginning: that is warm-up, not drift."""
LEAST_CHANGE = 0.10
"""Of the median: what grows by less over the time that was watched is no drift."""
LEAST_COUNT = 2.0
"""Descriptors or threads: fewer than so many more are no drift."""
_NS_PER_MIN = 60e9


def drifts(trial: Trial) -> list[Json]:
    """Each series of a trial that was watched for long enough, and whether it drifts."""
    record = trial.record
    start_ns, end_ns = record.load_start_ns, record.load_end_ns
    if start_ns is None or end_ns is None or end_ns <= start_ns:
        return []
    begin_ns = start_ns + round(SETTLING * (end_ns - start_ns))
    edges = np.linspace(0, end_ns - begin_ns, WINDOWS + 1) + begin_ns
    rows = [_row("flow", "latency", "ms", *_latency(trial), edges)]
    table = trial.resources
    for index, instance in enumerate(record.instances):
        mine = table.instance == index
        at_ns = table.at_ns[mine]
        for kind, unit, values in (
            ("memory", "MB", table.memory_bytes[mine] / 1e6),
            ("descriptors", "descriptors", table.descriptors[mine].astype(np.float64)),
            ("threads", "threads", table.threads[mine].astype(np.float64)),
        ):
            read = values != UNREAD
            rows.append(_row(instance.step_id, kind, unit, at_ns[read], values[read], edges))
    return [row for row in rows if row is not None]


def soak(evidence: Evidence) -> list[Json]:
    """What was watched for the longest time of all: how long, and what drifted meanwhile."""
    watched = [
        (trial.record.load_end_ns - trial.record.load_start_ns, trial)
        for trial in evidence.trials
        if trial.valid and trial.record.flow_type == FlowType.REALTIME
        and trial.record.load_end_ns is not None and trial.record.load_start_ns is not None
        and not _shows_events(evidence, trial)
    ]  # fmt: skip
    if not watched:
        return []
    longest_ns, trial = max(watched, key=lambda pair: pair[0])
    return [
        {
            "scenario": trial.record.scenario, "watched_s": longest_ns / 1e9,
            "messages": trial.executions.count, "drifts": drifts(trial),
        }
    ]  # fmt: skip


def _shows_events(evidence: Evidence, trial: Trial) -> bool:
    scenario = evidence.scenario(trial.record.scenario)
    return scenario is not None and scenario.shows_events


def _latency(trial: Trial) -> tuple[Ints, Floats]:
    """Of executions, or of deliveries where executions are no chains."""
    if trial.deliveries is not None:
        return trial.deliveries.at_ns, trial.deliveries.took_ms
    rows = trial.executions
    warm = ~rows.cold
    return rows.send[0][warm], measures.end_to_end(rows, warm)


def _row(
    step: str, kind: str, unit: str, at_ns: Ints, values: Floats, edges: Floats
) -> Json | None:
    window = np.searchsorted(edges, at_ns, side="right") - 1
    inside = (window >= 0) & (window < WINDOWS)
    filled = np.unique(window[inside])
    medians = np.array([np.median(values[inside & (window == one)]) for one in filled])
    minutes = (edges[:-1] + edges[1:])[filled] / 2 / _NS_PER_MIN
    found = trend(minutes, medians)
    if found is None:
        return None
    return {
        "step": step, "kind": kind, "unit": unit,
        "first": float(medians[0]), "last": float(medians[-1]),
        "per_minute": found.slope, "low": found.low, "high": found.high,
        "windows": found.points, "observations": int(inside.sum()),
        "chance": found.chance, "drifts": _drifts(found, kind, medians),
    }  # fmt: skip


def _drifts(found: Trend, kind: str, medians: Floats) -> bool:
    enough = found.change >= LEAST_CHANGE
    if kind in {"descriptors", "threads"}:
        enough = float(medians[-1] - medians[0]) >= LEAST_COUNT
    return found.there and found.slope > 0 and enough
