"""The claims as rows of text, for the renderers that write no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.render.numbers import NO_BREAK, THIN, quantity, reading


@dataclass(frozen=True, slots=True)
class Row:
    """One claim: every text is free of control characters and line breaks."""

    id: str
    statement: str
    verdict: str
    measured: str
    limit: str
    reason: str


def rows(results: Mapping[str, Any]) -> list[Row]:
    """The claims of ``results.json`` in their order."""
    return [_row(claim) for claim in results["claims"]]


def one_line(text: object) -> str:
    """Text on one line; what has no printed form is written as its code point.

    Error texts come from components: they must not move a terminal's cursor or break an XML file.
    """
    spaced = " ".join(str(text).split())
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in spaced)


def _row(claim: Mapping[str, Any]) -> Row:
    unit = claim.get("unit") or ""
    shown = reading(claim.get("value"), claim.get("low"), claim.get("high"), unit, missing="")
    exact = claim.get("low") == claim.get("high")
    measured = f"{shown.text} ({shown.interval})" if shown.interval and not exact else shown.text
    limit = claim.get("limit")
    return Row(
        id=one_line(claim["id"]),
        statement=one_line(claim["statement"]),
        verdict=one_line(claim["verdict"]),
        measured=_plain(measured),
        limit="" if limit is None else _plain(quantity(limit, unit)),
        reason=one_line(claim["reason"]),
    )


def _plain(text: str) -> str:
    """Typographic spaces help on a page; in a log they are in the way of a search."""
    return one_line(text.replace(NO_BREAK, " ").replace(THIN, ""))
