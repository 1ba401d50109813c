"""One ordinary execution and one realtime execution on one scale, the latter also magnified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from reports.render import marks, svg
from reports.render.numbers import Reading, number, observed, of_stat, quantity

WIDE, NARROW = 1000.0, 340.0


class Segment(NamedTuple):
    """A stretch of a realtime execution: waiting on a hop, or inside ``process``."""

    label: str
    kind: str
    length_ms: float
    shown: Reading


class Life(NamedTuple):
    """A container of an ordinary execution: its stages, each with the instant at which it ends."""

    step: str
    begin_ms: float
    stages: tuple[tuple[str, float], ...]

    @property
    def end_ms(self) -> float:
        """When it was gone."""
        return self.stages[-1][1]


STAGES = (
    ("create", "created, being started"),
    ("boot", "Python, imports, broker connection"),
    ("work", "handling the message"),
    ("stop", "stopping"),
)
"""Stages of an ordinary container's life, as CSS classes, and what happens in each."""


def segments(cell: Mapping[str, Any], steps: Sequence[str]) -> list[Segment]:
    """The mean parts of an execution, in order; means add up along a flow."""
    inside = {str(entry.get("id")): entry.get("process") for entry in cell.get("steps") or ()}
    hops = [hop.get("total") for hop in cell.get("hops") or ()]
    found = [("ingress", "hop", cell.get("ingress"))]
    for index, step in enumerate(steps):
        found.append((step, "process", inside.get(step)))
        found.append((f"hop {index + 1}", "hop", hops[index] if index < len(hops) else None))
    return [
        Segment(label, kind, stat["mean"], of_stat(stat))
        for label, kind, stat in found
        if stat and stat.get("mean") is not None
    ]


def lives(timeline_: Sequence[Mapping[str, Any]]) -> list[Life]:
    """The containers of an execution whose begin and end were seen, on an axis from zero."""
    found = []
    for entry in timeline_:
        begin_ms = entry.get("create_ms", entry.get("start_ms"))
        if begin_ms is None:
            begin_ms = entry.get("start_ms")
        end_ms = entry.get("end_ms")
        if begin_ms is None or end_ms is None:
            continue
        cuts = [
            (stage, float(entry[key]))
            for stage, key in (
                ("create", "start_ms"),
                ("boot", "consuming_ms"),
                ("work", "done_ms"),
            )
            if entry.get(key) is not None
        ]
        found.append(
            Life(str(entry.get("step")), float(begin_ms), (*cuts, ("stop", float(end_ms))))
        )
    return found


def timeline(
    ordinary: Sequence[Life],
    realtime: tuple[float | None, Reading],
    parts: Sequence[Segment],
    *,
    width: float,
) -> Markup:
    """Draw both; a mode that was not measured is left out, and the drawing says so.

    ``realtime`` is the mean execution, as a length and as it is shown.
    """
    realtime_ms, mean = realtime
    end_ms = max([life.end_ms for life in ordinary] + [realtime_ms or 0.0]) or 1.0
    wide = width >= 600
    left, right = (92.0 if wide else 0.0), width - (4.0 if wide else 2.0)
    scale = (right - left) / end_ms
    top = 26.0 if wide else 52.0
    low = top + (70.0 if wide else 88.0)
    drawn = _axis(end_ms, left, scale, 20.0, low + 26, 7 if wide else 3)
    drawn += [svg.text(0, top + (44 if wide else -10), "Ordinary", "t-name")]
    if not ordinary:
        drawn += [svg.text(left, top + 38, "not measured in this run", "t-soft")]
    for life in ordinary:
        drawn += _life(life, left, top, scale)
    drawn += [svg.text(0, low + (14 if wide else -8), "Realtime", "t-name")]
    height = low + 30
    if realtime_ms is None:
        drawn += [svg.text(left, low + 14, "not measured in this run", "t-soft")]
    else:
        length = max(realtime_ms * scale, 2.5)
        drawn += [
            svg.rect(left, low, length, 18, "rt", 1),
            svg.figure(left + length + 8, low + 14, mean, "t-strong", lead="mean "),
        ]
        if parts and length < (right - left) / 3:
            drawn += _magnified(parts, left, right, low + 18, length, end_ms, wide)
            height = low + (142 if wide else 104 + 18 * len(parts))
    key = "timeline-wide" if wide else "timeline-narrow"
    words = "; ".join(
        f"{life.step} took {observed(life.end_ms - life.begin_ms, 'ms').words()}"
        for life in ordinary
    )
    return svg.drawing(
        key,
        width,
        height,
        "An ordinary and a realtime execution on one scale",
        f"Ordinary: {words or 'not measured'}. Realtime: {mean.words()}.",
        drawn,
    )


