"""Whether known delays, injected into a component or into the network, are found where they are.

The scenarios are known by what they are, not by name: message cells with delays of the component
and no fault, or with delays of the network, which is then the only fault. All delays are in each
start, so that they are compared within starts; starts differ from each other by more than the
bound. A delay of 0, through the same component or proxy, is the baseline.
Decided by each start's p50: a mean of twenty messages is moved by one that met a busy processor. It
is given beside, and decides nothing. Executions are taken from the actual send: how late the load
generator was has nothing to do with what was injected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports import measures
from reports.cells import Cell
from reports.evidence import Evidence
from reports.executions import Executions, Floats
from reports.measures import Mask
from reports.records import ScenarioRecord
from reports.shown import (
    Check,
    Json,
    Shown,
    all_of,
    average,
    figure_of,
    median,
    paired,
    within,
)

BOUND_SHARE = 0.03
BOUND_MS = 0.3
DELAYS_MS = (1.0, 5.0, 10.0, 50.0)
"""Beside 0, which is what the others are compared with. A certificate needs all of them."""
NETWORK_DELAY = "network delay"

Measure = Callable[[Executions, Mask], Floats]


@dataclass(frozen=True, slots=True)
class Place:
    """A figure in which a delay must show, ``times`` over."""

    label: str
    measure: Measure
    times: int


def bound_ms(expected_ms: float) -> float:
    """By how much what is recovered may be wrong."""
    return max(BOUND_SHARE * expected_ms, BOUND_MS)


def component_delays(evidence: Evidence) -> Check:
    """Delays inside a component."""
    check = "component-delays", "Known delays in a component are recovered"
    scenarios = [s for s in evidence.run.scenarios if _in_component(s)]
    if not scenarios:
        return Check(*check, Shown.UNDECIDED, "no scenario with delays in a component was run")
    cells = evidence.cells[scenarios[0].name]
    by_delay = {cell.message_cell.api_delay_ms: cell for cell in cells}
    step = _middle(cells)
    places = (
        Place("component time", lambda rows, mask: measures.process(rows, step, mask), 1),
        Place("execution", measures.uncorrected, 1),
    )
    rows = _rows(by_delay, places)
    return _check(check, rows, evidence, scenarios)


def network_delays(evidence: Evidence) -> Check:
    """Delays between a step and the broker: of the hop into that step, and of the one out of it."""
    check = "network-delays", "Known delays in the network are recovered"
    scenarios = [s for s in evidence.run.scenarios if _in_network(s)]
    if not scenarios:
        return Check(*check, Shown.UNDECIDED, "no scenario with delays in the network was run")
    cells = evidence.cells[scenarios[0].name]
    by_delay = {cell.message_cell.network_delay_ms: cell for cell in cells}
    step = _middle(cells, scenarios[0])
    into, out = step, step + 1
    places = (
        Place("hop into the step", lambda rows, mask: measures.hop(rows, into, mask).total, 1),
        Place("of it, until delivered", lambda rows, mask: _way(rows, into, mask), 1),
        Place("hop out of the step", lambda rows, mask: measures.hop(rows, out, mask).total, 1),
        Place("of it, until delivered", lambda rows, mask: _way(rows, out, mask), 1),
        Place("execution, twice the delay", measures.uncorrected, 2),
    )
    rows = _rows(by_delay, places)
    return _check(check, rows, evidence, scenarios)


def by_start(cell: Cell, measure: Measure) -> dict[int, Floats]:
    """A measure of a cell's warm executions, by the trial they were measured in."""
    return {
        part.trial.record.index: measure(part.executions, part.judged)
        for part in cell.parts
        if part.judged.any()
    }


def _way(rows: Executions, k: int, mask: Mask) -> Floats:
    """Hop ``k`` from its emit until it is delivered.

    Not the transit alone: a sender that is set aside after its write shortens it, most where there
    is no delay.
    """
    parts = measures.hop(rows, k, mask)
    return parts.client_out + parts.transit


def _in_component(scenario: ScenarioRecord) -> bool:
    delays = {cell.api_delay_ms for cell in scenario.message_cells}
    return not scenario.faults and len(delays - {None}) > 1


def _in_network(scenario: ScenarioRecord) -> bool:
    delays = {cell.network_delay_ms for cell in scenario.message_cells}
    kinds = [fault.kind for fault in scenario.faults or ()]
    return kinds == [NETWORK_DELAY] and len(delays - {None}) > 1


def _middle(cells: Sequence[Cell], scenario: ScenarioRecord | None = None) -> int:
    """The index of the step that is delayed: the one that the fault names, else the middle one."""
    if not cells:
        return 1
    ids = cells[0].step_ids
    named = scenario.faults[0].step if scenario is not None and scenario.faults else None
    return ids.index(named) if named in ids else len(ids) // 2


def _rows(by_delay: Mapping[float | None, Cell], places: Sequence[Place]) -> list[Json]:
    """A row for each delay and place; one that was not measured is undecided."""
    return [
        _row(by_delay.get(delay_ms), by_delay.get(0.0), delay_ms, place)
        for delay_ms in DELAYS_MS
        for place in places
    ]


def _row(cell: Cell | None, baseline: Cell | None, delay_ms: float, place: Place) -> Json:
    expected_ms = place.times * delay_ms
    limit_ms = bound_ms(expected_ms)
    row: Json = {
        "label": place.label, "delay_ms": delay_ms, "expected_ms": expected_ms,
        "bound_ms": limit_ms, "recovered": None, "error": None, "recovered_mean": None,
        "verdict": str(Shown.UNDECIDED),
    }  # fmt: skip
    if cell is None or baseline is None:
        return row
    above, below = by_start(cell, place.measure), by_start(baseline, place.measure)
    figure, beside = paired(above, below, median), paired(above, below, average)
    if figure is None or beside is None:
        return row
    error = figure.minus(expected_ms)
    row |= {
        "recovered": figure.document(),
        "error": error.document(),
        "recovered_mean": beside.document(),
        "verdict": str(within(error, -limit_ms, limit_ms)),
    }
    return row


def _check(
    check: tuple[str, str],
    rows: list[Json],
    evidence: Evidence,
    scenarios: Sequence[ScenarioRecord],
) -> Check:
    verdict = all_of([Shown(row["verdict"]) for row in rows])
    measured = [row for row in rows if row["error"] is not None]
    if not measured:
        reasons = evidence.doubts([scenario.name for scenario in scenarios])
        return Check(*check, Shown.UNDECIDED, "; ".join(reasons) or "not measured", tuple(rows))
    worst = max(measured, key=lambda row: abs(row["error"]["value"]) / row["bound_ms"])
    sound = sum(row["verdict"] == Shown.SHOWN for row in rows)
    bound = f"{100 * BOUND_SHARE:g} % or within {BOUND_MS:g} ms"
    reason = (
        f"{sound} of {len(rows)} figures are within {bound}; the worst, at "
        f"{worst['delay_ms']:g} ms ({worst['label']}), is wrong by "
        f"{figure_of(worst['error']).words()}"
    )
    missing = len(rows) - len(measured)
    if missing:
        reason += f"; {missing} of {len(rows)} were not measured"
    return Check(*check, verdict, reason, tuple(rows))
