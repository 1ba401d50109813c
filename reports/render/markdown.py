"""The claims as a Markdown table, for a pull request or a CI summary."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from reports.render.claim_rows import one_line, rows

SIGNS = {"met": "✅ met", "missed": "❌ missed", "undecided": "❔ undecided"}

_SPECIAL = re.compile(r"([\\`*_\[\]|~#@])")


def render_markdown(results: Mapping[str, Any]) -> str:
    """The text of the file: what was run, the table, and what went wrong."""
    lines = [
        "## hopbench",
        "",
        escape(results["headline"]),
        "",
        "| Claim | Statement | Verdict | Measured | Limit | Reason |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        "| " + " | ".join((
            escape(row.id), escape(row.statement), SIGNS.get(row.verdict, escape(row.verdict)),
            escape(row.measured), escape(row.limit), escape(row.reason),
        )) + " |"
        for row in rows(results)
    ]  # fmt: skip
    if results["problems"]:
        lines += ["", "### Problems", ""]
        lines += [f"- {escape(problem)}" for problem in results["problems"]]
    return "\n".join(lines) + "\n"


def escape(text: object) -> str:
    """Text that Markdown shows as it is: no markup, HTML, link, mention or cell border in it."""
    return _SPECIAL.sub(r"\\\1", html.escape(one_line(text), quote=False))
