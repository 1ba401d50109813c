"""Whether hop means add up: even flows, and a hop, a position or a length that is planted odd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.additivity import (
    Start,
    compare_hops,
    compare_lengths,
    compare_positions,
)
from reports.per_start import Agreement
from reports.results import analyse
from reports.stats import Bootstrap
from runtime.spans import EMIT, PROCESS
from tests.fakes.rundir import MS, Json, Plan, S, Trial, describe, make_trial, store

BOOTSTRAP = Bootstrap(1)


def starts(
    hops: int, count: int, rng: np.random.Generator, *, factors: dict[int, float] | None = None
) -> list[Start]:
    """Starts of a flow whose hops take 1 ms; starts differ by 20 %, hops within one by 2 %."""
    found = []
    for _ in range(count):
        means = rng.lognormal(0, 0.2) * rng.lognormal(0, 0.02, hops)
        for k, factor in (factors or {}).items():
            means[k] *= factor
        found.append(Start(hops_ms=means, overhead_ms=float(means.sum()), messages=100))
    return found


def test_even_hops_are_alike() -> None:
    """Starts may differ by 20 %: hops are compared within each."""
    found = compare_hops(starts(4, 8, np.random.default_rng(1)), BOOTSTRAP, comparisons=4)
    assert [cost.agreement for cost in found] == [Agreement.ALIKE] * 4
    assert [cost.position for cost in found] == ["first", "middle", "middle", "last"]


def test_a_hop_that_is_slower_is_found() -> None:
    """Of five hops the third takes 1.4 times as long; no other one is said to deviate."""
    made = starts(5, 8, np.random.default_rng(2), factors={2: 1.4})
    found = compare_hops(made, BOOTSTRAP, comparisons=5)
    assert [cost.index for cost in found if cost.agreement is Agreement.DEVIATES] == [2]
    ratio = found[2].ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(1.4, rel=0.05)
    assert ratio.count == 800


def test_a_difference_within_the_margin_does_not_deviate() -> None:
    """A hop that is 4 % slower, beyond all doubt, is like the others for what is asked here."""
    found = compare_hops(
        starts(4, 30, np.random.default_rng(3), factors={1: 1.04}), BOOTSTRAP, comparisons=4
    )
    ratio = found[1].ratio
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.low > 1.0
    assert found[1].agreement is Agreement.ALIKE


def test_two_starts_decide_nothing() -> None:
    """Without an interval a hop that takes three times as long is undecided."""
    made = starts(4, 2, np.random.default_rng(4), factors={1: 3.0})
    found = compare_hops(made, BOOTSTRAP, comparisons=4)
    assert {cost.agreement for cost in found} == {Agreement.UNDECIDED}


def test_one_hop_has_nothing_to_be_compared_with() -> None:
    """Two containers have one hop."""
    assert compare_hops(starts(1, 5, np.random.default_rng(5)), BOOTSTRAP, comparisons=1) == ()


def test_even_flows_are_hardly_ever_called_odd() -> None:
    """In 300 noisy even flows of seven hops, at most one in twenty has a hop that deviates."""
    rng = np.random.default_rng(6)
    odd = 0
    for _ in range(300):
        table = rng.lognormal(0, 0.15, (5, 7))
        made = [Start(row, float(row.sum()), 100) for row in table]
        found = compare_hops(made, BOOTSTRAP, comparisons=7)
        odd += any(cost.agreement is Agreement.DEVIATES for cost in found)
    assert odd <= 15


def test_a_position_is_told_from_a_hop() -> None:
    """Where the last hop is slow at every length, last hops deviate, and no others do."""
    rng = np.random.default_rng(7)
    by_length = {n: starts(n - 1, 5, rng, factors={n - 2: 1.5}) for n in (3, 5, 8)}
    found = compare_positions(by_length, BOOTSTRAP)
    assert found["last"].agreement is Agreement.DEVIATES
    assert found["first"].agreement is not Agreement.DEVIATES
    assert found["middle"].agreement is not Agreement.DEVIATES


def test_two_hops_tell_no_position() -> None:
    """A flow of three containers has a first and a last hop, and nothing between them."""
    made = {3: starts(2, 5, np.random.default_rng(8))}
    assert compare_positions(made, BOOTSTRAP) == {}


def test_overhead_that_grows_in_proportion() -> None:
    """A millisecond a hop: the line goes through zero, and a hop costs the same at all lengths."""
    rng = np.random.default_rng(9)
    found = compare_lengths({n: _even(n, 15, rng) for n in (2, 3, 5, 8)}, BOOTSTRAP)
    assert found is not None
    assert found.agreement is Agreement.ALIKE
    assert found.slope_ms is not None
    assert found.slope_ms.value == pytest.approx(1.0, rel=0.05)
    assert found.intercept_ms is not None
    assert found.intercept_ms.low is not None
    assert found.intercept_ms.high is not None
    assert found.intercept_ms.low < 0 < found.intercept_ms.high


def _even(containers: int, count: int, rng: np.random.Generator) -> list[Start]:
    """Starts that differ by 3 %, of 1 ms a hop."""
    hops = containers - 1
    overheads = hops * rng.lognormal(0, 0.03, count)
    return [Start(np.full(hops, v / hops), float(v), 100) for v in overheads]


def test_overhead_that_grows_faster_than_the_flow() -> None:
    """Overhead as (N - 1)^1.2: from one hop to seven, a hop becomes 7^0.2 = 1.48 times as slow."""
    rng = np.random.default_rng(10)
    made = {}
    for n in (2, 3, 5, 8):
        values = (n - 1) ** 1.2 * rng.lognormal(0, 0.03, 5)
        made[n] = [Start(np.full(n - 1, v / (n - 1)), float(v), 100) for v in values]
    found = compare_lengths(made, BOOTSTRAP)
    assert found is not None
    assert found.agreement is Agreement.DEVIATES
    assert found.change is not None
    assert found.change.value == pytest.approx(7**0.2, rel=0.05)
    assert found.change.low is not None
    assert found.change.high is not None
    assert found.change.low < 7**0.2 < found.change.high


def test_a_length_that_is_off_the_line() -> None:
    """Five containers cost 1.5 times their share: that length is named, no trend is."""
    rng = np.random.default_rng(11)
    made = {n: _even(n, 6, rng) for n in (2, 3, 5, 8, 12)}
    made[5] = [Start(s.hops_ms * 1.5, s.overhead_ms * 1.5, 100) for s in made[5]]
    found = compare_lengths(made, BOOTSTRAP)
    assert found is not None
    odd = [cost.containers for cost in found.lengths if cost.agreement is Agreement.DEVIATES]
    assert odd == [5]


def test_intervals_over_lengths_hold_the_truth() -> None:
    """In 400 simulated scenarios of three starts a length, 93 to 98 % of the intervals hold 1."""
    rng = np.random.default_rng(12)
    held = 0
    for seed in range(400):
        made = {}
        for n in (2, 3, 5, 8):
            values = (n - 1) * rng.lognormal(0, 0.1, 3)
            made[n] = [Start(np.full(n - 1, v / (n - 1)), float(v), 100) for v in values]
        found = compare_lengths(made, Bootstrap(seed))
        assert found is not None
        assert found.change is not None
        assert found.change.low is not None
        assert found.change.high is not None
        held += found.change.low <= 1 <= found.change.high
    assert 0.93 <= held / 400 <= 0.98


def slower(trial: Trial, hop: int, delay_ms: float) -> None:
    """Make the ``hop``-th hop (from 1) of every message of a trial longer, and all that follows."""
    spans = trial.spans
    later = ((spans["kind"] == PROCESS) | (spans["kind"] == EMIT)) & (spans["step"] >= hop)
    for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
        spans[name][later & (spans[name] != 0)] += round(delay_ms * MS)


def results(root: Path, plan: Plan, *, hop: int | None = None, delay_ms: float = 0.0) -> Json:
    """The results of a run of one plan, one of its hops slowed down in each trial."""
    rng = np.random.default_rng(1)
    made = []
    cells = [cell for cell in plan.containers for _ in range(plan.starts)]
    for index, cell in enumerate(cells, start=1):
        trial = make_trial(plan, cell, index=index, at_ns=5_000 * S + index * 60 * S, rng=rng)
        if hop is not None:
            slower(trial, hop, delay_ms)
            trial.meta["end_ns"] += 10 * S
        made.append(trial)
    return analyse(store(root, describe((plan,), made), made))


def additivity_of(found: Json) -> Json:
    """The only scenario's."""
    (scenario,) = found["figures"].values()
    kept: Json = scenario["additivity"]
    return kept


