"""How the generators kept to their schedule: figures of one and of several, and what is too bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.generators import GENERATOR
from bench.pace import LoadFigures, Pace, Share, complaints, load_figures, pace
from runtime.spans import SEND
from runtime.spool import DTYPE, Records

SOUND = Pace(GENERATOR, 100, 50.0, 50.0, 0.1, 1.0, 1.0, 0.1, 2.0)

OF = "(no interval: fewer than 3 starts; 1 start, 100 messages)"


def _sends(intended_ns: list[int], lag_ns: list[int]) -> Records:
    records = np.zeros(len(intended_ns), dtype=DTYPE)
    records["kind"] = SEND
    records["t0_ns"] = intended_ns
    records["t1_ns"] = np.array(intended_ns) + np.array(lag_ns)
    return records


def _complaints(*generators: Pace, whole: Pace = SOUND) -> list[str]:
    return complaints(LoadFigures(whole, generators))


def test_a_late_generator() -> None:
    """Lag is actual minus intended; a late generator's rate is below its target."""
    lags = [number * 10_000_000 + 1_000_000 for number in range(11)]
    figures = pace(_sends([n * 100_000_000 for n in range(11)], lags), GENERATOR, 0.0)
    assert figures.target_rate_hz == pytest.approx(10.0)
    assert figures.achieved_rate_hz == pytest.approx(10.0 / 1.1)
    assert figures.lag_max_ms == pytest.approx(101.0)
    assert figures.lag_p50_ms == pytest.approx(51.0)


def test_figures_of_several_are_those_of_their_sends() -> None:
    """Shares of one schedule give to the last digit what one generator's spans would have given."""
    drawn = np.random.default_rng(3)
    intended = np.cumsum(drawn.integers(1, 40_000_000, 1001)).tolist()
    lags = drawn.integers(0, 9_000_000, 1001).tolist()
    whole = _sends(intended, lags)
    shares = [Share(f"part {n}", whole[n::3], 0.1, 2.0) for n in (2, 0, 1)]
    one = load_figures([Share("only", whole, 0.3, 2.0)], target_rate_hz=1.0)
    several = load_figures(shares, target_rate_hz=1.0)
    assert replace(several.whole, cpu_s=0.3) == one.whole
    assert sum(each.sent for each in several.generators) == 1001
    assert several.as_json()["cpu_share"] == pytest.approx(0.05)


def test_too_little_was_sent() -> None:
    """Nothing or one message has no rate of its own: the asked-for one stands in."""
    nothing = load_figures([], target_rate_hz=50.0)
    assert (nothing.whole.target_rate_hz, nothing.whole.lag_max_ms) == (50.0, 0.0)
    assert nothing.as_json()["cpu_share"] is None
    single = pace(_sends([5], [2_000_000]), GENERATOR, 50.0)
    assert (single.achieved_rate_hz, single.lag_p99_ms) == (50.0, 2.0)


def test_nothing_to_complain_of() -> None:
    """A schedule that was kept, by one or by several."""
    assert _complaints(SOUND) == []
    assert _complaints(SOUND, SOUND) == []


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
    found = _complaints(
        replace(SOUND, sent=sent, target_rate_hz=target_rate_hz, achieved_rate_hz=achieved_rate_hz)
    )
    assert bool(found) is blamed
    assert all(reason.startswith(GENERATOR) for reason in found)


def test_lateness() -> None:
    """A generator that is late by more than its limit is blamed."""
    assert _complaints(replace(SOUND, lag_p99_ms=51.0)) == [
        f"{GENERATOR} was late by 51.0 ms {OF} at p99"
    ]


@pytest.mark.parametrize(
    ("cpu_s", "ran_s", "blamed"),
    [(1.62, 2.0, True), (1.58, 2.0, False), (0.9, 0.95, False), (None, None, False)],
)
def test_cpu(cpu_s: float | None, ran_s: float | None, blamed: bool) -> None:
    """More than 80 % of a core is blamed, where it ran long enough to tell; unknown is not."""
    found = _complaints(replace(SOUND, cpu_s=cpu_s, ran_s=ran_s))
    assert bool(found) is blamed
    assert all(reason.startswith(f"{GENERATOR} used 81 % {OF} of a core") for reason in found)


def test_one_of_several_is_named() -> None:
    """The one that lags is named, though the sends taken together look well."""
    late = replace(SOUND, name=f"{GENERATOR} load-2", lag_p99_ms=60.0)
    assert _complaints(replace(SOUND, name=f"{GENERATOR} load-1"), late) == [
        f"{GENERATOR} load-2 was late by 60.0 ms {OF} at p99"
    ]


def test_several_together() -> None:
    """What is wrong with all sends taken together is found, too."""
    assert _complaints(SOUND, SOUND, whole=replace(SOUND, lag_p99_ms=70.0)) != []