def _life(life: Life, left: float, top: float, scale: float) -> list[Markup]:
    x, room = left + life.begin_ms * scale, (life.end_ms - life.begin_ms) * scale
    whole = observed(life.end_ms - life.begin_ms, "ms")
    drawn = [svg.text(x, top + 11, svg.fitted(life.step, room - 4, 13), "t-name", kind="name")]
    if svg.width_of(whole.text, 11.5) < room:
        drawn.append(svg.figure(x, top + 26, whole, "t-soft"))
    at_ms, work = life.begin_ms, []
    for stage, until_ms in life.stages:
        begin, size = left + at_ms * scale, (until_ms - at_ms) * scale
        if stage == "work":
            # Often a thousandth of the whole: over the others, and never thinner than can be seen.
            work.append(svg.rect(begin, top + 28, max(size, 2.5), 24, "stage work"))
        else:
            drawn.append(svg.rect(begin, top + 31, size, 18, f"stage {stage}"))
        at_ms = max(at_ms, until_ms)
    return drawn + work


def _magnified(
    parts: Sequence[Segment],
    left: float,
    right: float,
    top: float,
    length: float,
    end_ms: float,
    wide: bool,
) -> list[Markup]:
    """The realtime bar again, as wide as the drawing, with the lines that show it is the same."""
    whole = sum(part.length_ms for part in parts) or 1.0
    scale = (right - left) / whole
    y = top + 46
    times = number(float(f"{end_ms / whole:.2g}"))
    drawn = [
        svg.path(
            f"M{left:.1f} {top:.1f}L{left:.1f} {y:.1f}H{right:.1f}L{left + length:.1f} {top:.1f}z",
            "lens",
        ),
        svg.text(
            right, y - 8, f"the same, magnified {times} times", "t-soft", "end", kind="setting"
        ),
    ]
    x, taken = left, 0.0
    for index, part in enumerate(parts):
        size = part.length_ms * scale
        drawn.append(svg.rect(x, y, max(size - 1, 0.8), 26, f"seg {part.kind}", 1))
        shown = part.shown
        if wide:
            widths = [svg.width_of(part.label, 12), svg.width_of(shown.text, 12),
                      svg.width_of(shown.bounds, 11.5)]  # fmt: skip
            half = max(widths) / 2
            middle = min(max(x + size / 2, left + half), right - half)
            if middle - half > taken:
                drawn += [
                    svg.text(middle, y + 42, part.label, "t-small", "middle", kind="name"),
                    svg.figure(middle, y + 57, shown, "t-small", "middle", below=15),
                ]
                taken = middle + half
        else:
            base = y + 46 + index * 18
            drawn += [
                svg.rect(left, base - 9, 9, 9, f"seg {part.kind}", 1),
                svg.text(left + 14, base, svg.fitted(part.label, 110, 12), "t-small", kind="name"),
                svg.figure(right, base, shown, "t-small", "end"),
            ]
        x += size
    return drawn


def _axis(
    end_ms: float, left: float, scale: float, top: float, bottom: float, about: int
) -> list[Markup]:
    drawn: list[Markup] = []
    right = left + end_ms * scale
    for tick_ms in svg.ticks(end_ms, about):
        x = left + tick_ms * scale
        label = "0" if tick_ms == 0 else quantity(tick_ms, "ms")
        drawn.append(svg.line(x, top, x, bottom, "grid"))
        if tick_ms == 0:
            drawn.append(svg.text(x, 14, label, "t-soft", kind="tick"))
        elif x + svg.width_of(label, 11.5) / 2 > right:
            drawn.append(svg.text(right, 14, label, "t-soft", "end", kind="tick"))
        else:
            drawn.append(svg.text(x, 14, label, "t-soft", "middle", kind="tick"))
    return drawn


def caption(mean: Reading, parts: Sequence[Segment]) -> Markup:
    """Where the times of the drawing come from."""
    single, rest = marks.of(observed(0.0, "ms")), marks.rests(mean, *(p.shown for p in parts))
    return Markup(
        "One ordinary execution as it ran, the one of median duration ({}; {}). Below it a "
        "realtime execution on the same scale, then magnified: hops in the softer colour, time "
        "inside process in the stronger; means with their {} intervals{}."
    ).format(
        single, marks.note("single"), marks.CONFIDENCE,
        Markup("; they rest on {}").format(rest) if rest else "",
    )  # fmt: skip
