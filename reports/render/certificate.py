"""The section "The meter, measured": what a certificate says of the meter that made the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.render.marks import fig, limit, note, other
from reports.render.numbers import of_value, reading

ICONS = {"shown": ("✓", "met"), "not shown": ("✕", "missed"), "undecided": ("?", "undecided")}
"""The icon of a verdict, and the class it is coloured as."""
NONE = (
    "The meter that made these figures has not been measured here: `python -m bench certify` does "
    "it, and `bench run --certificate DIR` brings what it says into the report."
)
Json = Mapping[str, Any]


def section(results: Json) -> dict[str, Any]:
    """What the template shows; ``checks`` is empty where the run has no certificate."""
    found = results.get("certificate")
    if not found:
        return {"lead": NONE, "checks": [], "flags": [], "facts": []}
    document = found["document"]
    return {
        "lead": _lead(document, own=bool(found["own"])),
        "flags": [str(flag) for flag in found["flags"]],
        "facts": _facts(document),
        "checks": [_check(check) for check in document["checks"]],
    }


def _lead(document: Json, *, own: bool) -> str:
    shown = sum(check["verdict"] == "shown" for check in document["checks"])
    count = f"{shown} of {len(document['checks'])} checks are shown"
    where = "in this run" if own else f"in run {document['run_id']}"
    if document["valid"]:
        return f"The meter is certified: {count} {where}."
    return f"The meter is not certified: {count} {where}; the verdict is {document['verdict']}."


def _facts(document: Json) -> list[tuple[str, str]]:
    machine = document["machine"]
    broker = f"{document['broker']} {document['broker_version'] or ''}".strip()
    return [
        ("Made", str(document["created"])),
        ("Run", str(document["run_id"])),
        ("Processor", f"{machine.get('cpu')}, {machine.get('cores')} cores"),
        ("System", f"{machine.get('os')}, {machine.get('kernel')}"),
        ("Launcher", str(document["launcher"])),
        ("Broker", broker),
        ("hopbench", f"{document['hopbench']} ({document['commit'] or 'no commit'})"),
    ]


def _check(check: Json) -> dict[str, Any]:
    icon, style = ICONS[check["verdict"]]
    head, rows = _TABLES.get(check["id"], _none)(check["rows"])
    return {
        "title": check["title"], "verdict": check["verdict"], "icon": icon, "style": style,
        "reason": other("prose", check["reason"]), "head": head, "rows": rows,
        "note": note("single") if check["id"] == "freeze" else "",
    }  # fmt: skip


Table = tuple[tuple[str, ...], list[list[Markup]]]


def _none(_rows: Any) -> Table:
    return (), []


def _badge(verdict: str) -> Markup:
    icon, style = ICONS[verdict]
    return Markup(
        '<span class="badge {}"><span class="icon" aria-hidden="true">{}</span>{}</span>'
    ).format(style, icon, verdict)


def _figure(figure: Json | None) -> Markup:
    return fig(of_value(figure, fixed=True), of=True)


def _recovered(rows: Any) -> Table:
    head = ("Injected", "Found in", "Recovered, p50", "Its error", "Allowed", "Recovered, mean", "")
    return head, [
        [
            limit(row["delay_ms"], "ms"),
            other("name", row["label"]),
            _figure(row["recovered"]),
            _figure(row["error"]),
            limit(row["bound_ms"], "ms"),
            _figure(row["recovered_mean"]),
            _badge(row["verdict"]),
        ]
        for row in rows
    ]


def _frozen(rows: Any) -> Table:
    head = (
        "Loop", "Frozen for", "p90 corrected: from the intended send",
        "p90 uncorrected: from the actual send", "p90 that follows from the freeze", "",
    )  # fmt: skip
    shown = []
    for row in rows:
        figures = [
            fig(
                reading(one["value"], None, None, one["unit"], of=of_value(one).of, why="single"),
                of=True,
            )
            if one
            else _figure(None)
            for one in (row["corrected"], row["uncorrected"])
        ]
        frozen, predicted = row["frozen_s"], row["predicted_ms"]
        shown.append([
            other("name", row["loop"]),
            limit(frozen, "s") if frozen is not None else _figure(None),
            *figures,
            limit(predicted, "ms") if predicted is not None else _figure(None),
            _badge(row["verdict"]),
        ])  # fmt: skip
    return head, shown


def _plain(rows: Any) -> Table:
    head = ("What", "Measured", "Allowed")
    return head, [
        [other("name", row["label"]), _figure(row["figure"]), _limit(row)] for row in rows
    ]


def _limit(row: Json) -> Markup:
    if row["limit"] is None:
        return Markup("")
    unit = str(row["figure"]["unit"])
    return limit(row["limit"] * (100 if unit == "x" else 1), "%" if unit == "x" else unit)


def _offsets(rows: Any) -> Table:
    head = ("Clocks of", "Offset at least", "Offset at most", "Exchanges", "")
    return head, [
        [
            other("name", row["label"]),
            *(
                limit(row[end], "us") if row[end] is not None else _figure(None)
                for end in ("low_us", "high_us")
            ),
            other("count", row["rounds"]),
            _badge(row["verdict"]),
        ]
        for row in rows
    ]


_TABLES = {
    "component-delays": _recovered,
    "network-delays": _recovered,
    "freeze": _frozen,
    "a-against-a": _plain,
    "probe-overhead": _plain,
    "clocks": _offsets,
}
