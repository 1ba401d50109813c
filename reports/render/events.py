"""What happened to flows and their messages, for the page: changes, listeners, leaks, drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.render import svg
from reports.render.anatomy import badge
from reports.render.balance import LABELS
from reports.render.capacity import capacity
from reports.render.numbers import (
    Reading,
    absent,
    counted,
    number,
    of_stat,
    of_value,
    reading,
    rests_on,
)
from reports.render.views import Results, anchor

Row = dict[str, Any]

_WIDTHS = {"wide": 1000.0, "narrow": 340.0}
_HEIGHT = 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 16.0, 24.0, 40.0
_LOOKS = ("first", "engine", "python", "broker")
"""Classes of the series of a picture, in order."""


def view(results: Results) -> Row:
    """All that the section shows; each member is empty where the run has nothing of it."""
    listeners = list(results.get("listeners") or ())
    return {
        "capacity": [capacity(one) for one in results.get("capacity") or ()],
        "changes": [_change(one) for one in results.get("changes") or ()],
        "listeners": [_listener(one) for one in listeners],
        "leaks": _leaks(results),
        "soak": [_soak(one) for one in results.get("soak") or ()],
        "series": [
            {"name": str(one.get("scenario")), "look": look}
            for one, look in zip(listeners, _LOOKS, strict=False)
        ],
        **{name: _copies(listeners, name, width) for name, width in _WIDTHS.items()},
    }


def break_even(results: Results) -> list[Row]:
    """One row a resource: what it costs either way, and at which rate that is the same."""
    return [
        {
            "label": LABELS.get(str(row.get("resource")), str(row.get("resource"))),
            "figures": [of_value(row.get(key)) for key in ("ordinary", "idle_per_second", "work")],
            "rate": absent("at any rate") if row.get("always") else of_value(row.get("per_minute")),
        }
        for row in results.get("break_even") or ()
    ]


def _change(change: Mapping[str, Any]) -> Row:
    return {
        "name": str(change.get("scenario")),
        "anchor": anchor(str(change.get("scenario"))),
        "title": str(change.get("title") or ""),
        "phases": [_phase(phase) for phase in change.get("phases") or ()],
    }


def _phase(phase: Mapping[str, Any]) -> Row:
    figures = phase.get("figures") or {}
    shown = [of_stat(figures.get(key)) for key in ("warm_up", "cold_end_to_end", "end_to_end")]
    ordinary = phase.get("flow_type") == "ordinary"
    return {
        "name": str(phase.get("name")),
        "mode": str(phase.get("flow_type")),
        "deeds": ", ".join(_deed(deed) for deed in phase.get("deeds") or ()) or "nothing",
        "said": [
            (f"{one['field']} {one['value'] or 'none'}", counted(one["messages"], "message"))
            for one in phase.get("said") or ()
        ],
        # Each execution of an ordinary flow starts containers of its own: none is a start's first.
        "figures": [shown[0], absent("each is") if ordinary else shown[1], shown[2]],
    }


def _deed(deed: Mapping[str, Any]) -> str:
    numbers = {name: n for name, n in (deed.get("revisions") or {}).items() if n != 1}
    told = "".join(f" ({name} {n})" for name, n in sorted(numbers.items()))
    return f"{deed.get('deed')}{told}{' while it runs' if deed.get('running') else ''}"


def _listener(one: Mapping[str, Any]) -> Row:
    return {
        "name": str(one.get("scenario")),
        "anchor": anchor(str(one.get("scenario"))),
        "title": str(one.get("title") or ""),
        "counts": [one.get(key) for key in ("calls", "events", "messages", "most_copies")],
        "drifts": [_drift(row) for row in one.get("drifts") or ()],
    }


def _soak(one: Mapping[str, Any]) -> Row:
    messages = one.get("messages") or 0
    return {
        "name": str(one.get("scenario")),
        "anchor": anchor(str(one.get("scenario"))),
        "watched": reading(
            one.get("watched_s"), None, None, "s", of=rests_on(1, messages), why="single"
        ),
        "drifts": [_drift(row) for row in one.get("drifts") or ()],
    }


def _drift(row: Mapping[str, Any]) -> Row:
    of = rests_on(1, row.get("observations") or 0, "reading")
    unit = str(row.get("unit"))

    def single(key: str) -> Reading:
        return reading(row.get(key), None, None, unit, of=of, why="single", fixed=True)

    slope = reading(
        row.get("per_minute"), row.get("low"), row.get("high"), f"{unit}/min",
        of=of, basis="blocks", fixed=True,
    )  # fmt: skip
    drifts = bool(row.get("drifts"))
    return {
        "name": f"{row.get('step')}: {row.get('kind')}",
        "figures": [single("first"), single("last"), slope],
        "badge": {
            **badge("deviates" if drifts else "alike"),
            "word": "drifts" if drifts else "does not drift",
        },
    }


def _leaks(results: Results) -> Row | None:
    rows = list(results.get("leaks") or ())
    if not rows:
        return None
    named = [
        {
            "step": str(row["step"]),
            "scenario": str(row["scenario"]),
            "growth": reading(
                row["growth"], None, None, "x", of=rests_on(row["trials"], row["trials"], "trial"),
                why="single",
            ),
        }
        for row in rows
        if row.get("leaks")
    ]  # fmt: skip
    return {"named": named, "looked_at": len(rows)}


def _copies(listeners: list[Mapping[str, Any]], key: str, width: float) -> Markup | str:
    """Copies of each event against the calls of the trigger until then."""
    points = [point for one in listeners for point in one.get("points") or ()]
    if not points:
        return ""
    most_calls, most_copies = (max(point[i] for point in points) for i in (0, 1))
    across, up = width - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(calls: float, copies: float) -> tuple[float, float]:
        x = _LEFT + across * calls / max(most_calls, 1)
        return x, _TOP + up * (1 - copies / max(most_copies, 1))

    parts = []
    for tick in svg.ticks(most_copies, 5):
        _, y = place(0, tick)
        parts += [
            svg.line(_LEFT, y, width - _RIGHT, y, "grid"),
            svg.text(_LEFT - 8, y + 4, number(tick), "t-soft", "end", kind="tick"),
        ]
    for tick in svg.ticks(most_calls, 6 if key == "wide" else 3):
        x, _ = place(tick, 0)
        label = svg.text(x, _HEIGHT - _BOTTOM + 18, number(tick), "t-soft", "middle", kind="tick")
        parts.append(label)
    parts += [
        svg.text(_LEFT, 14, "copies of an event", "t-soft"),
        svg.text(width - _RIGHT, _HEIGHT - 4, "calls of process() until then", "t-soft", "end"),
    ]
    for one, look in zip(listeners, _LOOKS, strict=False):
        for point in one.get("points") or ():
            x, y = place(*point)
            parts.append(svg.rect(x - 3, y - 3, 6, 6, f"phase {look}", 3))
    return svg.drawing(
        f"copies-{key}", width, _HEIGHT, "Copies of each event",
        "One dot an event: how often it was handled, over the calls of the trigger until then.",
        parts,
    )  # fmt: skip
