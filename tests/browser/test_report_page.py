"""The report in a real browser: nothing is fetched, everything fits, no scripts are needed."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from tests.browser.conftest import Show
from tests.fakes import results as fakes

pytestmark = pytest.mark.browser

CONTRAST = """element => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const linear = [r, g, b].map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
        layers.push(channels(getComputedStyle(at).backgroundColor));
    }
    let ground = [255, 255, 255];
    for (const [r, g, b, a = 1] of layers.reverse()) {
        ground = [r, g, b].map((c, i) => a * c + (1 - a) * ground[i]);
    }
    const both = [light(channels(getComputedStyle(element).color)), light(ground)].sort();
    const [low, high] = both[0] < both[1] ? both : [both[1], both[0]];
    return (high + 0.05) / (low + 0.05);
}"""
"""Contrast ratio of an element's text with what is behind it (WCAG 2.2, relative luminance)."""
TEXTS = (".badge", ".lead", ".key", ".reason", "td small", "td em", ".count", "nav a", "dt", "h1")


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_no_request_leaves_the_page(show: Show) -> None:
    """The page and its own data: URLs are all that is loaded, and the console stays empty."""
    shown = show(fakes.full())
    shown.page.wait_for_load_state("networkidle")
    assert [url for url in shown.requests if not url.startswith("data:")] == [shown.address]
    assert shown.complaints == []


def test_policy_stops_what_gets_in(show: Show) -> None:
    """Even an element added later cannot load from elsewhere or run: the policy is in force."""
    page = show(fakes.full()).page
    refused = page.evaluate(
        """() => new Promise(resolve => {
            const refused = [];
            document.addEventListener('securitypolicyviolation', event => {
                refused.push(event.effectiveDirective);
                if (refused.length === 2) { resolve(refused.sort()); }
            });
            const image = document.createElement('img');
            image.src = 'http://127.0.0.1:9/x.png';
            document.body.append(image);
            const script = document.createElement('script');
            script.textContent = 'window.intruded = true';
            document.body.append(script);
        })"""
    )
    assert refused == ["img-src", "script-src-elem"]
    assert page.evaluate("window.intruded") is None


def test_claims_are_seen_first(show: Show) -> None:
    """On a desktop screen the claims table begins on the first screen, before any drawing."""
    page = show(fakes.full()).page
    table = page.locator("table.claims").bounding_box()
    first_drawing = page.locator(".drawing:visible").first.bounding_box()
    assert table is not None
    assert first_drawing is not None
    assert table["y"] < 600
    assert table["y"] < first_drawing["y"]


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("case", ["full", "hostile", "nothing valid"])
def test_page_fits_its_window(show: Show, width: int, case: str) -> None:
    """No part sticks out sideways, on a desktop or a phone, all sections open."""
    results = {
        "full": fakes.full,
        "hostile": lambda: fakes.hostile("<b>" + "averylongname" * 12),
        "nothing valid": fakes.nothing_valid,
    }[case]()
    page = show(results, width=width).page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert overflow(page) <= 0


@pytest.mark.parametrize("width", [1280, 400])
def test_drawings_keep_their_text_inside(show: Show, width: int) -> None:
    """No label of a drawing is cut off by the drawing's edge."""
    page = show(fakes.full(), width=width).page
    cut = page.evaluate(
        """() => [...document.querySelectorAll('svg[role=img] text')]
            .filter(text => text.getBoundingClientRect().width > 0)
            .filter(text => {
                const own = text.getBoundingClientRect();
                const all = text.ownerSVGElement.getBoundingClientRect();
                return own.left < all.left - 1 || own.right > all.right + 1
                    || own.top < all.top - 1 || own.bottom > all.bottom + 1;
            })
            .map(text => text.textContent)"""
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(show: Show, scheme: Literal["light", "dark"]) -> None:
    """Verdicts and small print have a contrast of at least 4.5 to 1 (WCAG AA) in both schemes."""
    page = show(fakes.full(), scheme=scheme).page
    found = {
        selector: page.locator(selector).evaluate_all(f"all => Math.min(...all.map({CONTRAST}))")
        for selector in TEXTS
    }
    assert {s: round(c, 1) for s, c in found.items() if c < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_drawn_text_has_contrast(show: Show, scheme: Literal["light", "dark"]) -> None:
    """Text in drawings takes the reader's scheme: it stands out from the page's ground."""
    page = show(fakes.full(), scheme=scheme).page
    ratios = page.evaluate(
        """() => {
            const light = text => {
                const linear = text.match(/[\\d.]+/g).slice(0, 3).map(c => c / 255)
                    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
            };
            const ground = light(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll('svg[role=img] text')].map(text => {
                const own = light(getComputedStyle(text).fill);
                return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
            });
        }"""
    )
    assert len(ratios) > 50
    assert min(ratios) >= 4.5


def test_works_without_scripts(show: Show) -> None:
    """With scripts off the claims can be filtered, details opened, and links followed."""
    shown = show(fakes.full(), scripts=False)
    page = shown.page
    page.locator("label[for=show-missed]").click()
    assert page.locator("table.claims tbody tr:visible").count() == 1
    page.locator("label[for=show-all]").click()
    assert page.locator("table.claims tbody tr:visible").count() == 25
    details = page.locator("details.scenario").first
    assert details.locator("table.figures").is_hidden()
    details.locator("summary").first.click()
    assert details.locator("table.figures").first.is_visible()


def test_claim_leads_to_its_figures(show: Show) -> None:
    """The link of a claim's scenario opens and shows that scenario's figures."""
    page = show(fakes.full()).page
    page.locator("#claim-11 .scenario a").click()
    page.wait_for_function("document.querySelector('details.scenario').open")
    assert page.locator("details.scenario[open] .name").inner_text() == "realtime"


def test_keyboard_reaches_the_claims(show: Show) -> None:
    """The first Tab offers to skip to the claims, and every table that scrolls can be focused."""
    page = show(fakes.full(), width=400).page
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == "#claims"
    unreachable = page.evaluate(
        """() => [...document.querySelectorAll('.scroll')]
            .filter(e => e.tabIndex !== 0 || !e.getAttribute('aria-label')).length"""
    )
    assert unreachable == 0


def test_table_keeps_its_meaning_on_a_phone(show: Show) -> None:
    """Laid out as cards, the claims are still a table of 25 rows to a screen reader."""
    page = show(fakes.full(), width=400).page
    assert page.get_by_role("table", name="Claims").get_by_role("row").count() == 26


def test_hostile_text_does_not_run(show: Show) -> None:
    """Markup in names and errors is shown, not obeyed."""
    shown = show(fakes.hostile("<img src=x onerror=\"document.title='owned'\">"))
    assert "owned" not in shown.page.title()
    assert shown.page.locator("img").count() == 0
    assert shown.complaints == []
