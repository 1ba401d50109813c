"""What ``results.json`` says of additivity: figures, and the words add up, do not, undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.additivity import (
    MARGIN,
    Growth,
    HopCost,
    Start,
    compare_hops,
    compare_lengths,
    compare_positions,
    starts_of,
)
from reports.cell_figures import single
from reports.cells import Cell
from reports.per_start import Agreement, agreement, in_words, over_starts
from reports.stats import Bootstrap, Estimate

ADD, DO_NOT, OPEN = "add up", "do not add up", "undecided"
_WORDS = {Agreement.ALIKE: ADD, Agreement.DEVIATES: DO_NOT, Agreement.UNDECIDED: OPEN}

Json = dict[str, Any]


def additivity(cells: Sequence[Cell], bootstrap: Bootstrap) -> Json | None:
    """Additivity of a realtime scenario's cells, and over its lengths; None without two hops."""
    tables = [(cell, starts_of(cell)) for cell in cells]
    by_length: dict[int, list[Start]] = {}
    # Delays and sizes change hops, so lengths are compared where nothing else is varied.
    for cell, starts in tables:
        if cell.alone:
            by_length.setdefault(cell.containers, []).extend(starts)
    positions = compare_positions(by_length, bootstrap)
    growth = compare_lengths(by_length, bootstrap)
    found = [_cell(cell, starts, positions, bootstrap) for cell, starts in tables]
    own = [one for one in found if one is not None]
    if not own and growth is None:
        return None
    return {
        "margin": MARGIN,
        "cells": own,
        "positions": [
            {"position": where, "ratio": single(ratio, "x")} for where, ratio in positions.items()
        ],
        "lengths": None if growth is None else _lengths(growth),
        **_whole(own, growth),
    }


def _cell(
    cell: Cell, starts: list[Start], positions: Mapping[str, Estimate], bootstrap: Bootstrap
) -> Json | None:
    costs = compare_hops(starts, bootstrap)
    if not costs:
        return None
    messages = sum(start.messages for start in starts)
    verdict, words = _of_hops(costs, cell.step_ids, positions)
    return {
        "name": cell.name(),
        "containers": cell.containers,
        "overhead": single(
            over_starts([start.overhead_ms for start in starts], messages, bootstrap), "ms"
        ),
        "mean_hop": single(
            over_starts([float(s.hops_ms.mean()) for s in starts], messages, bootstrap), "ms"
        ),
        "hops": [
            {
                "from": cell.step_ids[cost.index],
                "to": cell.step_ids[cost.index + 1],
                "position": cost.position,
                "mean": single(cost.mean_ms, "ms"),
                "ratio": single(cost.ratio, "x"),
                "verdict": cost.agreement.value,
            }
            for cost in costs
        ],
        "verdict": verdict,
        "words": words,
    }


def _of_hops(
    costs: Sequence[HopCost], step_ids: Sequence[str], positions: Mapping[str, Estimate]
) -> tuple[str, str]:
    apart = [cost for cost in costs if cost.agreement is Agreement.DEVIATES]
    if not apart:
        if all(cost.agreement is Agreement.ALIKE for cost in costs):
            return ADD, f"every hop costs what the others do, within {MARGIN:.0%}"
        return OPEN, (
            f"no hop is shown to differ from the others by more than {MARGIN:.0%}, and not every "
            "one is shown to be within it"
        )
    if len(costs) == 2:
        slow = max(costs, key=lambda cost: cost.ratio.value if cost.ratio else 0.0)
        return DO_NOT, (
            f"hop {_named(slow, step_ids)}: it takes {in_words(single(slow.ratio, 'x') or {})} "
            "times the other; of two hops it cannot be told whether its position explains it"
        )
    parts = []
    for cost in apart:
        shown = in_words(single(cost.ratio, "x") or {})
        parts.append(
            f"hop {_named(cost, step_ids)} takes {shown} times the others; "
            f"{_explained(cost, positions.get(cost.position))}"
        )
    return DO_NOT, ". ".join(parts)


def _named(cost: HopCost, step_ids: Sequence[str]) -> str:
    return f"{step_ids[cost.index]} → {step_ids[cost.index + 1]}"


def _explained(cost: HopCost, ratio: Estimate | None) -> str:
    """Whether hops of its position deviate in the same direction wherever they were measured."""
    if ratio is None or cost.ratio is None:
        return "there is no other flow to tell its position by"
    found = agreement(ratio, expected=1.0, low=1 / (1 + MARGIN), high=1 + MARGIN)
    shown = in_words(single(ratio, "x") or {})
    where = f"{cost.position} hops take {shown} times the other hops"
    if found is Agreement.DEVIATES and (ratio.value > 1) == (cost.ratio.value > 1):
        return f"its position explains it: {where}"
    if found is Agreement.ALIKE:
        return f"its position does not explain it: {where}"
    return f"whether its position explains it is open: {where}"


def _lengths(growth: Growth) -> Json:
    return {
        "points": [
            {
                "containers": cost.containers,
                "overhead": single(cost.overhead_ms, "ms"),
                "per_hop": single(cost.per_hop_ms, "ms"),
                "ratio": single(cost.ratio, "x"),
                "verdict": cost.agreement.value,
            }
            for cost in growth.lengths
        ],
        "slope": single(growth.slope_ms, "ms"),
        "intercept": single(growth.intercept_ms, "ms"),
        "change": single(growth.change, "x"),
        "verdict": _WORDS[growth.agreement],
        "words": _of_growth(growth),
    }


def _of_growth(growth: Growth) -> str:
    shortest, longest = growth.lengths[0].containers, growth.lengths[-1].containers
    change = in_words(single(growth.change, "x") or {}) if growth.change else "not known how many"
    text = f"from {shortest} to {longest} containers the cost of a hop becomes {change} times"
    if growth.agreement is Agreement.ALIKE:
        return f"{text}: it stays the same within {MARGIN:.0%}, at every length"
    apart = [cost for cost in growth.lengths if cost.agreement is Agreement.DEVIATES]
    parts = [
        f"with {cost.containers} containers a hop costs "
        f"{in_words(single(cost.ratio, 'x') or {})} times what it does at the other lengths"
        for cost in apart
    ]
    if growth.agreement is Agreement.UNDECIDED:
        parts.append(f"the intervals do not tell whether it stays within {MARGIN:.0%}")
    return "; ".join([text, *parts])


def _whole(cells: Sequence[Json], growth: Growth | None) -> Json:
    """One verdict and its words for the scenario: over lengths where there are several."""
    apart = [cell for cell in cells if cell["verdict"] == DO_NOT]
    hops = "; ".join(f"{cell['name']}: {cell['words']}" for cell in apart)
    if growth is not None:
        verdict = _WORDS[growth.agreement]
        words = _of_growth(growth)
        if apart:
            lead = "the hops of one flow differ" if verdict == ADD else "where"
            words += f"; {lead}: {hops}"
        return {"verdict": verdict, "words": words}
    if apart:
        return {"verdict": DO_NOT, "words": apart[0]["words"] if len(cells) == 1 else hops}
    if all(cell["verdict"] == ADD for cell in cells):
        return {"verdict": ADD, "words": cells[0]["words"]}
    return {"verdict": OPEN, "words": next(c["words"] for c in cells if c["verdict"] == OPEN)}
