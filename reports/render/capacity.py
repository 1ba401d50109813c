"""The search for a flow's capacity, for the page: its probes as a table and as a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.render import svg
from reports.render.anatomy import badge
from reports.render.loglog import Plane, around
from reports.render.numbers import NO_BREAK, counted, number, of_value, quantity, reading, rests_on
from reports.render.views import anchor

Row = dict[str, Any]

_WIDTHS = {"wide": 1000.0, "narrow": 340.0}
_HEIGHT = 280.0
_LOOKS = {"holds": "alike", "does not hold": "deviates"}
_SERIES = {"holds": "broker", "does not hold": "python", "undecided": "engine"}


def capacity(one: Mapping[str, Any]) -> Row:
    """All that the section shows of one scenario."""
    rungs = list(one.get("rungs") or ())
    search = one.get("search")
    drawn = {name: _drawing(one, name, width) for name, width in _WIDTHS.items()}
    return {
        "name": str(one.get("scenario")),
        "anchor": anchor(str(one.get("scenario"))),
        "limit_ms": one.get("limit_ms"),
        "highest": one.get("highest_hz"),
        "saturates": one.get("first_to_saturate"),
        "steps": [str(step["id"]) for step in (max(rungs, key=_steps)["steps"] if rungs else ())],
        "rungs": [_rung(rung) for rung in rungs],
        "search": search,
        "open": [quantity(hz, "/s") for hz in (search or {}).get("open_hz") or ()],
        "of": _of(search) if search else "",
        "wider": bool(one.get("highest_hz") and (search or {}).get("failed_hz")),
        "cap": counted((search or {}).get("most_starts") or 0, "start"),
        **(drawn if search else {"wide": "", "narrow": ""}),
        "series": [{"name": name, "look": look} for name, look in _SERIES.items()],
    }


def _rung(rung: Mapping[str, Any]) -> Row:
    word = str(rung.get("verdict"))
    reached = reading(
        rung.get("reached_hz"), None, None, "/s",
        of=rests_on(1, rung.get("sent") or 0), why="single",
    )  # fmt: skip
    return {
        "rate": rung.get("rate_hz"),
        "reached": reached,
        "hop": of_value(rung.get("hop")),
        "steps": [of_value(step.get("utilisation")) for step in rung.get("steps") or ()],
        "badge": {**badge(_LOOKS.get(word, "undecided")), "word": word},
        "why": str(rung.get("why") or ""),
    }


def _of(search: Mapping[str, Any]) -> str:
    starts, messages = search.get("starts") or 0, search.get("messages") or 0
    return f"{counted(search.get('rates') or 0, 'rate')}, {rests_on(starts, messages)}"


def _steps(rung: Mapping[str, Any]) -> int:
    return len(rung.get("steps") or ())


def _drawing(one: Mapping[str, Any], key: str, width: float) -> Markup | str:
    """The mean hop of each probe over its rate, with its interval, and the limit."""
    shown = [rung for rung in one.get("rungs") or () if (rung.get("hop") or {}).get("value")]
    if not shown:
        return ""
    limit_ms = float(one.get("limit_ms") or 0)
    values = [rung["hop"][end] or rung["hop"]["value"] for rung in shown for end in ("low", "high")]
    plane = Plane(
        width,
        _HEIGHT,
        around([rung["rate_hz"] for rung in shown]),
        around([*values, limit_ms]),
    )
    parts = plane.grid("mean hop, ms", "messages a second")
    y = plane.y(limit_ms)
    left, right = (plane.x(end) for end in plane.across)
    parts += [
        svg.line(left, y, right, y, "limit-line"),
        svg.text(left + 6, y - 6, f"limit {number(limit_ms)}{NO_BREAK}ms", "t-soft", kind="limit"),
    ]
    for rung in shown:
        hop, x = rung["hop"], plane.x(rung["rate_hz"])
        look = _SERIES.get(str(rung.get("verdict")), "engine")
        if hop["low"] and hop["high"]:
            parts.append(svg.line(x, plane.y(hop["low"]), x, plane.y(hop["high"]), "whisker"))
        parts.append(svg.rect(x - 4, plane.y(hop["value"]) - 4, 8, 8, f"phase {look}", 4))
    return svg.drawing(
        f"capacity-{anchor(str(one.get('scenario')))}-{key}", width, _HEIGHT,
        "Mean hop by arrival rate",
        "One dot a start of the search, with its interval, and the limit as a line.", parts,
    )  # fmt: skip
