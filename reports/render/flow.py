"""The flow as a drawing: a box per container, a queue between two, each hop's time on its arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.render import marks, svg
from reports.render.numbers import Reading, of_stat

PARTS = (
    ("client_out", "client-out", "part-out"),
    ("transit", "transit", "part-transit"),
    ("client_in", "client-in", "part-in"),
)
WIDE, NARROW = 1000.0, 340.0
_BOX_HIGH = 92.0
_ENTRY = 112.0
_AXIS = 28.0
"""Where the arrows of the narrow drawing run."""


def wide(cell: Mapping[str, Any], steps: list[str], noun: str) -> Markup:
    """The flow from left to right, for at most three steps."""
    count = len(steps)
    box = 150.0
    gap = min(290.0, (WIDE - 1 - _ENTRY - count * box) / max(count - 1, 1))
    top = 66.0
    middle = top + _BOX_HIGH / 2 - 8
    left = [_ENTRY + index * (box + gap) for index in range(count)]
    parts = [*_entry(cell, middle)]
    for index, step in enumerate(steps):
        parts += _box(cell, index, step, left[index], top, box, noun)
    for index, hop in enumerate(_hops(cell, count)):
        parts += _hop_right(hop, left[index] + box, left[index + 1], middle)
    end = left[-1] + box
    low = 256.0
    parts += _bracket(cell, 8.0, end, low)
    return svg.drawing("flow-wide", WIDE, low + 32, *_words(cell, steps), parts)


def narrow(cell: Mapping[str, Any], steps: list[str], noun: str) -> Markup:
    """The flow from top to bottom, for any number of steps and for small screens."""
    gap, high = 146.0, 66.0
    top = 52.0
    parts = [
        svg.text(0, 14, "from the load generator", "t-soft"),
        svg.figure(_AXIS + 14, 38, of_stat(cell.get("ingress")), "t-small", lead="ingress "),
        *_arrow_down(_AXIS, 22, top),
    ]
    hops = _hops(cell, len(steps))
    for index, step in enumerate(steps):
        y = top + index * (high + gap)
        parts += _box(cell, index, step, 1, y, NARROW - 2, noun, high)
        if index < len(hops):
            parts += _hop_down(hops[index], y + high, y + high + gap)
    bottom = top + len(steps) * high + (len(steps) - 1) * gap
    total = of_stat(cell.get("end_to_end"))
    parts += [
        svg.figure(0, bottom + 30, total, "t-strong", lead="Whole execution, mean ", below=18),
    ]
    return svg.drawing("flow-narrow", NARROW, bottom + 56, *_words(cell, steps), parts)


def _words(cell: Mapping[str, Any], steps: list[str]) -> tuple[str, str]:
    hops = "; ".join(
        f"{hop.get('from')} to {hop.get('to')}: mean {of_stat(hop.get('total')).words()}"
        for hop in cell.get("hops") or ()
    )
    return f"The flow: {', '.join(steps)}", f"Hops: {hops}" if hops else "No hop was measured."


def _hops(cell: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    hops = list(cell.get("hops") or ())[: count - 1]
    return hops + [{}] * (count - 1 - len(hops))


def _box(
    cell: Mapping[str, Any],
    index: int,
    step: str,
    x: float,
    y: float,
    width: float,
    noun: str,
    high: float = _BOX_HIGH,
) -> list[Markup]:
    process = _process(cell, step)
    tall = high == _BOX_HIGH
    name = svg.fitted(step, width - 28, 15)
    return [
        svg.rect(x, y, width, high, "box", 8),
        svg.text(x + 14, y + (22 if tall else 19), f"{noun} {index + 1}", "t-soft", kind="name"),
        svg.text(x + 14, y + (43 if tall else 38), name, "t-name", kind="name"),
        svg.figure(
            x + 14,
            y + (65 if tall else 56),
            process,
            "t-small",
            lead="process ",
            below=16 if tall else 0,
        ),
    ]


def _process(cell: Mapping[str, Any], step: str) -> Reading:
    own = [entry.get("process") for entry in cell.get("steps") or () if entry.get("id") == step]
    return of_stat(own[0] if own else None)


def _entry(cell: Mapping[str, Any], y: float) -> list[Markup]:
    return [
        svg.text(0, y - 20, "load generator", "t-soft"),
        svg.element("circle", cx=8, cy=y, r=5, class_="dot"),
        svg.line(13, y, _ENTRY - 9, y, "wire"),
        _head_right(_ENTRY - 2, y),
        svg.text(0, y + 26, "ingress", "t-soft"),
        svg.figure(0, y + 42, of_stat(cell.get("ingress")), "t-small", below=15),
    ]


def _hop_right(hop: Mapping[str, Any], x1: float, x2: float, y: float) -> list[Markup]:
    total = of_stat(hop.get("total"))
    centre, left, room = (x1 + x2) / 2, x1 + 14, x2 - x1 - 30
    return [
        svg.text(centre, y - 84, "mean", "t-soft", "middle"),
        svg.figure(centre, y - 62, total, "t-figure", "middle", below=18),
        svg.line(x1, y, x2 - 9, y, "wire"),
        _head_right(x2 - 2, y),
        *_queue(centre, y),
        *_bar(hop, left, y + 36, room),
        *_legend(hop, left, y + 67, room, below=14),
    ]


def _hop_down(hop: Mapping[str, Any], y1: float, y2: float) -> list[Markup]:
    total = of_stat(hop.get("total"))
    left, room = 70.0, NARROW - 72
    middle = (y1 + y2) / 2
    return [
        *_arrow_down(_AXIS, y1, y2),
        *_queue(_AXIS, middle - 4),
        svg.figure(left, y1 + 28, total, "t-figure", below=18),
        *_bar(hop, left, y1 + 60, room),
        *_legend(hop, left, y1 + 90, room),
    ]


def _bar(hop: Mapping[str, Any], x: float, y: float, width: float) -> list[Markup]:
    means = [(hop.get(key) or {}).get("mean") for key, _, _ in PARTS]
    known = [float(mean) for mean in means if mean is not None and mean >= 0]
    if len(known) < len(PARTS) or not sum(known):
        return []
    drawn: list[Markup] = []
    for mean, (_, _, class_) in zip(known, PARTS, strict=True):
        share = width * mean / sum(known)
        drawn.append(svg.rect(x, y, max(share - 1.5, 1.0), 9, class_, 1.5))
        x += share
    return drawn


def _legend(
    hop: Mapping[str, Any], x: float, y: float, width: float, below: float = 0.0
) -> list[Markup]:
    drawn: list[Markup] = []
    for row, (key, label, class_) in enumerate(PARTS):
        base = y + row * (17 + below)
        drawn += [
            svg.rect(x, base - 8, 8, 8, class_, 1.5),
            svg.text(x + 14, base, label, "t-small"),
            svg.figure(x + width, base, of_stat(hop.get(key)), "t-small", "end", below=below),
        ]
    return drawn


def _bracket(cell: Mapping[str, Any], x1: float, x2: float, y: float) -> list[Markup]:
    total = of_stat(cell.get("end_to_end"))
    lead = "whole execution, mean "
    half = svg.width_of(f"{lead}{total.text} ({total.bounds})", 14) / 2 + 6
    centre = (x1 + x2) / 2
    return [
        svg.path(f"M{x1:.0f} {y + 6:.0f}v14H{centre - half:.0f}", "wire thin"),
        svg.path(f"M{x2:.0f} {y + 6:.0f}v14H{centre + half:.0f}", "wire thin"),
        svg.figure(centre, y + 25, total, "t-strong", "middle", lead=lead),
    ]


def _queue(x: float, y: float) -> list[Markup]:
    """A cylinder on its side with three messages in it: the usual sign for a queue."""
    return [
        svg.path(f"M{x - 22:.1f} {y - 11:.1f}h40a5 11 0 0 1 0 22h-40a5 11 0 0 1 0 -22z", "queue"),
        svg.path(f"M{x + 18:.1f} {y - 11:.1f}a5 11 0 0 0 0 22", "queue-lid"),
        *(svg.rect(x + offset, y - 5, 6, 10, "message", 1) for offset in (-16, -7, 2)),
    ]


def _arrow_down(x: float, y1: float, y2: float) -> list[Markup]:
    return [
        svg.line(x, y1, x, y2 - 9, "wire"),
        svg.path(f"M{x:.1f} {y2 - 2:.1f}l-5 -9h10z", "head"),
    ]


def _head_right(x: float, y: float) -> Markup:
    return svg.path(f"M{x:.1f} {y:.1f}l-9 -5v10z", "head")


def caption(cell: Mapping[str, Any]) -> Markup:
    """Where the times of the drawing come from."""
    stats = [cell.get("ingress"), cell.get("end_to_end")]
    stats += [step.get("process") for step in cell.get("steps") or ()]
    stats += [hop.get(part) for hop in cell.get("hops") or () for part in ("total", *_KEYS)]
    return Markup("Means, with their {} intervals over starts; they rest on {}.").format(
        marks.CONFIDENCE, marks.rests(*map(of_stat, stats))
    )


_KEYS = tuple(key for key, _, _ in PARTS)
