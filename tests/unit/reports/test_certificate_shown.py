"""The section "The meter, measured" of a page: what a certificate says, or how to get one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.certificate import certify
from reports.certificate_file import FILE, write_certificate
from reports.render.html import render_html
from reports.results import analyse
from tests.fakes import results as fakes
from tests.fakes.certificate import certificate_run
from tests.fakes.numbers_shown import loose_on_page

Json = dict[str, Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """Results of a run with its own, valid certificate; not to be changed."""
    run = certificate_run(tmp_path_factory.mktemp("shown") / "run")
    write_certificate(certify(run), run / FILE)
    return analyse(run)


def section(page: str) -> str:
    """The part of a page that speaks of the meter."""
    begin = page.index('<section id="meter"')
    return page[begin : page.index("</section>", begin)]


def test_every_check_is_shown_with_its_figures(results: Json) -> None:
    """Titles, verdicts and tables of all checks; both loops, corrected beside uncorrected."""
    shown = section(render_html(results))
    for check in results["certificate"]["document"]["checks"]:
        assert check["title"] in shown
    assert shown.count("<table") == 6
    assert shown.count('class="badge met"') == 7 + 8 + 20 + 2 + 2
    assert "The meter is certified: 7 of 7 checks are shown in this run." in shown
    begin = shown.index("p90 corrected")
    assert begin < shown.index("p90 uncorrected") < shown.index("closed", begin)


def test_every_number_is_a_whole_figure(results: Json) -> None:
    """Each has its unit, starts, messages and interval, or says why it has none."""
    assert loose_on_page(section(render_html(results))) == []


def test_run_without_a_certificate_says_how_to_get_one() -> None:
    """One line with the command; no table."""
    shown = section(render_html(fakes.full()))
    assert "python -m bench certify" in shown
    assert "--certificate" in shown
    assert "<table" not in shown


CHANGES: dict[str, tuple[Callable[[Json], object], str]] = {
    "flagged": (
        lambda c: c.update(own=False, flags=["made with another broker: nats, here rabbitmq"]),
        "<strong>made with another broker: nats, here rabbitmq</strong>",
    ),
    "of another run": (lambda c: c.update(own=False), "are shown in run 20261124-031500-000001"),
    "not valid": (
        lambda c: c["document"].update(valid=False, verdict="undecided"),
        "The meter is not certified",
    ),
    "hostile": (
        lambda c: c["document"]["checks"][0].update(reason="<script>alert(1)</script>"),
        "&lt;script&gt;",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_speaks_against_it_is_shown(results: Json, name: str) -> None:
    """Flags, another run's id and a verdict that is not shown stand above the checks."""
    change, says = CHANGES[name]
    certificate = {**results["certificate"], "document": {**results["certificate"]["document"]}}
    checks = [dict(check) for check in certificate["document"]["checks"]]
    certificate["document"]["checks"] = checks
    change(certificate)
    assert says in section(render_html({**results, "certificate": certificate}))


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    """A certificate with missing figures gives a page all the same, with words in their place."""
    run = certificate_run(tmp_path / "run", without=["freeze-closed", "network-delay-10", "same-a"])
    (run / "meter.json").unlink()
    write_certificate(certify(run), run / FILE)
    page = render_html(analyse(run))
    shown = section(page)
    assert "not measured" in shown
    assert "The meter is not certified" in shown
    assert loose_on_page(shown) == []
