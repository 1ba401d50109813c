"""A drawing plane with two logarithmic axes: where a pair of values lies, and its grid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from reports.render import svg
from reports.render.numbers import number

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 30.0, 40.0


@dataclass(frozen=True, slots=True)
class Plane:
    """Of ``width`` x ``height`` pixels, ``left`` from the drawing's edge; ``across``, ``up``: ends.

    All ends are above 0, the lower one first.
    """

    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    left: float = 0.0

    def x(self, value: float) -> float:
        """Where a value of the lower axis lies; at the edge where it is beyond."""
        room = self.width - _LEFT - _RIGHT
        return self.left + _LEFT + room * _share(value, self.across)

    def y(self, value: float) -> float:
        """Where a value of the left axis lies; at the edge where it is beyond."""
        room = self.height - _TOP - _BOTTOM
        return _TOP + room * (1 - _share(value, self.up))

    @property
    def top(self) -> float:
        """Where the plane begins."""
        return _TOP

    @property
    def bottom(self) -> float:
        """Where the plane ends."""
        return self.height - _BOTTOM

    def grid(self, title: str, below: str) -> list[Markup]:
        """Lines and their ticks, the title above and what the lower axis is."""
        right = self.x(self.across[1])
        parts = []
        for value in decades(self.up, 5):
            y = self.y(value)
            parts += [
                svg.line(self.x(self.across[0]), y, right, y, "grid"),
                svg.text(
                    self.x(self.across[0]) - 7, y + 4, _tick(value), "t-soft", "end", kind="tick"
                ),
            ]
        for value in decades(self.across, 6):
            x = self.x(value)
            parts += [
                svg.line(x, self.top, x, self.bottom, "grid"),
                svg.text(x, self.bottom + 17, _tick(value), "t-soft", "middle", kind="tick"),
            ]
        parts += [
            svg.text(self.left + 4, 16, title, "t-soft"),
            svg.text(right, self.height - 5, below, "t-soft", "end"),
        ]
        return parts


def decades(ends: tuple[float, float], about: int) -> list[float]:
    """Round values between two ends: powers of ten, or 1, 2 and 5 of each where those are few."""
    low, high = math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1]))
    powers = [10.0**power for power in range(low, high + 1)]
    inside = [value for value in powers if ends[0] <= value <= ends[1]]
    if len(inside) > about:
        return inside[:: math.ceil(len(inside) / about)]
    if len(inside) >= 3:
        return inside
    fine = [factor * value for value in powers for factor in (1, 2, 5)]
    return [value for value in fine if ends[0] <= value <= ends[1]]


def around(values: Iterable[float], margin: float = 1.3) -> tuple[float, float]:
    """Ends that hold these values, all above 0, with a factor of room on both sides."""
    found = list(values)
    return min(found) / margin, max(found) * margin


def _tick(value: float) -> str:
    """A round value: 0.01, not 0.0100."""
    return f"{value:g}" if value < 1 else number(value)


def _share(value: float, ends: tuple[float, float]) -> float:
    if value <= 0:
        return 0.0
    share = math.log(value / ends[0]) / math.log(ends[1] / ends[0])
    return min(1.0, max(0.0, share))
