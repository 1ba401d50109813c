"""The capacity of a flow: the highest rate that certainly holds, and the step that is busiest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reports.render.html import render_html
from reports.results import analyse
from tests.fakes.numbers_shown import Tree, loose_on_page
from tests.fakes.rundir import Json, Plan, S, Trial, amend, describe, make_trial, store

RATES = (50.0, 100.0, 200.0)


def ladder(root: Path, hops_ms: tuple[float, ...], *, starts: int = 3) -> Json:
    """A run of three rates with these mean hops; the mapper works for longest."""
    rng = np.random.default_rng(1)
    trials: list[Trial] = []
    at_ns = 5_000 * S
    for number in range(starts):
        for index, (rate, hop_ms) in enumerate(zip(RATES, hops_ms, strict=True)):
            plan = Plan("capacity", "C", rate_hz=rate, messages=200, hop_ms=hop_ms)
            trial = make_trial(
                plan, None, index=len(trials) + 1, at_ns=at_ns, rng=rng, launcher="docker"
            )
            at_ns = trial.meta["end_ns"] + S
            trial.meta["phase"] = {"index": index, "name": f"rate-{rate:g}", "round": number}
            trial.meta["deeds"] = []
            trials.append(trial)
    run = describe(
        (Plan("capacity", "C", messages=200, starts=starts),), trials, seed=1, launcher="docker"
    )
    run["scenarios"][0].update(
        phases=[
            {"name": f"rate-{rate:g}", "flow_type": "realtime", "rate_hz": rate} for rate in RATES
        ],
        starts=starts,
    )
    store(root, run, trials)
    return dict(analyse(root))


def capacity(results: Json) -> dict[str, Any]:
    """What the results say of the only ladder."""
    (found,) = results["capacity"]
    return dict(found)


def test_the_highest_rate_below_which_all_hold(tmp_path: Path) -> None:
    """The third rate's hops are over the limit of 15 ms, so the second one is the capacity."""
    results = ladder(tmp_path, (0.7, 0.8, 40.0))
    found = capacity(results)
    assert [rung["verdict"] for rung in found["rungs"]] == ["holds", "holds", "does not hold"]
    assert found["highest_hz"] == 100.0
    busy = {step["id"]: step["utilisation"]["value"] for step in found["rungs"][-1]["steps"]}
    named = [step for step, value in busy.items() if value >= 0.9 * max(busy.values())]
    assert found["first_to_saturate"] == " or ".join(named) != ""


def test_a_rate_that_fails_below_one_that_holds_ends_it(tmp_path: Path) -> None:
    """What holds by chance above a rate that does not is no capacity."""
    assert capacity(ladder(tmp_path, (0.7, 40.0, 0.8)))["highest_hz"] == 50.0


def test_no_rate_holds(tmp_path: Path) -> None:
    """Then there is no capacity, and the page says so."""
    results = ladder(tmp_path, (40.0, 40.0, 40.0))
    assert capacity(results)["highest_hz"] is None
    assert "At no rate that was tried" in render_html(results)


def test_a_rate_without_a_valid_start_is_undecided_with_the_reason(tmp_path: Path) -> None:
    """It ends the ladder: what was not measured does not hold."""
    ladder(tmp_path, (0.7, 0.8, 0.9))
    for file in sorted(tmp_path.glob("trials/*/trial.json"))[1::3]:
        amend(file, lambda t: t.update(status="invalid", reasons=["rate not reached"]))
    found = capacity(dict(analyse(tmp_path)))
    assert [rung["verdict"] for rung in found["rungs"]] == ["holds", "undecided", "holds"]
    assert (found["highest_hz"], found["rungs"][1]["why"]) == (50.0, "rate not reached")


def test_the_page_shows_every_rate_with_whole_figures(tmp_path: Path) -> None:
    """A row a rate; and the ladder is not among the flows that are changed."""
    results = ladder(tmp_path, (0.7, 0.8, 40.0))
    html = render_html(results)
    section = next(
        node for node in Tree(html).root.every() if node.attributes.get("id") == "capacity"
    )
    told = section.text()
    assert "up to 100 /s" in told
    assert [told.count(word) for word in ("does not hold", "50 /s", "200 /s")] == [1, 1, 1]
    assert results["changes"] == []
    assert loose_on_page(html) == []
