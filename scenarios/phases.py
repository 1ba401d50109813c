"""Reads the phases of a scenario, and what is to be observed in its messages."""

from __future__ import annotations

from collections.abc import Collection

from runtime.document import Table, meant
from runtime.model import FlowType
from runtime.quantities import DURATION_MS, RATE
from scenarios.model import Deed, During, Observe, Phase


def read_phases(root: Table) -> tuple[Phase, ...]:
    """The elements of ``[[phases]]``, in order; none where the scenario has one kind of start."""
    phases = tuple(_phase(table) for table in root.tables("phases"))
    if phases and Deed.PUBLISH not in phases[0].before:
        root.problem("phases", "nothing to start: the first one needs deploy, draft and publish")
    return phases


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
