"""What ``results.json`` says of additivity: figures, and the words add up, do not, undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reports.additivity import (
    MARGIN,
    Growth,
    HopCost,
    PositionCost,
    Start,
    compare_hops,
    compare_lengths,
    compare_positions,
    starts_of,
)
from reports.cell_figures import single
from reports.cells import Cell, Part
from reports.per_start import Agreement, in_words, over_starts
from reports.stats import Bootstrap

ADD, DO_NOT, OPEN = "add up", "do not add up", "undecided"
_WORDS = {Agreement.ALIKE: ADD, Agreement.DEVIATES: DO_NOT, Agreement.UNDECIDED: OPEN}

Json = dict[str, Any]


def additivity(cells: Sequence[Cell], bootstrap: Bootstrap) -> Json | None:
    """Additivity of a realtime scenario's cells, and over its lengths; None without two hops."""
    even = _undelayed(cells)
    tables = [(cell, starts_of(cell)) for cell in even]
    comparisons = sum(cell.containers - 1 for cell in even if cell.containers > 2)
    by_length: dict[int, list[Start]] = {}
    # Sizes and API times change hops, so lengths are compared where neither is varied.
    alone = len({(c.message_cell.payload_bytes, c.message_cell.api_delay_ms) for c in even}) == 1
    for cell, starts in tables if alone else ():
        by_length.setdefault(cell.containers, []).extend(starts)
    positions = compare_positions(by_length, bootstrap)
    growth = compare_lengths(by_length, bootstrap)
    found = [_cell(cell, starts, positions, comparisons, bootstrap) for cell, starts in tables]
    own = [one for one in found if one is not None]
    if not own and growth is None:
        return None
    return {
        "margin": MARGIN,
        "cells": own,
        "positions": [
            {
                "position": where,
                "ratio": single(cost.ratio, "x"),
                "verdict": cost.agreement.value,
            }
            for where, cost in positions.items()
        ],
        "lengths": None if growth is None else _lengths(growth),
        **_whole(own, positions, growth),
    }


def _undelayed(cells: Sequence[Cell]) -> list[Cell]:
    """The cells without an injected delay, those that differ only in whom it would delay as one.

    A step that is made slow on purpose says nothing about hops.
    """
    found: dict[tuple[int, int, float | None], list[Cell]] = {}
    for cell in cells:
        if not cell.message_cell.injected_delay_ms:
            of = cell.message_cell
            key = (cell.containers, of.payload_bytes, of.api_delay_ms)
            found.setdefault(key, []).append(cell)
    return [_merged(alike) for alike in found.values()]


def _merged(cells: Sequence[Cell]) -> Cell:
    parts: dict[int, Part] = {}
    for part in (part for cell in cells for part in cell.parts):
        index = part.trial.record.index
        known = parts.get(index, part)
        parts[index] = replace(part, judged=part.judged | known.judged, cold=part.cold | known.cold)
    message_cell = replace(cells[0].message_cell, delayed_step=None, injected_delay_ms=None)
    return replace(cells[0], message_cell=message_cell, parts=tuple(parts.values()))


def _cell(
    cell: Cell,
    starts: list[Start],
    positions: Mapping[str, PositionCost],
    comparisons: int,
    bootstrap: Bootstrap,
) -> Json | None:
    costs = compare_hops(starts, bootstrap, comparisons=comparisons)
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
    costs: Sequence[HopCost], step_ids: Sequence[str], positions: Mapping[str, PositionCost]
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
            f"hop {_named(slow, step_ids)}: it takes {in_words(single(slow.ratio, 'x'))} the "
            "other; of two hops it cannot be told whether its position explains it"
        )
    parts = []
    for cost in apart:
        shown = in_words(single(cost.ratio, "x"))
        parts.append(
            f"hop {_named(cost, step_ids)} takes {shown} the others; "
            f"{_explained(cost, positions.get(cost.position))}"
        )
    return DO_NOT, ". ".join(parts)


def _named(cost: HopCost, step_ids: Sequence[str]) -> str:
    return f"{step_ids[cost.index]} → {step_ids[cost.index + 1]}"


def _explained(cost: HopCost, position: PositionCost | None) -> str:
    """Whether hops of its position deviate in the same direction wherever they were measured."""
    if position is None or position.ratio is None or cost.ratio is None:
        return "there is no other flow to tell its position by"
    where = _of_position(position)
    same = (position.ratio.value > 1) == (cost.ratio.value > 1)
    if position.agreement is Agreement.DEVIATES and same:
        return f"its position explains it: {where}"
    if position.agreement is Agreement.ALIKE:
        return f"its position does not explain it: {where}"
    return f"whether its position explains it is open: {where}"


def _of_position(cost: PositionCost) -> str:
    shown = in_words(single(cost.ratio, "x"))
    return f"{cost.position} hops take {shown} the other hops"


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
    change = in_words(single(growth.change, "x"))
    text = f"the cost of a hop becomes {change} between {shortest} and {longest} containers"
    if growth.agreement is Agreement.ALIKE:
        return f"{text}: it stays the same within {MARGIN:.0%}, at every length"
    apart = [cost for cost in growth.lengths if cost.agreement is Agreement.DEVIATES]
    parts = [
        f"with {cost.containers} containers a hop costs "
        f"{in_words(single(cost.ratio, 'x'))} what it does at the other lengths"
        for cost in apart
    ]
    if growth.agreement is Agreement.UNDECIDED:
        parts.append(f"the intervals do not tell whether it stays within {MARGIN:.0%}")
    return "; ".join([text, *parts])


def _whole(
    cells: Sequence[Json], positions: Mapping[str, PositionCost], growth: Growth | None
) -> Json:
    """One verdict and its words for the scenario: over lengths where there are several."""
    apart = [cell for cell in cells if cell["verdict"] == DO_NOT]
    odd = [cost for cost in positions.values() if cost.agreement is Agreement.DEVIATES]
    causes = [
        *(_of_position(cost) for cost in odd),
        *(f"{cell['name']}: {cell['words']}" if len(cells) > 1 else cell["words"]
          for cell in apart),
    ]  # fmt: skip
    if growth is not None:
        return {
            "verdict": _WORDS[growth.agreement],
            "words": "; ".join([_of_growth(growth), *causes]),
        }
    if causes:
        return {"verdict": DO_NOT, "words": "; ".join(causes)}
    verdict = ADD if all(cell["verdict"] == ADD for cell in cells) else OPEN
    return {
        "verdict": verdict,
        "words": next(cell["words"] for cell in cells if cell["verdict"] == verdict),
    }