LENGTH = Plan(
    "length", "Lengths", containers=(2, 3, 5, 8), messages=200, starts=8, start_spread=0.01
)


def test_lengths_that_add_up(tmp_path: Path) -> None:
    """A whole run of even flows says so, with its figures."""
    found = additivity_of(results(tmp_path, LENGTH))
    assert found["verdict"] == "add up"
    assert [point["containers"] for point in found["lengths"]["points"]] == [2, 3, 5, 8]
    assert found["lengths"]["slope"]["starts"] == 32
    assert found["lengths"]["slope"]["messages"] > 6000
    assert [cell["verdict"] for cell in found["cells"]] == ["add up"] * 3


def test_the_hop_that_does_not_add_up_is_named(tmp_path: Path) -> None:
    """Its upstream and downstream step, its factor, and that it cannot be told from its place."""
    plan = Plan("realtime", "Three", messages=300, starts=6)
    found = additivity_of(results(tmp_path, plan, hop=2, delay_ms=0.5))
    assert found["verdict"] == "do not add up"
    assert "mapper → action" in found["words"]
    assert "cannot be told whether its position" in found["words"]
    assert found["lengths"] is None


def test_the_position_explains_the_hop(tmp_path: Path) -> None:
    """Where the first hop is the slow one at every length, it is the position that is named."""
    found = additivity_of(results(tmp_path, LENGTH, hop=1, delay_ms=1.0))
    assert "first hops take" in found["words"]
    longest = found["cells"][-1]
    assert longest["verdict"] == "do not add up"
    assert "its position explains it" in longest["words"]


def test_ordinary_flows_have_no_additivity(tmp_path: Path) -> None:
    """Their hops start containers; nothing is claimed of them."""
    plan = Plan("ordinary", "Ordinary", "ordinary", rate_hz=0.5, messages=3, starts=2)
    figures: dict[str, Any] = results(tmp_path, plan)["figures"]["ordinary"]
    assert figures["additivity"] is figures["queues"] is figures["sensitivity"] is None
