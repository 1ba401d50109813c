"""The drawings of the search and of the break-even: what is in them, and no figure is loose."""

from __future__ import annotations

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
from scenarios.model import Verdict
from tests.fakes.numbers_shown import loose_on_page
from tests.fakes.rundir import Plan, S, Trial, describe, make_trial, store

SEARCH = {"lowest_hz": 50.0, "highest_hz": 400.0, "factor": 1.1, "limit_ms": 15.0, "probe_s": 2.0}
LATE = (
    "the load generator was late by 60.0 ms (no interval: fewer than 3 starts; 1 start, "
    "200 messages) at p99"
)


def searched(root: Path, tried: list[tuple[float, float]], *, late: tuple[int, ...] = ()) -> Any:
    """The results of a search whose starts tried these rates, with these mean hops."""
    rng = np.random.default_rng(1)
    trials: list[Trial] = []
    at_ns = 5_000 * S
    for index, (rate, hop_ms) in enumerate(tried, start=1):
        plan = Plan("capacity", "C", rate_hz=rate, messages=200, hop_ms=hop_ms)
        trial = make_trial(plan, None, index=index, at_ns=at_ns, rng=rng, launcher="docker")
        at_ns = trial.meta["end_ns"] + S
        trial.meta["probe"] = {"rate_hz": rate}
        if index in late:
            trial.meta.update(status="invalid", reasons=[LATE])
        trials.append(trial)
    run = describe((Plan("capacity", "C", messages=200),), trials, seed=1, launcher="docker")
    run["scenarios"][0].update(search=SEARCH, starts=1)
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
    html = render_html(results)
    assert "is the lowest that did not" in html
    assert "3 rates, 5 starts" in html.replace("\N{NO-BREAK SPACE}", " ")
    assert html.count("One dot a start of the search") == 2
    assert loose_on_page(html) == []
    assert results["changes"] == []
    assert "capacity" not in results["figures"] or not results["figures"]["capacity"]["cells"]


def test_a_late_generator_is_told_apart_from_a_flow_that_does_not_hold(tmp_path: Path) -> None:
    """Nothing failed; the rate that was not reached is named, and why."""
    results = searched(tmp_path, [(50, 0.7), (100, 0.8), (100, 0.8)], late=(2, 3))
    (found,) = results["capacity"]
    assert (found["highest_hz"], found["search"]["failed_hz"]) == (50.0, None)
    assert (found["search"]["open_hz"], found["search"]["late"]) == ([100.0], True)
    html = render_html(results)
    assert "the load generator did not keep to its schedule" in html
    assert loose_on_page(html) == []


def test_what_is_undecided_everywhere_is_said_to_be(tmp_path: Path) -> None:
    """Not even the lowest rate could be sent."""
    html = render_html(searched(tmp_path, [(50, 0.7)], late=(1,)))
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
