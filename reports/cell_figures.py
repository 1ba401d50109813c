"""A cell's figures as ``results.json`` has them (docs/formats.md, ``figures``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reports import measures, resources, steady
from reports.cells import Cell, Measure
from reports.executions import Executions, Floats
from reports.floor import FloorHops
from reports.ledger import of_cell
from reports.measures import Mask
from reports.stats import Bootstrap, Estimate, Samples, mean, quantiles
from reports.warmup import warm_up

QUANTILES = (0.5, 0.95, 0.99)
HISTOGRAM_BINS = 60

Json = dict[str, Any]


def statistic(samples: Samples, bootstrap: Bootstrap, unit: str = "ms") -> Json:
    """A STAT: mean, quantiles and their intervals; what the data cannot give is None."""
    average = mean(samples, bootstrap)
    stat: Json = {"unit": unit, **_bounds("mean", average)}
    given = quantiles(samples, QUANTILES, bootstrap)
    for p, estimate in zip(QUANTILES, given, strict=True):
        stat |= _bounds(f"p{100 * p:.0f}", estimate)
    return stat | {
        "min": float(samples.values.min()) if samples.count else None,
        "max": float(samples.values.max()) if samples.count else None,
        "starts": samples.starts,
        "messages": samples.count,
        "basis": average.basis if average else None,
    }


def single(estimate: Estimate | None, unit: str) -> Json | None:
    """An X: one value and its interval; None without a value."""
    if estimate is None:
        return None
    return {
        "value": estimate.value, "low": estimate.low, "high": estimate.high, "unit": unit,
        "starts": estimate.starts, "messages": estimate.count, "basis": estimate.basis,
    }  # fmt: skip


def cell_figures(cell: Cell, floor: FloorHops, bootstrap: Bootstrap) -> Json:
    """All figures of one cell."""

    def stat(measure: Measure, *, cold: bool = False) -> Json:
        return statistic(cell.samples(measure, cold=cold), bootstrap)

    accounting, residual = of_cell(cell)
    return {
        "cell": {
            "containers": cell.containers,
            "payload_bytes": cell.message_cell.payload_bytes,
            "api_delay_ms": cell.message_cell.api_delay_ms,
            "delayed_step": cell.message_cell.delayed_step,
            "injected_delay_ms": cell.message_cell.injected_delay_ms,
            "network_delay_ms": cell.message_cell.network_delay_ms,
        },
        "starts": cell.starts,
        "trials": len(cell.parts),
        "messages": cell.messages,
        "hop": stat(measures.hops),
        "hops": _hops(cell, floor, bootstrap),
        "ingress": stat(_part_of_hop(0, "total")),
        "ingress_parts": _parts(cell, 0, bootstrap, "client_out", "transit", "client_in"),
        "end_to_end": stat(measures.end_to_end),
        "uncorrected": stat(measures.uncorrected),
        "lag": stat(measures.lag),
        "generator_cpu": single(_generator_cpu(cell, bootstrap), "cores"),
        "cold_end_to_end": stat(measures.end_to_end, cold=True),
        "component": stat(measures.component),
        "overhead": stat(measures.overhead),
        "overhead_between": stat(measures.overhead_between),
        "steps": [
            {"id": step_id, "process": stat(_process(k))} for k, step_id in enumerate(cell.step_ids)
        ],
        "floor_multiple": single(floor_multiple(cell, floor, bootstrap), "x"),
        "warm_up": _warm_up(cell, bootstrap),
        "resources": _resources(cell, bootstrap),
        "histogram": _histogram(cell),
        "accounting": accounting,
        "residual": residual,
    }


def floor_multiple(
    cell: Cell, floor: FloorHops, bootstrap: Bootstrap, k: int | None = None
) -> Estimate | None:
    """Hop p50 as a multiple of the bare broker hop's; None in ordinary flows and without a floor.

    Of all hops, or of hop ``k`` alone.

    Each hop is taken as a multiple of the floor that was measured right after its start, or else of
    the run's, and the p50 is that of all of them: quantiles of starts are not averaged.
    """
    if cell.ordinary:
        return None
    multiples: list[Floats] = []
    messages = 0
    for part in cell.parts:
        own: Mapping[str, Any] = part.trial.record.floor or {}
        floor_ms = own.get("p50") or floor.median_ms()
        if k is None:
            hops = measures.hops(part.executions, part.judged)
        else:
            hops = measures.hop(part.executions, k, part.judged).total
        if not floor_ms or not hops.size:
            continue
        messages += int(part.judged.sum())
        multiples.append(hops / floor_ms)
    width = max(cell.containers - 1, 1) if k is None else 1
    (found,) = quantiles(Samples.of(multiples, width), (0.5,), bootstrap)
    return replace(found, count=messages) if found else None


def _generator_cpu(cell: Cell, bootstrap: Bootstrap) -> Estimate | None:
    """The busiest load generator's CPU time over the time it sent; None where no trial says it."""
    shares: list[Floats] = []
    messages = 0
    for part in cell.parts:
        load: Mapping[str, Any] = part.trial.record.load or {}
        share = load.get("cpu_share")
        if isinstance(share, int | float):
            shares.append(np.array([float(share)]))
            messages += int(part.judged.sum())
    found = mean(Samples.of(shares), bootstrap)
    return replace(found, count=messages) if found else None


