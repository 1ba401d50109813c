"""An agenda that learns: rounds of trials until all is precise enough, or the time is used."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.outcome import Outcome, Plan
from bench.precision import MIN_STARTS, Cell, Figure, Wish, least_trials, shared
from runtime.errors import InputError, MeasurementError
from scenarios.model import Scenario

REACHED, BUDGET, GIVEN_UP = "reached", "budget", "given up"

_START_S = 5.0
"""What a trial takes beside its schedule, before one was made."""
_REMEMBERED = 5
_CLOSING_S = 3.0
"""What removing the broker and the network takes, at the end of a run."""


class Adaptive:
    """Rounds of trials, each in random order, until all is precise enough or the time is used.

    The first rounds have one start of every cell; then come those that lack precision. Without a
    wanted precision all rounds are like the first. No trial begins that would not end in time.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        profile: str,
        seed: int,
        wish: Wish,
        run_dir: Path,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wish, self._run_dir, self._clock_s = wish, run_dir, clock_s
        self._began_s = clock_s()
        self._drawn = random.Random(seed)
        self._round: deque[Cell] = deque()
        self._index = 0
        self._looked_at = 0
        self._ended: str | None = None
        self._closing_s = _CLOSING_S
        self.cells = [
            Cell(
                scenario, containers, scenario.profiles[profile].messages,
                least=least_trials(scenario, profile, wish),
            )
            for scenario in scenarios
            for containers in scenario.start_cells()
        ]  # fmt: skip
        shortest_s = min(cell.schedule_s for cell in self.cells)
        if wish.budget_s < shortest_s:
            raise InputError(
                f"a budget of {wish.budget_s:g} s holds no trial: the shortest schedule takes "
                f"{shortest_s:.0f} s",
                remedy="Give a larger --budget; nothing was started",
            )

    @property
    def planned(self) -> int:
        """Trials made, and the rest of the round."""
        return self._index + len(self._round)

    def following(self) -> Plan | None:
        """The next trial that fits into the budget.

        Raises MeasurementError when not even the first one does.
        """
        while self._ended is None:
            while self._round:
                cell = self._round.popleft()
                if self._cost_s(cell) <= self._left_s():
                    return self._plan(cell)
            self._round.extend(self._next_round())
        if not self._index:
            raise MeasurementError(
                f"no trial fits into the budget: {self._spent_s():.0f} s of "
                f"{self._wish.budget_s:g} s went into preparing, and a trial takes about "
                f"{min(map(self._cost_s, self.cells)):.0f} s",
                remedy="Give a larger --budget",
            )
        self._look()
        return None

    def took(self, plan: Plan, outcome: Outcome, took_s: float) -> None:
        """Count a trial for its cell."""
        cell = next(
            c for c in self.cells
            if c.scenario is plan.scenario and c.containers == plan.containers
        )  # fmt: skip
        cell.made += 1
        cell.took_s.append(took_s)
        if outcome.document["status"] == "valid":
            cell.valid += 1
        elif outcome.only_late and plan.repeats is None:
            cell.late.append(plan.index)

    def reserve(self, took_s: float) -> None:
        """Keep so much time for what follows the last trial."""
        self._closing_s += took_s

    def members(self) -> Mapping[str, Any]:
        """What was asked, what was reached, and why there were no more trials."""
        asked = self._wish.precision
        return {
            "planned_trials": self.planned,
            "precision": {
                "asked": asked, "budget_s": self._wish.budget_s, "spent_s": self._spent_s(),
                "minimum_starts": MIN_STARTS if asked else 1, "ended": self._ended,
                "cells": [
                    {
                        "scenario": cell.key[0], "containers": cell.key[1], "trials": cell.made,
                        "valid": cell.valid, "given_up": cell.given_up,
                        "figures": [figure.document(asked) for figure in cell.figures],
                    }
                    for cell in self.cells
                ],
            },
        }  # fmt: skip

    def _next_round(self) -> list[Cell]:
        """The cells of the next round; none, and why it ended, when there is no more to do."""
        asked = self._wish.precision
        alive = [cell for cell in self.cells if cell.given_up is None]
        behind = [cell for cell in alive if cell.valid < cell.least]
        if asked is None or behind:
            lacking = [(cell, 1) for cell in behind or alive]
        else:
            self._look()
            for cell in alive:
                cell.judge(asked)
            lacking = [(cell, cell.lacks(asked)) for cell in alive if not cell.settled]
        if not lacking:
            self._ended = REACHED if alive == self.cells and asked else GIVEN_UP
            return []
        chosen = shared(lacking, self._left_s(), self._cost_s)
        if not chosen:
            self._ended = BUDGET
        self._drawn.shuffle(chosen)
        return chosen

    def _plan(self, cell: Cell) -> Plan:
        self._index += 1
        return Plan(
            index=self._index,
            scenario=cell.scenario,
            containers=cell.containers,
            messages=cell.messages,
            seed=self._drawn.getrandbits(31),
            repeats=cell.late.popleft() if cell.late else None,
        )

    def _look(self) -> None:
        """Have the figures computed, where trials came since the last look."""
        if self._looked_at == self._index:
            return
        self._looked_at = self._index
        by_cell: dict[tuple[str, int], list[Figure]] = {}
        for figure in self._wish.look(self._run_dir):
            by_cell.setdefault((figure.scenario, figure.containers), []).append(figure)
        for cell in self.cells:
            cell.figures = by_cell.get(cell.key, [])

    def _spent_s(self) -> float:
        return self._clock_s() - self._began_s

    def _left_s(self) -> float:
        return self._wish.budget_s - self._spent_s() - self._closing_s

    def _cost_s(self, cell: Cell) -> float:
        """How long its next trial may take: as the longest of its last ones did."""
        if cell.took_s:
            return max(cell.took_s[-_REMEMBERED:])
        beside_s = [max(c.took_s) - c.schedule_s for c in self.cells if c.took_s]
        return cell.schedule_s + max(beside_s, default=_START_S)
