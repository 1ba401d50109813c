"""The page's sections on hops, queues and sensitivity say what was found, each with its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reports.render.html import render_html
from reports.results import analyse
from runtime.spans import PROCESS
from tests.fakes import results as fakes
from tests.fakes.numbers_shown import loose_on_page
from tests.fakes.queues import twice
from tests.fakes.rundir import Json, Plan, write_run
from tests.unit.reports import test_additivity as hops
from tests.unit.reports import test_queueing as queueing
from tests.unit.reports import test_sensitivity as delays


def section(page: str, name: str) -> str:
    """The text of a section, without its markup."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]*>", " ", found[0]).replace("\u00a0", " ").split())


def test_each_hop_with_confirm_and_ack(tmp_path: Path) -> None:
    """A row for the ingress and each hop; the parts, the sum, and both times beside it."""
    page = render_html(analyse(write_run(tmp_path, (Plan("realtime", "R"),))))
    text = section(page, "anatomy")
    for name in ("load generator → source", "source → mapper", "mapper → action"):
        assert name in text
    for label in ("Client-out", "+ Transit", "+ Client-in", "= Hop", "Confirm", "Ack"):
        assert label in text
    assert loose_on_page(page) == []


def test_a_hop_that_does_not_add_up_is_shown(tmp_path: Path) -> None:
    """Verdict and words of the scenario, and the badge of the hop."""
    plan = Plan("realtime", "Three", messages=200, starts=6)
    page = render_html(hops.results(tmp_path, plan, hop=2, delay_ms=0.5))
    text = section(page, "anatomy")
    assert "realtime ✕ do not add up Hop mapper → action: it takes" in text
    assert "✕ deviates" in text
    assert loose_on_page(page) == []


def test_lengths_are_shown_with_their_line(tmp_path: Path) -> None:
    """Each length beside the others, the slope and the intercept."""
    page = render_html(hops.results(tmp_path, hops.LENGTH))
    text = section(page, "anatomy")
    assert "length ✓ add up The cost of a hop becomes" in text
    for label in ("2 containers", "8 containers", "Slope, a hop", "Intercept", "first hops"):
        assert label in text
    assert loose_on_page(page) == []


def test_queues_are_shown_with_what_binds_them(tmp_path: Path) -> None:
    """The bound of each step, and the law with its verdict."""
    trials = [queueing.m_m_1(80.0, seed=seed, count=2000) for seed in range(5)]
    page = render_html(queueing.a_run(tmp_path, trials))
    text = section(page, "queues")
    assert "Little's law holds for 2 of 2 queues and steps. Of 1 step , 1 queue-bound." in text
    assert "✓ holds" in text
    assert loose_on_page(page) == []


def test_a_contradiction_is_shown_with_its_reason(tmp_path: Path) -> None:
    """What was handled twice stands in the section, and among the problems."""
    trials = [queueing.m_m_1(30.0, seed=seed, count=1000) for seed in range(3)]
    again = (trials[0]["kind"] == PROCESS) & (trials[0]["trace"] % 50 == 0)
    trials[0] = twice(trials[0], again)
    page = render_html(queueing.a_run(tmp_path, trials))
    assert "✕ contradicted trial 1: L differs from lambda W" in section(page, "queues")
    assert "the queue of only: L differs from lambda W" in section(page, "problems")
    assert loose_on_page(page) == []


def test_the_sensitivity_map(tmp_path: Path) -> None:
    """A row for each delayed step, a square for each answer; the one that differs is marked."""
    page = render_html(delays.a_run(tmp_path, also=0.12))
    text = section(page, "sensitivity")
    assert text.count("by 20 ms") == 3
    assert len(re.findall(r'class="heat-\d', section_markup(page))) == 21
    assert re.search(r"0\.120 ms/ms .{0,40}✕ not 0", text)
    assert "✕ deviates A slower mapper makes the whole execution slower by 1.12 ms/ms" in text
    assert loose_on_page(page) == []


def section_markup(page: str) -> str:
    """The sensitivity section as it is written."""
    found = re.search(r'<section id="sensitivity".*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def test_what_is_next_to_nothing_looks_so(tmp_path: Path) -> None:
    """A slope of a millionth is shown as 0, not with a row of zeros."""
    page = render_html(delays.a_run(tmp_path))
    assert "0.0000" not in section(page, "sensitivity")


@pytest.mark.parametrize("name", ["anatomy", "queues", "sensitivity"])
def test_nothing_to_show_is_said(name: str) -> None:
    """Where nothing was measured each section says so in a sentence, and has no table."""
    page = render_html(fakes.nothing_valid())
    text = section(page, name)
    assert re.search(r"No (hop|queue|scenario)", text)
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None
    assert "<table" not in found[0]


def test_names_are_escaped(tmp_path: Path) -> None:
    """A step whose name is markup appears as text in every one of the sections."""
    results: Json = delays.a_run(tmp_path, also=0.12)
    page = render_html(json.loads(json.dumps(results).replace("mapper", "<b>x</b>")))
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in section_markup(page)


def test_older_results_have_no_such_keys() -> None:
    """Results of an earlier version are shown without these sections' figures."""
    results = fakes.full()
    for scenario in results["figures"].values():
        for key in ("additivity", "queues", "sensitivity"):
            scenario.pop(key, None)
        for cell in scenario["cells"]:
            cell.pop("ingress_parts", None)
            for hop in cell["hops"]:
                hop.pop("confirm", None)
                hop.pop("ack", None)
    text = section(render_html(results), "anatomy")
    assert "source → mapper" in text
    assert "not measured" in text
