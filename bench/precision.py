"""How many more trials a cell needs for the precision that is wanted, and who gets the time left.

A rule that looks at an interval after every trial and stops at the first one that is narrow enough
stops too often by luck, and its intervals cover less than they say (Chow and Robbins, 1965, have
the limit; A. Law, "Simulation Modeling and Analysis", 9.4.1, the small numbers). So there are at
least five starts, a quarter more between two looks, and two looks in a row that agree;
docs/decisions/0015 has what that comes to.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from runtime.model import FlowType
from runtime.quantities import Quantity
from scenarios.model import Scenario

MIN_STARTS = 5
LEAST_GROWTH = 1.25
MOST_GROWTH = 1.5
"""Between two looks a cell's trials grow by at least a quarter and at most a half."""
DEFAULT_BUDGET_S = 600.0
"""What a precision may cost where no budget was given."""
HOPELESS = 3
"""A cell is given up when so many trials of it cannot be used, and more than those that can."""

PRECISION = Quantity("precision", "of the value", {"%": Fraction(1, 100)}, "5%")
TIME = Quantity(
    "time budget", "seconds",
    {"s": Fraction(1), "m": Fraction(60), "min": Fraction(60), "h": Fraction(3600)}, "5m",
)  # fmt: skip


class Figure(Protocol):
    """What is known of a figure that is wanted; who measures need not know how it is made."""

    @property
    def scenario(self) -> str:
        """Name of its scenario."""

    @property
    def containers(self) -> int:
        """How many steps the flow has: with the scenario, the start-level cell."""

    @property
    def half_width(self) -> float | None:
        """Half its interval over its value; None where there is no interval."""

    def needed_trials(self, asked: float) -> int | None:
        """Trials at which the half width would be as asked; None where nothing is known."""

    def document(self, asked: float | None) -> dict[str, Any]:
        """The figure as run.json has it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How precisely, and for how long at most. ``look`` gives the figures of a run directory.

    With no precision, as many trials are made as the budget holds.
    """

    precision: float | None
    budget_s: float
    look: Callable[[Path], Sequence[Figure]]


@dataclass(slots=True)
class Cell:
    """A start-level cell: its trials until now, and what they say."""

    scenario: Scenario
    containers: int | None
    messages: int
    least: int
    made: int = 0
    valid: int = 0
    took_s: list[float] = field(default_factory=list)
    late: deque[int] = field(default_factory=deque)
    figures: list[Figure] = field(default_factory=list)
    within_at: int | None = None
    settled: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Scenario and number of steps, by which figures name it."""
        return self.scenario.name, self.containers or len(self.scenario.steps)

    @property
    def given_up(self) -> str | None:
        """Why no more trials of it are made, None while they are."""
        unusable = self.made - self.valid
        if unusable >= HOPELESS and unusable > self.valid:
            return f"{unusable} of {self.made} trials cannot be used"
        return None

    @property
    def schedule_s(self) -> float:
        """How long its load takes on average."""
        load = self.scenario.load
        gaps_s = (1 / load.rate_hz + one.delay_ms / 1e3 for one in self.scenario.message_cells())
        return self.messages * sum(gaps_s)

    @property
    def width(self) -> float:
        """The half width of its least known figure; infinite where one has none."""
        widths = [math.inf if f.half_width is None else f.half_width for f in self.figures]
        return max(widths, default=math.inf)

    def judge(self, asked: float) -> None:
        """Settle it when two looks, far enough apart, found all its figures precise enough."""
        if self.width > asked:
            self.within_at = None
        elif self.within_at is None:
            self.within_at = self.valid
        elif self.valid >= math.ceil(LEAST_GROWTH * self.within_at):
            self.settled = True

    def lacks(self, asked: float) -> int:
        """Trials to make before the next look at it."""
        if self.valid < self.least:
            return self.least - self.valid
        if self.within_at is not None:
            wanted = math.ceil(LEAST_GROWTH * self.within_at)
        else:
            low, high = (math.ceil(by * self.valid) for by in (LEAST_GROWTH, MOST_GROWTH))
            needed = [figure.needed_trials(asked) or low for figure in self.figures]
            wanted = min(max(low, *needed, 0), high)
        return max(1, wanted - self.valid)


def shared(
    lacking: Sequence[tuple[Cell, int]], left_s: float, cost_s: Callable[[Cell], float]
) -> list[Cell]:
    """Which cells get the time that is left: always the one whose interval will be the widest.

    Each gets at most what it lacks. An interval shrinks with the square root of the trials.
    """
    waiting = [(-cell.width, 0, order) for order, (cell, _) in enumerate(lacking)]
    heapq.heapify(waiting)
    chosen: list[Cell] = []
    while waiting:
        _, got, order = heapq.heappop(waiting)
        cell, lacks = lacking[order]
        left_s -= cost_s(cell)
        if left_s < 0:
            left_s += cost_s(cell)
            continue
        chosen.append(cell)
        got += 1
        if got < lacks:
            shrunk = cell.width * math.sqrt(max(1, cell.valid) / (max(1, cell.valid) + got))
            heapq.heappush(waiting, (-shrunk, got, order))
    return chosen


def least_trials(scenario: Scenario, profile: str, wish: Wish) -> int:
    """Trials of a cell before its interval is looked at: the profile's, and five starts at least.

    Each execution of an ordinary flow is a start of its own. Where no precision is asked for, one.
    """
    if wish.precision is None:
        return 1
    amount = scenario.profiles[profile]
    each = 1
    if scenario.flow_type is FlowType.ORDINARY:
        each = amount.messages * len(scenario.message_cells())
    return max(amount.starts, math.ceil(MIN_STARTS / each))
