"""Figures whose precision a test decides, and starts that differ as much as a test wants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from bench.precision import Cell


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a cell that was measured in ``trials`` trials."""

    scenario: str
    containers: int
    half_width: float | None
    trials: int

    def needed_trials(self, asked: float) -> int | None:
        """As the square root of the trials has it."""
        if self.half_width is None:
            return None
        return max(1, math.ceil(self.trials * (self.half_width / asked) ** 2))

    def document(self, asked: float | None) -> dict[str, Any]:
        """What was asked, so that a test sees it arrive."""
        return {"half_width": self.half_width, "asked": asked}


def figures_of(cell: Cell, half_width: float | None) -> list[Figure]:
    """The one figure of a cell, of this precision."""
    return [Figure(*cell.key, half_width, cell.valid)]


def interval(starts: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of starts and its 95 % interval by Student, on the logarithm (Gauss's propagation)."""
    n, mean = starts.size, float(starts.mean())
    spread = float(starts.std(ddof=1)) / mean / math.sqrt(n) * float(special.stdtrit(n - 1, 0.975))
    return mean, mean * math.exp(-spread), mean * math.exp(spread)
