"""The search finds the capacity of a flow whose slowest step has a known cost.

On processes and the embedded NATS server, which every machine has. What is right is known from the
cost alone; a busy machine makes the flow slower, and its capacity lower, but never higher.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.session import run
from reports.probes import judge
from reports.render.html import render_html
from reports.results import analyse
from scenarios.model import Arrivals, Search
from tests.fakes.numbers_shown import loose_on_page
from tests.fakes.runs import QUIET, ask, small_scenario, stored_trial

COST_MS = 20.0
MOST_HZ = 1000 / COST_MS
# Twice the lowest rate is clearly too much, and the middle between them clearly not.
SEARCH = Search(
    lowest_hz=0.54 * MOST_HZ,
    highest_hz=4 * MOST_HZ,
    factor=1.5,
    limit_ms=40,
    probe_s=3.0,
    starts=8,
)


def test_the_capacity_is_the_inverse_of_the_slowest_steps_cost(tmp_path: Path) -> None:
    """20 ms a message are at most 50 messages a second; the step that takes them is named."""
    scenario = small_scenario(
        tmp_path, "wait", function="wait", config=f"config.own_ms = {COST_MS:g}"
    )
    scenario = replace(
        scenario,
        name="slowest",
        search=SEARCH,
        load=replace(scenario.load, arrivals=Arrivals.CONSTANT),
        drain_timeout_s=60.0,
    )
    request = replace(ask(tmp_path / "run", scenario), judge=judge)
    result = run(request, QUIET)
    results = analyse(result.folder)
    (found,) = results["capacity"]
    held_hz, failed_hz = found["highest_hz"], found["search"]["failed_hz"]
    assert held_hz is not None, found
    assert failed_hz is not None, found
    # Half of it leaves 20 ms of every 40 for whatever else the machine does. Above it, a start
    # shows an overload only once its backlog is longer than the limit.
    assert 0.5 * MOST_HZ <= held_hz <= 1.02 * MOST_HZ, found
    assert held_hz < failed_hz <= 1.3 * MOST_HZ, found
    said = [(rung["rate_hz"], rung["verdict"]) for rung in found["rungs"]]
    assert [hz >= held_hz for hz, one in said if one == "holds"].count(True) >= 2, said
    assert [hz <= failed_hz for hz, one in said if one == "does not hold"].count(True) >= 2, said
    assert found["first_to_saturate"] == "middle"
    assert found["search"]["starts"] == len(found["rungs"]) <= SEARCH.starts
    assert stored_trial(result)["probe"] == {"rate_hz": SEARCH.lowest_hz}
    html = render_html(results)
    assert 'id="capacity"' in html
    assert loose_on_page(html) == []
