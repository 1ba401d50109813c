"""No figure is shown without its unit, its starts and messages, and its interval: on any view."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from reports.render.html import render_html
from reports.render.junit import render_junit
from reports.render.markdown import render_markdown
from reports.render.numbers import Reading, reading
from reports.render.terminal import render_terminal
from reports.results import analyse
from tests.fakes import results as fakes
from tests.fakes.numbers_shown import loose_in, loose_on_page
from tests.fakes.rundir import Plan, write_run
from tests.unit.reports.test_html import PARTIAL

WHOLE = "0.84 ms (0.79 to 0.90 ms; 5 starts, 1000 messages)"


@pytest.fixture(scope="module")
def html() -> str:
    """The page of a whole run."""
    return render_html(fakes.full())


def test_every_number_of_the_page(html: str) -> None:
    """Text, tables and drawings: each number is a whole figure, or said to be something else."""
    assert re.findall("data-of", html)
    assert loose_on_page(html) == []


@pytest.mark.parametrize("name", PARTIAL)
def test_every_number_of_a_partial_page(name: str) -> None:
    """The same where much is missing: one start, no values, processes, a failed run."""
    assert loose_on_page(render_html(PARTIAL[name]())) == []


@pytest.mark.parametrize("starts", [1, 2, 3])
def test_every_number_of_few_starts(tmp_path: Path, starts: int) -> None:
    """Below three starts the reason stands where an interval would, or what the interval is of."""
    plan = Plan("realtime", "R", messages=60, starts=starts, floor_per_start=True)
    assert loose_on_page(render_html(analyse(write_run(tmp_path, (plan,))))) == []


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda page: page.replace("</main>", "<p>It took 12 ms.</p></main>"), "bare number"),
        (lambda page: re.sub(r"(<b>[\d.]+)\u00a0ms</b>", r"\1</b>", page), "lacks its unit"),
        (lambda page: page.replace('<span class="of">', '<span class="ob">'), "what it rests on"),
        (lambda page: page.replace("<small>0.7", "<small>about 0.7"), ""),
        (lambda page: re.sub(r"<small>[\d.]+ to [^<]*</small>", "", page), "lacks its interval"),
        (lambda page: page.replace('data-note="single"', ""), "why it has no interval"),
        (lambda page: page.replace('data-kind="tick"', ""), "bare number"),
        (lambda page: page.replace("limit of", "about"), ""),
        (lambda page: page.replace("; 9 starts, 9 messages)", ")"), "in a text"),
    ],
)  # fmt: skip
def test_the_walk_can_fail(html: str, harm: Callable[[str], str], found: str) -> None:
    """Each thing that a figure must have is missed where it is taken away."""
    wrong = loose_on_page(harm(html))
    assert bool(wrong) is bool(found)
    assert all(found in one for one in wrong[:1])


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        (f"mean hop {WHOLE}", 0),
        ("mean hop 0.84 ms (0.79 to 0.90 ms; 5 starts, 1000 messages); limit of 15 ms", 0),
        ("p99 from 5 starts of trial 3", 0),
        ("mean hop 0.84 ms", 1),
        ("mean hop 0.84 ms (0.79 to 0.90 ms)", 3),
        ("mean hop 0.84 ms (5 starts, 1000 messages)", 1),
        ("mean hop 0.84 (0.79 to 0.90; 5 starts, 1000 messages)", 3),
    ],
)
def test_numbers_in_text(text: str, loose: int) -> None:
    """In text a figure needs its unit, interval and counts; a limit and a count are words."""
    assert len(loose_in(text)) == loose


def test_every_number_of_the_other_views() -> None:
    """Terminal, Markdown and JUnit show whole figures as well."""
    results, file = fakes.full(), io.StringIO()
    render_terminal(results, Console(file=file, force_terminal=False, width=200))
    cases = ET.fromstring(render_junit(results)).iter("testcase")  # noqa: S314  # our own text
    texts = [
        text or "" for case in cases for one in case for text in (one.text, one.get("message"))
    ]
    lines = [*file.getvalue().splitlines()[1:], *texts]
    table = [line for line in render_markdown(results).splitlines() if line.startswith("| S")]
    # What a claim states, and its limit, have columns of their own.
    for row in table:
        name, _statement, verdict, measured, _limit, reason = row.split(" | ")
        lines += [name, verdict, measured, reason]
    assert len(lines) > 50
    assert [loose for line in lines for loose in loose_in(line)] == []


def test_a_figure_cannot_be_made_without() -> None:
    """By construction: no unit, no counts, or neither interval nor reason is an error."""
    with pytest.raises(ValueError, match="no unit"):
        reading(0.84, 0.79, 0.90, "", of="5 starts, 1000 messages")
    with pytest.raises(ValueError, match="lacks"):
        Reading("0.84 ms", "0.79 to 0.90 ms")
    with pytest.raises(ValueError, match="lacks"):
        Reading("0.84 ms", of="5 starts, 1000 messages")
