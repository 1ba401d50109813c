"""The anatomy of hops for the page: parts and what is beside them, and whether hops add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.render.numbers import of_stat, of_value
from reports.render.views import Found, Results, anchor

PARTS = (("client_out", "Client-out"), ("transit", "Transit"), ("client_in", "Client-in"))
BESIDE = (("confirm", "Confirm"), ("ack", "Ack"))
VERDICTS = {
    "add up": ("met", "✓"),
    "alike": ("met", "✓"),
    "holds": ("met", "✓"),
    "do not add up": ("missed", "✕"),
    "deviates": ("missed", "✕"),
    "contradicted": ("missed", "✕"),
}
"""How the words of a comparison look: like met and missed; everything else like undecided."""

Row = dict[str, Any]


def badge(verdict: str) -> Row:
    """A verdict's words, and the badge they are shown in."""
    look, icon = VERDICTS.get(verdict, ("undecided", "?"))
    return {"verdict": look, "icon": icon, "word": verdict}


def view(found: Found | None) -> Row:
    """The hops of the cell that stands for realtime flows."""
    return {"found": found, "hops": hop_rows(found), "parts": PARTS, "beside": BESIDE}


def hop_rows(found: Found | None) -> list[Row]:
    """Every hop of a cell: its parts, their sum, and the confirm and the ack beside them."""
    if found is None:
        return []
    rows = []
    ingress: Mapping[str, Any] = found.cell.get("ingress_parts") or {}
    if ingress and found.steps:
        total = found.cell.get("ingress")
        rows.append(_hop("load generator", found.steps[0], {**ingress, "total": total}))
    hops = found.cell.get("hops") or ()
    return [*rows, *(_hop(str(hop.get("from")), str(hop.get("to")), hop) for hop in hops)]


def _hop(upstream: str, downstream: str, hop: Mapping[str, Any]) -> Row:
    return {
        "name": f"{upstream} → {downstream}",
        "parts": [of_stat(hop.get(key)) for key, _ in PARTS],
        "total": of_stat(hop.get("total")),
        "multiple": of_value(hop["floor_multiple"]) if hop.get("floor_multiple") else None,
        "beside": [of_stat(hop.get(key)) for key, _ in BESIDE],
    }


def additivity(results: Results) -> list[Row]:
    """Every scenario in which it was tested whether hops add up."""
    rows = []
    for name, scenario in (results.get("figures") or {}).items():
        found = scenario.get("additivity")
        if not found:
            continue
        lengths = found.get("lengths") or {}
        rows.append({
            "name": name,
            "anchor": anchor(name),
            "badge": badge(str(found.get("verdict"))),
            "words": str(found.get("words") or ""),
            "lengths": [_length(point) for point in lengths.get("points") or ()],
            "line": [
                (label, of_value(lengths.get(key)))
                for key, label in (("slope", "Slope, a hop"), ("intercept", "Intercept"),
                                   ("change", "A hop in the longest flow over the shortest"))
                if lengths.get(key)
            ],
            "hops": _compared(found),
        })  # fmt: skip
    return rows


def _compared(found: Mapping[str, Any]) -> list[Row]:
    """Positions, then every hop of every cell, beside the others of its flow."""
    rows: list[Row] = [
        {"flow": "all flows of three hops and more", "name": f"{one['position']} hops",
         "mean": None, **_ratio(one)}
        for one in found.get("positions") or ()
    ]  # fmt: skip
    for cell in found.get("cells") or ():
        rows += [
            {"flow": str(cell["name"]), "name": f"{hop['from']} → {hop['to']}",
             "mean": of_value(hop.get("mean")), **_ratio(hop)}
            for hop in cell.get("hops") or ()
        ]  # fmt: skip
    return rows


def _ratio(one: Mapping[str, Any]) -> Row:
    return {"ratio": of_value(one.get("ratio")), "badge": badge(str(one.get("verdict")))}


def _length(point: Mapping[str, Any]) -> Row:
    return {
        "containers": point.get("containers"),
        "overhead": of_value(point.get("overhead")),
        "per_hop": of_value(point.get("per_hop")),
        **_ratio(point),
    }
