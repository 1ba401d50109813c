"""The search finds the capacity of a flow whose slowest step has a known cost.

On processes and the embedded NATS server, which every machine has.
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
SEARCH = Search(lowest_hz=30, highest_hz=120, factor=1.15, limit_ms=15, probe_s=2.5)


def test_the_capacity_is_the_inverse_of_the_slowest_steps_cost(tmp_path: Path) -> None:
    """20 ms a message are at most 50 messages a second; the step that takes them is named."""
    scenario = small_scenario(tmp_path, "wait", function="wait", config="config.own_ms = 20")
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
    most_hz = 1000 / COST_MS
    # A start of 2.5 s shows an overload only once its backlog exceeds the limit.
    highest_hz = found["highest_hz"] or 0.0
    assert highest_hz <= 1.15 * most_hz, found
    decided = found["search"]["failed_hz"] is not None
    assert decided or found["search"]["open_hz"], found
    if decided:
        assert found["search"]["failed_hz"] > highest_hz
        assert found["first_to_saturate"] == "middle"
    assert found["search"]["starts"] == len(found["rungs"])
    assert stored_trial(result)["probe"] == {"rate_hz": 30.0}
    html = render_html(results)
    assert 'id="capacity"' in html
    assert loose_on_page(html) == []
