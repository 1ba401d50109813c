"""The queues for the page: Little's law at each, and what a message does there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.render.anatomy import badge
from reports.render.marks import count, other
from reports.render.numbers import of_value
from reports.render.views import Results, anchor

SYSTEMS = (("queue", "Queue"), ("step", "Step"))

Row = dict[str, Any]


def queue_tables(results: Results) -> list[Row]:
    """One table a scenario and length, the one with the most to say first."""
    tables = []
    for name, scenario in (results.get("figures") or {}).items():
        for length in scenario.get("queues") or ():
            steps = length.get("steps") or ()
            if steps:
                tables.append({
                    "name": name,
                    "anchor": anchor(name),
                    "containers": length.get("containers"),
                    "steps": [_step(step) for step in steps],
                    "laws": [_law(step, key, label) for step in steps for key, label in SYSTEMS],
                })  # fmt: skip
    return tables


def view(results: Results) -> Row:
    """The tables, and the sentence that opens the section."""
    tables = queue_tables(results)
    return {"tables": tables, "lead": _lead(tables)}


def _lead(tables: list[Row]) -> Markup:
    """How often the law holds, and how many steps are bound by what."""
    laws = Counter(str(law["badge"]["word"]) for table in tables for law in table["laws"])
    steps = Counter(str(step["bound"]) for table in tables for step in table["steps"])
    law = Markup("Little's law holds for {} of {} queues and steps").format(
        other("count", laws["holds"]), other("count", laws.total())
    )
    named = Markup(", ").join(
        Markup("{} {}").format(other("count", number), bound)
        for bound, number in steps.most_common()
    )
    return Markup("{}. Of {}, {}.").format(law, count(steps.total(), "step"), named)


def _step(step: Mapping[str, Any]) -> Row:
    keys = ("arrivals", "utilisation", "in_queue", "waiting", "service")
    return {
        "id": str(step.get("id")),
        "figures": [of_value(step.get(key)) for key in keys],
        "bound": str(step.get("bound")),
    }


def _law(step: Mapping[str, Any], key: str, label: str) -> Row:
    law = step.get(key) or {}
    verdict = str(law.get("verdict"))
    return {
        "name": f"{step.get('id')}: {label.lower()}",
        "figures": [of_value(law.get(name)) for name in ("inside", "expected", "difference")],
        "badge": badge(verdict),
        "words": "" if verdict == "holds" else str(law.get("words") or ""),
    }