def _bounds(name: str, estimate: Estimate | None) -> Json:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _part_of_hop(k: int, part: str) -> Measure:
    def measure(rows: Executions, mask: Mask) -> Floats:
        values: Floats = getattr(measures.hop(rows, k, mask), part)
        return values

    return measure


def _process(k: int) -> Measure:
    return lambda rows, mask: measures.process(rows, k, mask)


def _hops(cell: Cell, floor: FloorHops, bootstrap: Bootstrap) -> list[Json]:
    return [
        {
            "from": cell.step_ids[k - 1],
            "to": cell.step_ids[k],
            **_parts(cell, k, bootstrap, "total", "client_out", "transit", "client_in"),
            "floor_multiple": single(floor_multiple(cell, floor, bootstrap, k), "x"),
        }
        for k in range(1, len(cell.step_ids))
    ]


def _parts(cell: Cell, k: int, bootstrap: Bootstrap, *names: str) -> Json:
    """Parts of hop ``k``, and what is beside it: the confirm of its publish, its input's ack.

    A publish or an input that was never settled has neither.
    """
    parts = {name: statistic(cell.samples(_part_of_hop(k, name)), bootstrap) for name in names}
    confirmed = cell.where(lambda rows: measures.confirmed(rows, k))
    acked = cell.where(lambda rows: measures.acked(rows, k))
    return parts | {
        "confirm": statistic(
            confirmed.samples(lambda rows, mask: measures.confirm(rows, k, mask)), bootstrap
        ),
        "ack": statistic(acked.samples(lambda rows, mask: measures.ack(rows, k, mask)), bootstrap),
    }


def _warm_up(cell: Cell, bootstrap: Bootstrap) -> Json:
    warm = warm_up(cell)
    steadiness = None if cell.ordinary else steady.classify(cell.series())
    return {
        "total": statistic(warm.total_ms, bootstrap),
        "phases": [
            {
                "step": phase.step, "phase": phase.name,
                "from_ms": statistic(phase.from_ms, bootstrap),
                "to_ms": statistic(phase.to_ms, bootstrap),
                "took_ms": statistic(phase.took_ms(), bootstrap),
            }
            for phase in warm.phases
        ],
        "messages_to_steady": None if steadiness is None
        else {"class": steadiness.kind, "messages": steadiness.messages},
    }  # fmt: skip


def _resources(cell: Cell, bootstrap: Bootstrap) -> Json | None:
    costs = resources.per_message(cell)
    if costs is None:
        return None
    found: Json = {
        kind: single(mean(samples, bootstrap), resources.UNITS[kind])
        for kind, samples in costs.items()
    }
    idle = None
    if not cell.ordinary:
        idle = {
            kind: single(mean(samples, bootstrap), f"{resources.UNITS[kind]}/s")
            for kind, samples in resources.idle_per_second(cell).items()
        }
    return found | {"per": "message", "idle_per_second": idle}


def _histogram(cell: Cell) -> Json:
    """Counts of end-to-end times, in bins of equal ratio where all are above zero."""
    values = cell.samples(measures.end_to_end).values
    if not values.size:
        return {"edges_ms": [], "counts": [], "of": "end_to_end"}
    low, high = float(values.min()), float(values.max())
    bins = min(HISTOGRAM_BINS, max(5, round(values.size**0.5) * 2))
    if low == high:
        edges = np.array([low, high + 1e-6])
    elif low > 0:
        edges = np.geomspace(low, high, bins + 1)
    else:
        edges = np.linspace(low, high, bins + 1)
    # Rounding may have moved the outer edges inside the data.
    edges[0], edges[-1] = low, max(high, float(edges[-1]))
    counts, _ = np.histogram(values, edges)
    return {"edges_ms": edges.tolist(), "counts": counts.tolist(), "of": "end_to_end"}
