"""JUnit, Markdown and terminal: what they show, and that nothing gets through unescaped."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from reports.render.claim_rows import one_line
from reports.render.junit import render_junit
from reports.render.markdown import escape, render_markdown
from reports.render.terminal import render_terminal

EVIL = "\x1b[31m<script>alert(1)</script> | `x` [link](http://a) @all\n\x00 [bold]&amp;"


def results(reason: str = "because", problem: str = "trial 3: invalid") -> dict[str, Any]:
    """Results with one claim of each verdict."""

    def claim(number: int, verdict: str, **more: Any) -> dict[str, Any]:
        return {
            "id": f"S{number}", "statement": "It is so.", "verdict": verdict, "value": None,
            "low": None, "high": None, "unit": None, "limit": None, "reason": reason,
            "starts": 5, "messages": 1000,
            "scenario": "realtime", **more,
        }  # fmt: skip

    return {
        "headline": "docker containers + RabbitMQ", "run_id": "r1", "status": "complete",
        "environment": {"created": "2026-11-24T03:15:00+00:00"},
        "claims": [
            claim(1, "met", value=0.78, low=0.75, high=0.81, unit="ms", limit=15.0),
            claim(2, "missed", value=2.0, low=2.0, high=2.0, unit="containers", limit=1.0),
            claim(3, "undecided", scenario=""),
        ],
        "problems": [problem],
    }  # fmt: skip


def test_junit_has_a_case_a_claim() -> None:
    """One case a claim: met is silent, missed fails with its figure, undecided is skipped."""
    suite = ET.fromstring(render_junit(results())).find("testsuite")  # noqa: S314
    assert suite is not None
    assert tuple(suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")) == (
        "3",
        "1",
        "0",
        "1",
    )
    met, missed, undecided = suite.findall("testcase")
    assert list(met) == []
    failure, skipped = missed.find("failure"), undecided.find("skipped")
    assert failure is not None
    assert skipped is not None
    assert (failure.attrib["message"], failure.attrib["type"]) == ("because", "missed")
    assert failure.text == (
        "measured 2 containers (observed, without an interval; 5 starts, 1000 messages), "
        "limit 1 containers"
    )
    assert skipped.attrib["message"] == "because"
    assert met.attrib["name"] == "S1 It is so."


def test_junit_follows_the_common_schema() -> None:
    """Elements, their order and their attributes are those of the Ant and Jenkins schemas."""
    root = ET.fromstring(render_junit(results()))  # noqa: S314
    assert (root.tag, root.attrib) == ("testsuites", {})
    (suite,) = root
    assert [child.tag for child in suite] == [
        "properties",
        "testcase",
        "testcase",
        "testcase",
        "system-out",
        "system-err",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    required = {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "id",
                "package"}  # fmt: skip
    assert required <= set(suite.attrib)
    for case in suite.iter("testcase"):
        assert {"name", "classname", "time"} == set(case.attrib)
        assert case.attrib["classname"]


@given(st.text())
def test_junit_is_always_well_formed(text: str) -> None:
    """Whatever a component put into a reason, the file can be parsed."""
    root = ET.fromstring(render_junit(results(text, text)))  # noqa: S314
    assert len(list(root.iter("testcase"))) == 3


def test_markdown_has_a_row_a_claim() -> None:
    """The table has one row a claim, with its figure, its interval and its limit."""
    text = render_markdown(results())
    table = [line for line in text.splitlines() if line.startswith("| S")]
    assert len(table) == 3
    assert "0.780 ms (0.750 to 0.810 ms; 5 starts, 1000 messages) | 15 ms" in table[0]
    assert "missed" in table[1]
    assert "- trial 3: invalid" in text


def test_markdown_shows_markup_as_text() -> None:
    """Rendered, an evil reason is text: no HTML, no link, no further cell."""
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(
        render_markdown(results(EVIL, EVIL))
    )  # fmt: skip
    assert "<script" not in page
    assert "<a " not in page
    assert "<code" not in page
    cells = re.findall(r"<td>", page)
    assert len(cells) == 3 * 6


@given(st.text())
def test_markdown_escape_keeps_the_text(text: str) -> None:
    """What Markdown shows of an escaped text is the text on one line."""
    page = MarkdownIt("commonmark").renderInline(f"x{escape(text)}x")
    shown = re.sub("&(lt|gt|amp|quot);", lambda m: {
        "lt": "<", "gt": ">", "amp": "&", "quot": '"'}[m[1]], page)  # fmt: skip
    assert f"x{one_line(text)}x" == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal_shows_every_claim(terminal: bool) -> None:
    """Each claim and each problem is shown; colours only on a terminal."""
    file = io.StringIO()
    render_terminal(results(), Console(file=file, force_terminal=terminal, width=100))
    text = file.getvalue()
    assert terminal == ("\x1b[" in text)
    for word in ("S1", "S2", "S3", "met", "missed", "undecided", "because", "trial 3: invalid"):
        assert word in text


def test_plain_output_is_a_line_a_claim() -> None:
    """In a log each claim is one line, however long, so that it can be searched."""
    file = io.StringIO()
    render_terminal(results("long " * 60), Console(file=file, force_terminal=False, width=80))
    lines = file.getvalue().splitlines()
    assert len(lines) == 1 + 3 + 1
    figure = "0.780 ms (0.750 to 0.810 ms; 5 starts, 1000 messages)"
    assert lines[1].startswith(f"met       S1   {figure}, limit 15 ms: long")


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal_is_not_controlled_by_reasons(terminal: bool) -> None:
    """Escape sequences and markup in an error text are shown, not obeyed."""
    file = io.StringIO()
    render_terminal(results(EVIL, EVIL), Console(file=file, force_terminal=terminal, width=300))
    text = file.getvalue()
    assert "\x1b[31m<" not in text
    assert "\x00" not in text
    assert r"\u001b[31m<script>" in text
    assert "[bold]" in text


@given(st.text())
def test_one_line_is_printable(text: str) -> None:
    """No control, format or surrogate character and no line break survives."""
    assert one_line(text).isprintable()
