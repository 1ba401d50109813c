"""Sensitivity for the page: a map of what answers to which step's delay, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reports.render.anatomy import badge
from reports.render.numbers import NO_BREAK, Reading, number, of_value
from reports.render.views import Results, anchor

Row = dict[str, Any]

_DEGREES = (0.01, 0.03, 0.1, 0.3, 0.9)
"""Slopes (ms/ms) from which on a square is one degree darker."""


def maps(results: Results) -> list[Row]:
    """One map a scenario and length: a row for each delayed step, a column for each answer."""
    found = []
    for name, scenario in (results.get("figures") or {}).items():
        entries = scenario.get("sensitivity") or ()
        for containers in sorted({entry.get("containers") for entry in entries}):
            own = [entry for entry in entries if entry.get("containers") == containers]
            columns = list(
                dict.fromkeys((r["kind"], r["name"]) for entry in own for r in entry["responses"])
            )
            rows = [_row(entry, columns) for entry in own]
            found.append({
                "name": name,
                "anchor": anchor(name),
                "containers": containers,
                "columns": [_column(kind, name_) for kind, name_ in columns],
                "margin": own[0].get("margin"),
                "rows": rows,
                "shown": [s["shown"] for row in rows for s in row["squares"] if s],
            })  # fmt: skip
    return found


def _column(kind: str, name: str) -> tuple[str, str]:
    return ("whole execution", name) if kind == "execution" else (kind, name)


def _row(entry: Mapping[str, Any], columns: list[tuple[str, str]]) -> Row:
    by_name = {(r["kind"], r["name"]): r for r in entry.get("responses") or ()}
    delays = [delay for delay in entry.get("delays_ms") or () if delay]
    return {
        "step": str(entry.get("step")),
        "delays_ms": delays,
        "badge": badge(str(entry.get("verdict"))),
        "words": str(entry.get("words") or ""),
        "squares": [_square(by_name[key]) if key in by_name else None for key in columns],
    }


def _square(response: Mapping[str, Any]) -> Row:
    slope = response.get("slope") or {}
    size = abs(slope.get("value") or 0.0)
    return {
        "shown": _shown(slope),
        "level": sum(size >= degree for degree in _DEGREES),
        "expected": response.get("expected"),
        "differs": response.get("verdict") == "deviates",
        "open": response.get("verdict") == "undecided",
    }


def _shown(slope: Mapping[str, Any]) -> Reading:
    """A slope to the thousandth: all squares are alike, and what is next to nothing looks so."""
    found = of_value(slope)
    value, low, high = slope.get("value"), slope.get("low"), slope.get("high")
    if value is None:
        return found
    text = f"{number(value, 3)}{NO_BREAK}ms/ms"
    if low is None or high is None:
        return replace(found, text=text)
    return replace(found, text=text, interval=f"{number(low, 3)} to {number(high, 3)} ms/ms")
