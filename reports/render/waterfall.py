"""The warm-up as a waterfall: for every container, its phases one below the other on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from reports.render import marks, svg
from reports.render.numbers import Reading, of_stat, quantity

PHASES = {
    "create": ("create", "engine"),
    "start": ("start", "engine"),
    "first instruction": ("first instruction", "python"),
    "imports": ("imports", "python"),
    "connected": ("broker connected", "broker"),
    "consuming": ("consuming", "broker"),
    "first message": ("first message", "first"),
}
"""Phase as in the results: how it is called on the page, and whose time it is (a CSS class)."""
OWNERS = (
    ("engine", "container engine"),
    ("python", "Python and imports"),
    ("broker", "broker connection"),
    ("first", "first message"),
)
WIDE, NARROW = 1000.0, 340.0
_ROW, _HEAD = 19.0, 30.0


class Bar(NamedTuple):
    """One phase of one step, on the flow's own time axis."""

    step: str
    phase: str
    from_ms: float
    to_ms: float
    took: Reading
    ready: Reading

    @property
    def label(self) -> str:
        """The phase's name on the page."""
        return PHASES.get(self.phase, (self.phase, ""))[0]

    @property
    def owner(self) -> str:
        """The CSS class of whoever takes this time."""
        return PHASES.get(self.phase, ("", "other"))[1] or "other"


def bars(phases: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """The phases whose both ends were seen, in order."""
    found = []
    for phase in phases:
        start = (phase.get("from_ms") or {}).get("mean")
        end = (phase.get("to_ms") or {}).get("mean")
        if start is not None and end is not None:
            found.append(
                Bar(
                    str(phase.get("step")), str(phase.get("phase")), start, end,
                    of_stat(phase.get("took_ms")), of_stat(phase.get("to_ms")),
                )
            )  # fmt: skip
    return found


def waterfall(warm_up: Mapping[str, Any], *, width: float) -> Markup:
    """Draw it ``width`` pixels wide. The names of the phases take a third of a narrow one."""
    drawn = bars(warm_up.get("phases") or ())
    wide = width >= 600
    # On a narrow one a bar is as wide as the drawing, and its words stand above it.
    left, right = (150.0, width - 210.0) if wide else (0.0, width - 4.0)
    total_ms = (warm_up.get("total") or {}).get("mean")
    end_ms = max([bar.to_ms for bar in drawn] + ([total_ms] if total_ms else [])) or 1.0
    scale = (right - left) / end_ms
    steps = list(dict.fromkeys(bar.step for bar in drawn))
    rows: list[Markup] = []
    y = 26.0
    for index, step in enumerate(steps):
        own = [bar for bar in drawn if bar.step == step]
        y += 6 if index else 0
        ready = max(own, key=lambda bar: bar.to_ms).ready
        rows += [
            svg.text(0, y + 18, svg.fitted(step, width - 230, 14), "t-name", kind="name"),
            svg.figure(width, y + 18, ready, "t-soft", "end", lead="after "),
            svg.line(0, y + 26, width, y + 26, "rule"),
        ]
        y += _HEAD
        for bar in own:
            rows += _row(bar, y, left, scale) if wide else _tall_row(bar, y, scale, width)
            y += _ROW if wide else 2 * _ROW
    axis = _axis(end_ms, left, scale, y + 4, 6 if wide else 3)
    key = "waterfall-wide" if wide else "waterfall-narrow"
    total = of_stat(warm_up.get("total"))
    words = f"From start to the first message: {total.words()}. " + "; ".join(
        f"{bar.step} {bar.label} {bar.took.words()}" for bar in drawn
    )
    return svg.drawing(key, width, y + 8, "Warm-up of every container", words, [*axis, *rows])


def _row(bar: Bar, y: float, left: float, scale: float) -> list[Markup]:
    x, length = left + bar.from_ms * scale, (bar.to_ms - bar.from_ms) * scale
    return [
        svg.text(14, y + 13, svg.fitted(bar.label, left - 4, 12), "t-small"),
        svg.rect(x, y + 3, max(length, 2.0), 12, f"phase {bar.owner}", 2),
        svg.figure(x + max(length, 2.0) + 5, y + 13, bar.took, "t-small"),
    ]


def _tall_row(bar: Bar, y: float, scale: float, width: float) -> list[Markup]:
    x, length = bar.from_ms * scale, (bar.to_ms - bar.from_ms) * scale
    return [
        svg.text(0, y + 15, svg.fitted(bar.label, 130, 12), "t-small"),
        svg.figure(width, y + 15, bar.took, "t-small", "end"),
        svg.rect(x, y + 21, max(length, 2.0), 10, f"phase {bar.owner}", 2),
    ]


def caption(warm_up: Mapping[str, Any]) -> Markup:
    """Where the times of the drawing come from."""
    drawn = bars(warm_up.get("phases") or ())
    shown = [reading for bar in drawn for reading in (bar.took, bar.ready)]
    return Markup(
        "Means from the start of the flow, with their {} intervals; they rest on {}. The "
        "containers start in parallel. Building or pulling images is not part of it."
    ).format(marks.CONFIDENCE, marks.rests(*shown))


def _axis(end_ms: float, left: float, scale: float, bottom: float, about: int) -> list[Markup]:
    drawn: list[Markup] = []
    for tick_ms in svg.ticks(end_ms, about):
        x = left + tick_ms * scale
        label = "0" if tick_ms == 0 else quantity(tick_ms, "ms")
        drawn += [
            svg.line(x, 20, x, bottom, "grid"),
            svg.text(x, 12, label, "t-soft", "start" if x < 8 else "middle", kind="tick"),
        ]
    return drawn
