"""The HTML report: its structure, its escaping, its sameness, and what it makes of partial runs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from reports.render.html import render_html
from tests.fakes import results as fakes

VOID = {"meta", "link", "br", "input", "wbr", "hr"}
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}$x$</style><!--\u202e"
PARTIAL: dict[str, Callable[[], dict[str, Any]]] = {
    "realtime only": lambda: fakes.only("realtime"),
    "ordinary only": lambda: fakes.only("ordinary"),
    "length only": lambda: fakes.only("length"),
    "volume only": lambda: fakes.only("volume-and-api"),
    "one start": fakes.one_start,
    "no values": fakes.no_values,
    "nothing valid": fakes.nothing_valid,
    "empty": fakes.empty,
    "processes": fakes.processes,
    "no floor": lambda: fakes.full() | {"floor": None},
    "no environment": lambda: fakes.full() | {"environment": {}},
    "bare": lambda: {"format": 1},
}


SECTIONS = [
    "claims", "flow", "distribution", "warm-up", "modes", "length", "volume", "anatomy", "queues",
    "sensitivity", "soak", "figures", "integrity", "meter", "floor", "environment", "problems",
]  # fmt: skip


class Page(HTMLParser):
    """The page as a list of (path of elements with their attributes, text)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.cells: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and hold it open unless it is void."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
            if tag in {"td", "th"}:
                self.cells.append((f"{tag} {dict(attrs).get('class') or ''}", ""))

    def handle_endtag(self, tag: str) -> None:
        """Close the element; any other one that is still open is a mistake."""
        name, _ = self.open.pop()
        assert name == tag, f"<{name}> is closed by </{tag}> at {self.getpos()}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself (SVG)."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text and where it stands."""
        path = tuple(name for name, _ in self.open)
        self.texts.append((path, data))
        if {"td", "th"} & set(path) and self.cells:
            class_, text = self.cells[-1]
            self.cells[-1] = (class_, text + data)

    def having(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of one name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        """All visible text."""
        return " ".join(text for path, text in self.texts if "style" not in path)


@pytest.fixture(scope="module")
def html() -> str:
    """The page of a whole run."""
    return render_html(fakes.full())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    """The same, parsed."""
    return Page(html)


def test_sections_stand_in_order(page: Page) -> None:
    """Claims come first, and every section is there, in the order that answers the questions."""
    assert [attributes["id"] for attributes in page.having("section")] == SECTIONS


def test_every_claim_has_a_row(html: str) -> None:
    """The table names all 25 claims, each with its verdict as a word, not by colour alone."""
    page = Page(html[html.index('<section id="claims"') : html.index('<section id="flow"')])
    rows = [a for a in page.having("tr") if (a.get("id") or "").startswith("claim-")]
    badges = [text.strip() for path, text in page.texts if path[-2:] == ("td", "span")]
    assert len(rows) == 25
    verdicts = [claim["verdict"] for claim in fakes.full()["claims"]]
    assert verdicts.count("missed") == 1
    for verdict in ("met", "missed", "undecided"):
        assert badges.count(verdict) == verdicts.count(verdict) > 0


def test_headline_counts_the_verdicts(page: Page) -> None:
    """The first heading is the answer."""
    headings = [text for path, text in page.texts if path[-1:] == ("h1",)]
    met = sum(claim["verdict"] == "met" for claim in fakes.full()["claims"])
    assert headings == [f"{met} of 25 claims met, 1 missed, {24 - met} undecided"]


def test_same_results_give_same_bytes(html: str) -> None:
    """The page is a pure function of the results."""
    assert render_html(fakes.full()) == html


def test_page_is_small(html: str) -> None:
    """The page with its drawings stays below 800 KB, and travels as less than 100 KB."""
    assert len(html.encode()) < 800_000
    assert len(zlib.compress(html.encode())) < 100_000


def test_nothing_is_fetched(html: str, page: Page) -> None:
    """No element and no style names an address outside the page."""
    addresses = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "xlink:href", "poster"}
    ]
    assert addresses
    assert [a for a in addresses if not a.startswith(("#", "data:"))] == []
    assert "@import" not in html
    assert "url(" not in re.sub(r"url\(#", "", html)


def test_page_has_no_script_and_a_strict_policy(page: Page) -> None:
    """Nothing runs in the page, and its policy would not let it."""
    policy = [a["content"] for a in page.having("meta") if "http-equiv" in a]
    assert page.having("script") == []
    assert policy == [
        (
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
            "form-action 'none'"
        )
    ]
    handlers = [n for _, attributes in page.elements for n in attributes if n.startswith("on")]
    assert handlers == []


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    """Every link and every label of a drawing finds its target, and only one."""
    ids = [a["id"] for _, a in page.elements if "id" in a]
    targets = [(a["href"] or "")[1:] for a in page.having("a")]
    targets += [
        reference
        for _, a in page.elements
        for name in ("aria-labelledby", "aria-describedby", "for")
        for reference in (a.get(name) or "").split()
    ]
    assert len(ids) == len(set(ids))
    assert set(targets) <= set(ids)


def test_drawings_are_described(page: Page) -> None:
    """Each drawing is an image with a title and a description, or is hidden from screen readers."""
    drawings = page.having("svg")
    assert len(drawings) > 10
    for drawing in drawings:
        described = {"aria-labelledby", "aria-describedby"} <= set(drawing)
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and described)


def test_table_headers_have_a_scope(page: Page) -> None:
    """A screen reader knows what each header is for."""
    headers = page.having("th")
    assert len(headers) > 100
    assert {header.get("scope") for header in headers} == {"col", "row"}


def test_quantile_that_cannot_be_given_says_why(page: Page) -> None:
    """p99 of 20 executions is not a number."""
    assert "n/a (needs more observations)" in page.text()


@pytest.mark.parametrize("name", PARTIAL)
def test_partial_run_gives_a_page(name: str) -> None:
    """Whatever is missing, the page is whole and says so instead of showing nonsense."""
    results = PARTIAL[name]()
    page = Page(render_html(results))
    text = page.text()
    assert page.open == []
    assert len(page.having("section")) == len(SECTIONS)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", text)


def test_failed_run_is_loud() -> None:
    """A run of which nothing is valid says so in its heading and in an alert."""
    page = Page(render_html(fakes.nothing_valid()))
    assert "Nothing valid was measured" in page.text()
    assert "This run failed." in page.text()
    assert "the broker went away" in page.text()
    assert [a["role"] for a in page.having("div") if "banner" in (a.get("class") or "")] == [
        "alert"
    ]


def test_interrupted_run_says_how_far_it_came() -> None:
    """The banner names the trials that were measured and those that were planned."""
    results = fakes.full() | {"status": "interrupted"}
    results["counts"] |= {"trials": 12, "valid": 12}
    text = re.sub(r"\s+", " ", Page(render_html(results)).text())
    assert "This run was interrupted." in text
    assert "12 of 28 planned trials were measured" in text


def test_process_launcher_is_named() -> None:
    """Where steps were processes, the page says so and calls the boxes processes."""
    text = Page(render_html(fakes.processes())).text()
    assert "Steps ran as processes, not containers." in text
    assert "NATS 2.10.22" in text
    assert "process 1" in text
    assert "container 1" not in text


def test_hostile_text_stays_text() -> None:
    """Names and errors from messages cannot become markup, template code or mathematics."""
    html = render_html(fakes.hostile(HOSTILE))
    page = Page(html)
    assert page.having("script") == []
    assert page.open == []
    assert html.count("<style>") == 1
    assert "<!--" not in html
    assert "{{ 7*7 }}" in page.text()
    assert "<script>alert(1)</script>" in page.text()


def test_unknown_verdict_is_never_a_pass() -> None:
    """A verdict that this version does not know is shown as it is, but coloured as undecided."""
    results = fakes.full()
    results["claims"][0]["verdict"] = "passed-ish"
    page = Page(render_html(results))
    row = next(a for a in page.having("tr") if a.get("id") == "claim-1")
    assert row["class"] == "is-undecided"
    assert "passed-ish" in page.text()


def test_missed_band_is_marked() -> None:
    """A square of the map outside 100 to 400 ms is marked as such, in words."""
    results = fakes.only("volume-and-api")
    cells = results["figures"]["volume-and-api"]["cells"]
    cells[-1]["end_to_end"] |= {"mean": 512.0, "mean_low": 500.0, "mean_high": 520.0}
    text = Page(render_html(results)).text()
    assert "above" in text
    assert "5 of 6 mean execution times lie between" in re.sub(r"\s+", " ", text)
