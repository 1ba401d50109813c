"""The page shows what happened to flows and messages, with whole figures only."""

from __future__ import annotations

from pathlib import Path

from reports.render.html import render_html
from reports.results import analyse
from tests.fakes.changing import changed_run, listening_run
from tests.fakes.numbers_shown import Tree, loose_on_page
from tests.fakes.rundir import Plan, write_run


def texts(html: str, section: str) -> str:
    """All text of a section; empty where the page does not have it."""
    found = [node for node in Tree(html).root.every() if node.attributes.get("id") == section]
    return found[0].text() if found else ""


def test_a_changed_flow_is_shown_phase_by_phase(tmp_path: Path) -> None:
    """What was done, and how many messages say which revision."""
    html = render_html(analyse(changed_run(tmp_path)))
    told = texts(html, "changes")
    assert "revision 1: 60 messages" in told
    assert "revision 2: 60 messages" in told
    assert "deploy (revision 2) while it runs, draft (revision 2) while it runs" in told
    assert loose_on_page(html) == []


def test_a_leak_is_named_with_its_step(tmp_path: Path) -> None:
    """The careless trigger, its events, and a dot for each."""
    html = render_html(analyse(listening_run(tmp_path, copies=lambda calls: calls)))
    told = texts(html, "listeners")
    assert "Step listen of listen leaks" in told
    assert "30 events" in told
    assert "30 of one event" in told
    dots = [
        node for node in Tree(html).root.every()
        if node.tag == "rect" and str(node.attributes.get("class")) == "phase first"
        and str(node.attributes.get("rx")) == "3"
    ]  # fmt: skip
    assert len(dots) >= 60
    assert loose_on_page(html) == []


def test_no_leak_is_said_too(tmp_path: Path) -> None:
    """With one copy of each event."""
    html = render_html(analyse(listening_run(tmp_path, copies=lambda _calls: 1)))
    assert "No step leaks" in texts(html, "listeners")


def test_a_run_without_events_has_no_such_sections(tmp_path: Path) -> None:
    """Nor links to them; what ran longest is shown all the same."""
    root = write_run(tmp_path, (Plan("realtime", "R", messages=200, starts=2),))
    html = render_html(analyse(root))
    assert (texts(html, "changes"), texts(html, "listeners")) == ("", "")
    assert 'href="#changes"' not in html
    assert "does not drift" in texts(html, "soak")
    assert loose_on_page(html) == []
