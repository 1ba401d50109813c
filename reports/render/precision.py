"""What was reached of the precision that a run was asked for, in words and in rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports.render.numbers import counted, number, of_value, plain

ENDINGS = {
    "reached": "every figure is as precise as was asked",
    "budget": "the time budget is used",
    "given up": "too many trials could not be used",
}

Section = Mapping[str, Any]


def lines(section: Section) -> list[str]:
    """One line on the run, then one for each figure that is less precise than was asked."""
    return [plain(text) for text in (summary(section), *_short(section))]


def view(section: Section | None) -> dict[str, Any] | None:
    """What the page shows; None where no precision and no budget was asked for."""
    if section is None:
        return None
    return {
        "summary": capitalised(summary(section)),
        "asked": section.get("asked"),
        "empty": empty(section),
        "rows": rows(section),
    }


def summary(section: Section) -> str:
    """What was asked, how long it took, and why it ended."""
    asked = section.get("asked")
    trials = sum(cell.get("trials") or 0 for cell in section.get("cells") or ())
    wish = f"precision of {wanted(asked)} asked for" if asked else "as many trials as fit"
    ended = ENDINGS.get(str(section.get("ended")), "the run did not come to its end")
    return (
        f"{wish}, time budget {duration(section.get('budget_s'))}: {counted(trials, 'trial')} in "
        f"{duration(section.get('spent_s'))}; {ended}"
    )


def rows(section: Section) -> list[dict[str, Any]]:
    """A row for each figure: its place, its half width, and what more it would take."""
    asked = section.get("asked")
    found = []
    for cell, figure in _figures(section):
        found.append({
            "scenario": str(cell.get("scenario")),
            "cell": str(figure.get("cell") or ""),
            "name": str(figure.get("name")),
            "figure": figure,
            "half_width": _half_width(figure),
            "takes": _takes(figure, asked),
        })  # fmt: skip
    return found


def empty(section: Section) -> list[str]:
    """A sentence for each cell of which nothing is known, or that was given up."""
    found = []
    for cell in section.get("cells") or ():
        place = f"{cell.get('scenario')}, {counted(cell.get('containers'), 'container')}"
        if cell.get("given_up"):
            found.append(f"{place}: given up, {cell['given_up']}")
        elif not cell.get("figures"):
            tried = counted(cell.get("trials") or 0, "trial")
            found.append(f"{place}: no figures yet, after {tried}")
    return found


def capitalised(text: str) -> str:
    """A sentence's beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def percent(share: float | None) -> str:
    """``7.1 %``."""
    return "unknown" if share is None else f"{number(100 * share)} %"


def wanted(share: float) -> str:
    """``5 %``, as it was asked for."""
    return f"{100 * share:.6g} %"


def duration(seconds: float | None) -> str:
    """``45 s``, ``11 min``, ``2 h 30 min``; coarse, since it is an estimate."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _figures(section: Section) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for cell in section.get("cells") or ():
        for figure in cell.get("figures") or ():
            yield cell, figure


def _short(section: Section) -> list[str]:
    """What falls short, the least precise first."""
    asked = section.get("asked")
    if asked is None:
        return empty(section)
    missing = [(c, f) for c, f in _figures(section) if not f.get("reached")]
    missing.sort(key=lambda pair: -(pair[1].get("half_width") or float("inf")))
    return [
        *empty(section),
        *(
            f"{cell.get('scenario')}, {figure.get('cell')}: {figure.get('name')} "
            f"{of_value(figure).words()}, {_half_width(figure)}: {_says(figure, asked)}"
            for cell, figure in missing
        ),
    ]


def _half_width(figure: Mapping[str, Any]) -> str:
    width = figure.get("half_width")
    return "known to no percentage" if width is None else f"±{percent(width)}"


def _takes(figure: Mapping[str, Any], asked: float | None) -> str:
    """What the precision would take, for a row."""
    if asked is None:
        return ""
    if figure.get("reached"):
        return f"reached ({wanted(asked)})"
    if figure.get("needed_starts") is None:
        return "not known yet"
    return f"about {counted(figure['needed_starts'], 'start')}, {duration(figure.get('needed_s'))}"


def _says(figure: Mapping[str, Any], asked: float) -> str:
    """That it cannot be measured so well here, and what it would take, for a line."""
    verdict = f"cannot be measured to {wanted(asked)} here in this time"
    if figure.get("needed_starts") is None:
        return f"{verdict}; how many starts it would take is not known yet"
    starts = counted(figure["needed_starts"], "start")
    return f"{verdict}; about {starts} ({duration(figure.get('needed_s'))}) would be needed"
