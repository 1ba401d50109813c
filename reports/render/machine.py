"""What the sections on integrity and on the machine's floor show: rows, no markup."""

from __future__ import annotations

from typing import Any

from reports.render.numbers import of_stat, of_value, reading, rests_on
from reports.render.views import Cell, Results, anchor, cell_name, cells


def multiples(results: Results) -> list[dict[str, Any]]:
    """Per scenario its mean hop, and that hop as a multiple of the bare broker hop."""
    by_scenario: dict[str, list[Cell]] = {}
    for found in cells(results):
        if (found.cell.get("floor_multiple") or {}).get("value") is not None:
            by_scenario.setdefault(found.name, []).append(found.cell)
    rows = []
    for name, own in by_scenario.items():
        by_multiple = sorted(own, key=lambda cell: float(cell["floor_multiple"]["value"]))
        first, last = by_multiple[0], by_multiple[-1]
        shown = [first] if len(own) == 1 else [first, last]
        rows.append({
            "name": name,
            "anchor": anchor(name),
            "ends": [(of_stat(cell.get("hop"), "p50"), of_value(cell["floor_multiple"]))
                     for cell in shown],
            "cells": len(own),
        })  # fmt: skip
    return rows


def floor_rows(results: Results) -> list[dict[str, Any]]:
    """The floor's figures, before and after the trials."""
    figures = (results.get("floor") or {}).get("figures") or {}
    rows = []
    for key, label, names in (
        ("broker_hop", "Bare broker hop", ("p50", "p95", "p99")),
        ("loopback_tcp", "Loopback TCP, one way", ("p50", "p99")),
        ("scheduling_jitter", "Scheduling jitter while idle", ("p50", "p99")),
    ):
        sides = figures.get(key) or {}
        rows += [
            {
                "label": f"{label}, {name}",
                "sides": [of_stat(sides.get(side), name) for side in ("before", "after")],
            }
            for name in names
        ]
    timer = figures.get("timer_resolution") or {}
    sides_ = [of_value(timer.get(side)) for side in ("before", "after")]
    return [*rows, {"label": "Timer resolution, the least step seen", "sides": sides_}]


COUNTS = (
    ("sent", "Sent"),
    ("handled", "Handled"),
    ("failed", "Failed"),
    ("lost", "Lost"),
    ("duplicated", "Duplicated"),
    ("reordered", "Reordered"),
    ("incomplete", "Path incomplete"),
    ("negative_intervals", "Intervals below zero"),
    ("zero_intervals", "Intervals of zero"),
)
"""What is counted of messages and their records, and how the page calls it."""


def integrity_rows(results: Results) -> list[dict[str, Any]]:
    """What became of the messages of every cell, over all its trials."""
    rows = []
    for row in results.get("integrity") or ():
        counts, residual = row.get("accounting") or {}, row.get("residual") or {}
        rows.append({
            "scenario": row.get("scenario"),
            "cell": cell_name(row),
            "trials": row.get("trials") or 0,
            "valid": row.get("valid") or 0,
            "counts": [(key, counts.get(key) or 0) for key, _ in COUNTS],
            "damaged": row.get("damaged_records") or 0,
            "over": residual.get("over_limit") or 0,
            "executions": residual.get("executions") or 0,
            "largest": reading(
                100 * (residual.get("max_share") or 0.0), None, None, "%",
                of=rests_on(row.get("trials") or 0, residual.get("executions") or 0, "execution"),
                why="single",
            ),
        })  # fmt: skip
    return rows
