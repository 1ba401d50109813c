"""The drawings of the search and of the break-even: what is in them, and no figure is loose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.probes import outgrows, within
from reports.render.balance import NARROW, WIDE, balance
from reports.render.html import render_html
from reports.render.loglog import Plane, decades
from reports.results import analyse
from reports.stats import Basis, Estimate, Samples
from scenarios.search import Verdict
from tests.fakes.numbers_shown import loose_on_page
from tests.fakes.rundir import Plan, S, Trial, describe, make_trial, store

SEARCH = {
    "lowest_hz": 50.0, "highest_hz": 400.0, "factor": 2.0, "limit_ms": 15.0, "probe_s": 2.0,
    "starts": 14,
}  # fmt: skip
LATE = (
    "the load generator was late by 60.0 ms (no interval: fewer than 3 starts; 1 start, "
    "200 messages) at p99"
)


def searched(
    root: Path,
    tried: Sequence[tuple[float, float]],
    *,
    late: tuple[int, ...] = (),
    reached: float = 0.9,
    late_by_ms: float = 60.0,
    **asked: Any,
) -> Any:
    """The results of a search whose starts tried these rates, with these mean hops.

    Those whose generator was late sent the share ``reached`` of their load in time.
    """
    rng = np.random.default_rng(1)
    trials: list[Trial] = []
    at_ns = 5_000 * S
    for index, (rate, hop_ms) in enumerate(tried, start=1):
        plan = Plan("capacity", "C", rate_hz=rate, messages=200, hop_ms=hop_ms)
        trial = make_trial(plan, None, index=index, at_ns=at_ns, rng=rng, launcher="docker")
        at_ns = trial.meta["end_ns"] + S
        trial.meta["probe"] = {"rate_hz": rate}
        if index in late:
            load = {
                "target_rate_hz": rate, "achieved_rate_hz": reached * rate,
                "lag_max_ms": late_by_ms,
            }  # fmt: skip
            trial.meta.update(status="invalid", reasons=[LATE], load=load)
        trials.append(trial)
    run = describe((Plan("capacity", "C", messages=200),), trials, seed=1, launcher="docker")
    run["scenarios"][0].update(search={**SEARCH, **asked}, starts=1)
    run["planned_trials"] = len(trials)
    store(root, run, trials)
    return analyse(root)


def test_the_bracket_is_told_with_what_it_rests_on(tmp_path: Path) -> None:
    """The highest that held, the lowest that did not, and a row and a dot for every start."""
    results = searched(tmp_path, [(50, 0.7), (100, 0.8), (200, 40.0), (100, 0.8), (200, 40.0)])
    (found,) = results["capacity"]
    assert (found["highest_hz"], found["search"]["failed_hz"]) == (100.0, 200.0)
    assert (found["search"]["starts"], found["search"]["rates"]) == (5, 3)
    assert [rung["rate_hz"] for rung in found["rungs"]] == [50, 100, 100, 200, 200]
    assert found["first_to_saturate"]
    assert found["search"]["ended"] == "found"
    html = render_html(results)
    assert "is the lowest that did not" in html
    assert "further apart than the" not in html
    assert "3 rates, 5 starts" in html.replace("\N{NO-BREAK SPACE}", " ")
    assert html.count("One dot a start of the search") == 2
    assert loose_on_page(html) == []
    assert results["changes"] == []
    assert "capacity" not in results["figures"] or not results["figures"]["capacity"]["cells"]


def test_a_late_generator_is_told_apart_from_a_flow_that_does_not_hold(tmp_path: Path) -> None:
    """Nothing failed; the rate that was not reached is named, and why."""
    tried = [(50, 0.7), (100, 0.8), (100, 0.8), (50, 0.7)]
    results = searched(tmp_path, tried, late=(2, 3))
    (found,) = results["capacity"]
    assert (found["highest_hz"], found["search"]["failed_hz"]) == (50.0, None)
    assert (found["search"]["open_hz"], found["search"]["late"]) == ([100.0], True)
    html = render_html(results)
    assert "the load generator did not keep to its schedule" in html
    assert loose_on_page(html) == []


def test_a_late_start_says_what_its_lateness_cannot_have_caused(tmp_path: Path) -> None:
    """All sent, late or not, is the harder load; hops longer by more than the lateness fail."""

    def says(name: str, hop_ms: float, **how: float) -> list[str]:
        results = searched(tmp_path / name, [(50, hop_ms), (50, 0.7)], late=(1,), **how)
        (found,) = results["capacity"]
        assert loose_on_page(render_html(results)) == []
        return [rung["verdict"] for rung in found["rungs"]]

    assert says("held", 0.7, reached=0.995) == ["holds", "holds"]
    assert says("less", 0.7, reached=0.98) == ["generator late", "holds"]
    assert says("long", 60.0, reached=0.995, late_by_ms=60.0) == ["generator late", "holds"]
    assert says("longer", 100.0, reached=0.98, late_by_ms=60.0) == ["does not hold", "holds"]


def test_a_cap_is_named_where_the_bracket_is_wider_than_asked(tmp_path: Path) -> None:
    """In the results and on the page; a search that was cut short is not one that ended by it."""
    tried = [(50, 0.7), (100, 40.0), (50, 0.7), (100, 40.0)]
    results = searched(tmp_path / "cap", tried, factor=1.1, starts=4)
    (found,) = results["capacity"]
    assert (found["highest_hz"], found["search"]["failed_hz"]) == (50.0, 100.0)
    assert (found["search"]["ended"], found["search"]["most_starts"]) == ("cap", 4)
    html = render_html(results)
    assert "It was ended by its cap of" in html
    assert loose_on_page(html) == []
    results = searched(tmp_path / "cut", tried, factor=1.1)
    assert results["capacity"][0]["search"]["ended"] == "cut short"
    html = render_html(results)
    assert "It was cut short" in html
    assert loose_on_page(html) == []


def test_undecided_rates_are_named_where_the_bracket_is_wider_than_asked(tmp_path: Path) -> None:
    """Two rates beside each other that a late generator left undecided, between both ends."""
    tried = [(hz, 40.0 if hz == 100 else 0.7) for hz in (50, 65, 77, 100) for _ in range(2)]
    results = searched(tmp_path, tried, late=(3, 4, 5, 6), factor=1.7, starts=40)
    (found,) = results["capacity"]
    assert found["search"]["ended"] == "undecided rates"
    html = render_html(results)
    assert "rates between them could not be decided" in html
    assert loose_on_page(html) == []


def test_what_is_undecided_everywhere_is_said_to_be(tmp_path: Path) -> None:
    """Not even the lowest rate could be sent."""
    html = render_html(searched(tmp_path, [(50, 0.7)] * 4, late=(1, 2, 3, 4)))
    assert "Undecided: at no rate" in html
    assert loose_on_page(html) == []


def test_a_start_is_judged_by_its_whole_interval() -> None:
    """Within, beyond, across, and without one."""

    def judged(low: float | None, high: float | None) -> Verdict:
        return within(Estimate(15.0, low, high, 1, 100, Basis.BLOCKS), 15.0)

    assert judged(10, 15) is Verdict.HOLDS
    assert judged(15.1, 20) is Verdict.FAILS
    assert judged(10, 20) is judged(None, None) is within(None, 15.0) is Verdict.OPEN


def test_a_queue_that_grows_is_seen_without_an_interval() -> None:
    """Hops that grow beyond the limit fail; high ones that do not grow, or low ones, do not."""
    rng = np.random.default_rng(1)
    noise = rng.exponential(1.0, 400)

    def grows(values: Any) -> bool:
        return outgrows(Samples.of([np.asarray(values)], 2), 15.0)

    assert grows(noise + np.linspace(0, 80, 400))
    assert not grows(noise + np.linspace(0, 10, 400))
    assert not grows(noise + 40)
    assert not grows(noise + np.linspace(80, 0, 400))
    assert not grows((noise + np.linspace(0, 80, 400))[:100])


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_break_even_is_drawn_for_each_resource_that_has_figures(width: float) -> None:
    """Two lines a resource and a band where they cross; nothing for a resource without figures."""

    def value(number: float, low: float | None = None, high: float | None = None) -> Any:
        return {
            "value": number, "low": low, "high": high, "unit": "s",
            "starts": 5, "messages": 5, "basis": "starts",
        }  # fmt: skip

    rows = [
        {
            "resource": "container_seconds", "ordinary": value(0.4),
            "idle_per_second": value(3.0), "work": value(0.0),
            "per_minute": value(450.0, 400.0, 500.0), "always": False,
        },
        {
            "resource": "cpu_seconds", "ordinary": value(0.001),
            "idle_per_second": value(0.0004), "work": value(0.002),
            "per_minute": None, "always": True,
        },
        {"resource": "mb_seconds", "ordinary": None, "idle_per_second": None, "work": None,
         "per_minute": None, "always": False},
    ]  # fmt: skip
    drawn = str(balance({"break_even": rows}, width=width))
    assert drawn.count('class="cost first"') == drawn.count('class="cost broker"') == 2
    assert drawn.count("even-band") == drawn.count('class="even"') == 1
    assert "MB-seconds" not in drawn
    assert balance({"break_even": rows[2:]}, width=width) == ""


def test_a_crossing_lies_where_both_cost_the_same() -> None:
    """Places are by logarithm, and what lies beyond an end is at the edge."""
    plane = Plane(500.0, 300.0, (1.0, 100.0), (0.1, 10.0))
    assert plane.x(10.0) == pytest.approx((plane.x(1.0) + plane.x(100.0)) / 2)
    assert plane.y(1.0) == pytest.approx((plane.top + plane.bottom) / 2)
    assert plane.x(1e9) == plane.x(100.0)
    assert decades((0.5, 200.0), 5) == [1.0, 10.0, 100.0]
    assert decades((60.0, 700.0), 5) == [100.0, 200.0, 500.0]
