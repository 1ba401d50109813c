"""The claims on a terminal: a table in colours, or plain lines where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.render.claim_rows import Row, one_line, rows
from reports.render.precision import lines

STYLES = {"met": "green", "missed": "bold red", "undecided": "yellow"}


def render_terminal(results: Mapping[str, Any], console: Console) -> None:
    """Print the claims; a table only where the console is a terminal."""
    _print(console, one_line(results["headline"]))
    found = rows(results)
    if console.is_terminal:
        console.print(_table(found))
        for row in found:
            if row.verdict != "met":
                _print(console, f"{row.id} {row.verdict}: {row.reason}")
    else:
        for row in found:
            limit = f", limit {row.limit}" if row.limit else ""
            measured = f"{row.measured}{limit}: " if row.measured else ""
            _print(console, f"{row.verdict:9} {row.id:4} {measured}{row.reason}")
    if results.get("precision"):
        for line in lines(results["precision"]):
            _print(console, one_line(line))
    for problem in results["problems"]:
        _print(console, f"! {one_line(problem)}", "yellow")


def render_certificate(document: Mapping[str, Any], console: Console) -> None:
    """Print a line for each check of a meter certificate, then its verdict."""
    styles = {"shown": "green", "not shown": "bold red"}
    for check in document["checks"]:
        verdict = str(check["verdict"])
        line = one_line(f"{verdict:9} {check['id']:16} {check['reason']}")
        _print(console, line, styles.get(verdict, "yellow"))
    for doubt in document["doubts"]:
        _print(console, f"! {one_line(doubt)}", "yellow")
    word = "valid" if document["valid"] else "not valid"
    _print(console, f"the certificate is {word}: {document['verdict']}")


def _print(console: Console, line: str, style: str = "") -> None:
    # Text, not str: rich would read square brackets as markup. A log's lines are not folded.
    console.print(Text(line, style=style), soft_wrap=not console.is_terminal, highlight=False)


def _table(found: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("claim", "verdict", "measured", "limit"):
        table.add_column(name, no_wrap=name != "measured")
    table.add_column("statement", overflow="fold", ratio=1)
    for row in found:
        verdict = Text(row.verdict, style=STYLES.get(row.verdict, ""))
        table.add_row(
            Text(row.id), verdict, Text(row.measured), Text(row.limit), Text(row.statement)
        )
    return table
