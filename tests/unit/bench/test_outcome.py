"""What makes a trial invalid: each reason planted and found, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.generators import GENERATOR
from bench.outcome import Observed, Plan, _judge
from bench.pace import LoadFigures, Pace
from runtime.clock import clock_id
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Loop

COUNTS = {
    "sent": 100, "accepted": 100, "refused": 0, "handled": 100, "ended_early": 0, "failed": 0,
    "lost": 0, "duplicated": 0,
}  # fmt: skip

OF = "(no interval: fewer than 3 starts; 1 start, 100 messages)"


def _judged(
    counts: dict[str, int] | None = None,
    clocks: set[str] | None = None,
    lag_ms: float = 1.0,
    loop: Loop = Loop.OPEN,
) -> Observed:
    scenario = load_scenario(Path(CATALOGUE) / "realtime.toml")
    scenario = replace(scenario, load=replace(scenario.load, loop=loop))
    pace = Pace(GENERATOR, 100, 50.0, 50.0, 0.1, lag_ms, lag_ms, 0.1, 2.0)
    load = LoadFigures(pace, (pace,))
    plan = Plan(index=1, scenario=scenario, containers=None, messages=100, seed=1)
    seen = Observed(plan, "t", scenario.flow(), (), start_ns=1)
    _judge(seen, {**COUNTS, **(counts or {})}, load, clocks or {clock_id()})
    return seen


def test_a_sound_trial_is_valid() -> None:
    """All handled, the rate reached, one clock: nothing to blame."""
    seen = _judged()
    assert (seen.status, seen.reasons) == ("valid", [])


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"lost": 1}, "1 of 100 accepted messages were lost"),
        ({"failed": 2}, "2 messages failed"),
        ({"refused": 3}, "refused 3 messages"),
        ({"ended_early": 4}, "4 executions ended before the last step"),
        ({"handled": 0}, "no message was handled"),
    ],
)
def test_what_became_of_the_messages(counts: dict[str, int], says: str) -> None:
    """Each message that was not simply handled makes the trial invalid."""
    seen = _judged(counts)
    assert seen.status == "invalid"
    assert says in "; ".join(seen.reasons)


def test_a_late_generator_makes_an_open_loop_invalid() -> None:
    """What the pace complains of is a reason, and the only one where all else is sound."""
    seen = _judged(lag_ms=51.0)
    assert seen.status == "invalid"
    assert seen.reasons == [f"{GENERATOR} was late by 51.0 ms {OF} at p99"]


def test_a_closed_loop_is_late_by_its_nature() -> None:
    """A generator that waits for the flow is behind its schedule when the flow is: no reason."""
    seen = _judged(lag_ms=6000.0, loop=Loop.CLOSED)
    assert (seen.status, seen.reasons) == ("valid", [])


def test_two_clocks() -> None:
    """Spans of another clock cannot be subtracted: the trial is invalid."""
    assert "clocks differ" in _judged(clocks={"another"}).reasons[0]
