"""What a message costs in both modes, over the arrival rate: small multiples, one a resource."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.render import svg
from reports.render.loglog import Plane, around
from reports.render.numbers import Reading, of_value
from reports.render.views import Results

LABELS = {
    "container_seconds": "Container-seconds",
    "cpu_seconds": "CPU-seconds",
    "mb_seconds": "Memory (MB-seconds)",
}
WIDE, NARROW = 1000.0, 340.0
_HEIGHT = 270.0
_POINTS = 40
_BEYOND = 30.0
"""The curves are drawn from so far below the lowest break-even rate to so far above the highest."""


def balance(results: Results, *, width: float) -> Markup | str:
    """The curves of every resource with figures; empty where there is none."""
    rows = [row for row in results.get("break_even") or () if _cost(row)]
    if not rows:
        return ""
    rates = [row["per_minute"]["value"] for row in rows if row.get("per_minute")]
    across = around(rates or [1.0], _BEYOND)
    beside = len(rows) if width > NARROW else 1
    room = width / beside
    height = _HEIGHT * math.ceil(len(rows) / beside)
    parts: list[Markup] = []
    for index, row in enumerate(rows):
        column, line = index % beside, index // beside
        panel = _panel(row, room, across, left=column * room)
        parts.append(svg.element("g", *panel, transform=f"translate(0 {line * _HEIGHT:.0f})"))
    return svg.drawing(
        f"balance-{'wide' if width > NARROW else 'narrow'}", width, height,
        "Cost of a message by arrival rate",
        "For each resource, an ordinary message costs the same at every rate, and a realtime one "
        "less the more arrive; where the lines cross, they cost the same.",
        parts,
    )  # fmt: skip


def _cost(row: Mapping[str, Any]) -> bool:
    """Whether a resource can be drawn: an ordinary message and an idle second, both above 0."""
    return all((row.get(key) or {}).get("value", 0) > 0 for key in ("ordinary", "idle_per_second"))


def _panel(
    row: Mapping[str, Any], width: float, across: tuple[float, float], *, left: float
) -> list[Markup]:
    ordinary, idle = (row[key]["value"] for key in ("ordinary", "idle_per_second"))
    work = max(0.0, (row.get("work") or {}).get("value") or 0.0)
    step = math.log(across[1] / across[0]) / _POINTS
    rates = [across[0] * math.exp(step * index) for index in range(_POINTS + 1)]
    realtime = [(rate, work + 60 * idle / rate) for rate in rates]
    up = around([ordinary, *(cost for _, cost in realtime)])
    plane = Plane(width, _HEIGHT, across, up, left)
    kind = str(row.get("resource"))
    parts = plane.grid(f"{LABELS.get(kind, kind)} a message", "messages a minute")
    shown = of_value(row.get("per_minute"))
    even = row.get("per_minute")
    if even and even.get("low") and even.get("high"):
        low, high = plane.x(even["low"]), plane.x(even["high"])
        parts.append(
            svg.rect(low, plane.top, max(high - low, 1.0), plane.bottom - plane.top, "even-band")
        )
    parts += [
        svg.path(_curve(plane, [(rate, ordinary) for rate in (rates[0], rates[-1])]), "cost first"),
        svg.path(_curve(plane, realtime), "cost broker"),
    ]
    if even:
        parts += _crossing(plane, even["value"], ordinary, shown)
    return parts


def _crossing(plane: Plane, rate: float, cost: float, shown: Reading) -> list[Markup]:
    """The rate at which both cost the same: a dot, a line down, and the figure beside it."""
    x, y = plane.x(rate), plane.y(cost)
    inner = 2 * x < plane.x(plane.across[0]) + plane.x(plane.across[1])
    beside, anchor = (7.0, "start") if inner else (-7.0, "end")
    return [
        svg.line(x, plane.top, x, plane.bottom, "even"),
        svg.rect(x - 4, y - 4, 8, 8, "phase first", 4),
        svg.figure(x + beside, plane.top + 14, shown, "t-strong", anchor, below=16),
    ]


def _curve(plane: Plane, points: Sequence[tuple[float, float]]) -> str:
    placed = [f"{plane.x(rate):.1f} {plane.y(cost):.1f}" for rate, cost in points]
    return f"M{' L'.join(placed)}"
