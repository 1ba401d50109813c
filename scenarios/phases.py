"""Reads the phases of a scenario, what it searches for, and what is observed in its messages."""

from __future__ import annotations

from collections.abc import Collection

from runtime.document import Table, meant
from runtime.model import FlowType
from runtime.quantities import DURATION_MS, RATE
from scenarios.model import SEARCH_STARTS, Deed, During, Observe, Phase, Search

LEAST_STARTS = 4
"""Of a search: two for each end of its bracket."""


def read_phases(root: Table) -> tuple[Phase, ...]:
    """The elements of ``[[phases]]``, in order; none where the scenario has one kind of start."""
    phases = tuple(_phase(table) for table in root.tables("phases"))
    if phases and Deed.PUBLISH not in phases[0].before:
        root.problem("phases", "nothing to start: the first one needs deploy, draft and publish")
    return phases


def read_search(root: Table) -> Search | None:
    """``[search]``; None where the scenario says what its rates are."""
    table = root.table("search")
    if table is None:
        return None
    search = Search(
        lowest_hz=table.quantity("lowest", RATE),
        highest_hz=table.quantity("highest", RATE),
        factor=table.number("factor", 1.1),
        limit_ms=table.quantity("limit", DURATION_MS),
        probe_s=table.quantity("probe", DURATION_MS, "2 s") / 1000,
        starts=table.whole("starts", SEARCH_STARTS, least=LEAST_STARTS),
    )
    if table.has("lowest") and table.has("highest") and search.highest_hz <= search.lowest_hz:
        table.problem("highest", "must be above lowest")
    if table.has("factor") and not 1.01 <= search.factor <= 2:
        table.problem("factor", f"must be from 1.01 to 2, not {search.factor:g}")
    table.finish()
    return search


def read_observe(root: Table, components: Collection[str]) -> Observe:
    """``[observe]``; ``components`` are those of the steps."""
    table = root.table("observe")
    if table is None:
        return Observe()
    observe = Observe(table.words("fields"), table.words("revised"))
    for name in observe.revised:
        if name not in components:
            hint = meant(name, components) or f"; the steps' are {', '.join(sorted(components))}"
            table.problem("revised", f"no step has component {name!r}{hint}")
    table.finish()
    return observe


def _phase(table: Table) -> Phase:
    during = tuple(_during(one) for one in table.tables("during"))
    phase = Phase(
        name=table.name("name"),
        flow_type=FlowType(table.choice("flow_type", FlowType)),
        rate_hz=table.quantity("rate", RATE) if table.has("rate") else None,
        messages=table.whole("messages") if table.has("messages") else None,
        before=tuple(_deeds(table)),
        during=during,
    )
    table.finish()
    return phase


def _deeds(table: Table) -> list[Deed]:
    found = []
    known = [str(deed) for deed in Deed]
    for word in table.words("before"):
        if word in known:
            found.append(Deed(word))
        else:
            table.problem("before", f"{word!r} is none of {', '.join(known)}{meant(word, known)}")
    return found


def _during(table: Table) -> During:
    during = During(
        after_s=table.quantity("after", DURATION_MS, zero=True) / 1000,
        deed=Deed(table.choice("do", (Deed.DEPLOY, Deed.DRAFT))),
    )
    table.finish()
    return during
