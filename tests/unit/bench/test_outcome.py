"""What makes a trial invalid: each reason planted and found, and nothing where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.outcome import GENERATOR, Observed, Plan, _judge
from runtime.clock import clock_id
from scenarios.files import CATALOGUE, load_scenario

COUNTS = {
    "sent": 100, "accepted": 100, "refused": 0, "handled": 100, "ended_early": 0, "failed": 0,
    "lost": 0, "duplicated": 0,
}  # fmt: skip
LOAD = {"target_rate_hz": 50.0, "achieved_rate_hz": 50.0, "lag_p99_ms": 1.0}


def _judged(
    counts: dict[str, int] | None = None,
    load: dict[str, float] | None = None,
    clocks: set[str] | None = None,
) -> Observed:
    scenario = load_scenario(Path(CATALOGUE) / "realtime.toml")
    plan = Plan(index=1, scenario=scenario, containers=None, messages=100, seed=1)
    seen = Observed(plan, "t", scenario.flow(), (), start_ns=1)
    _judge(seen, {**COUNTS, **(counts or {})}, {**LOAD, **(load or {})}, clocks or {clock_id()})
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


@pytest.mark.parametrize(
    ("sent", "target_rate_hz", "achieved_rate_hz", "blamed"),
    [
        (100, 50.0, 49.0, True),
        (100, 50.0, 49.8, False),
        # A burst that takes 41 ms instead of 10, though no message was late by much.
        (1000, 100_000.0, 24_000.0, True),
        # Two messages, the second one woken 1.5 ms late: 7 %, and nothing of the generator's.
        (2, 50.0, 46.5, False),
    ],
)
def test_rate(sent: int, target_rate_hz: float, achieved_rate_hz: float, blamed: bool) -> None:
    """A rate below 99 % of the schedule's is blamed, but for one late waking."""
    seen = _judged(
        {"sent": sent}, {"target_rate_hz": target_rate_hz, "achieved_rate_hz": achieved_rate_hz}
    )
    assert (seen.status == "invalid") is blamed
    assert all(reason.startswith(GENERATOR) for reason in seen.reasons)


def test_lateness() -> None:
    """A generator that is late by more than its limit makes the trial invalid."""
    assert "late by 51.0 ms" in _judged(load={"lag_p99_ms": 51.0}).reasons[0]


def test_two_clocks() -> None:
    """Spans of another clock cannot be subtracted: the trial is invalid."""
    assert "clocks differ" in _judged(clocks={"another"}).reasons[0]
