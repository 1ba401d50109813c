"""The claims as rows of text, for the renderers that write no HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.render.numbers import plain, quantity
from reports.render.views import of_claim


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
    shown = of_claim(claim)
    measured = shown.words() if shown.given else ""
    unit = claim.get("unit") or ""
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
    return one_line(plain(text))
