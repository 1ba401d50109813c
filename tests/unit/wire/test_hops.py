"""The comparison of suite and packets finds what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest

from tests.wire.hops import DELIVERED, EMITTED, ENTERED, HANDED, Hop, agreement

US = 1_000
COUNT = 250


def hop(*, index: int = 1, late: dict[int, int] | None = None) -> Hop:
    """A hop of about 700 us, its beacons close around it; ``late`` instants of the suite in us."""
    rng = np.random.default_rng(1)
    start = np.arange(COUNT, dtype=np.int64) * 20_000_000
    parts_us = [rng.lognormal(np.log(p), 0.2, COUNT) for p in (80, 500, 80, 40)]
    parts = np.cumsum(np.rint(np.array(parts_us) * US).astype(np.int64), axis=0)
    wire = np.stack([start - 5 * US, start + parts[0], start + parts[1], start + parts[3] + 9 * US])
    suite = np.stack([start, start + parts[0] + 20 * US, start + parts[2], start + parts[3]])
    for instant, by_us in (late or {}).items():
        suite[instant] += by_us * US
    return Hop(index, suite, wire)


def test_what_agrees() -> None:
    """Beacons that enclose a hop by a system call each agree with it, and nothing is misplaced."""
    found = agreement(hop())
    assert found.holds
    assert found.difference_ns == pytest.approx(-14 * US)
    assert (found.messages, found.limit_ns) == (COUNT, 50 * US)
    assert set(hop().misplaced(0).values()) == {0}


@pytest.mark.parametrize("late", [{ENTERED: 80}, {EMITTED: 80}, {ENTERED: -60}])
def test_an_instant_that_is_recorded_late_or_early_is_found(late: dict[int, int]) -> None:
    """A hop that is off by more than 50 us does not agree."""
    assert not agreement(hop(late=late)).holds


@pytest.mark.parametrize(
    ("late", "what"),
    [
        ({EMITTED: -10}, "emit before its beacon"),
        ({EMITTED: 200}, "emit after its message left"),
        ({HANDED: -25}, "handed to the socket before the message left"),
        ({DELIVERED: -200}, "delivered before the broker sent it"),
        ({DELIVERED: 100}, "process entry before delivery"),
        ({ENTERED: 15}, "process entry after its beacon"),
    ],
)
def test_an_instant_on_the_wrong_side_of_its_packet(late: dict[int, int], what: str) -> None:
    """An instant that its packets do not allow is counted under what is wrong with it."""
    wrong = hop(late=late).misplaced(2 * US)
    assert wrong[what] > COUNT // 2


def test_long_hops_are_held_to_a_share() -> None:
    """Where 5 % of the p50 is more than 50 us, that is the limit."""
    long = hop()
    long.suite[HANDED:] += 3_000 * US
    long.wire[HANDED:] += 3_000 * US
    assert agreement(long).limit_ns == pytest.approx(0.05 * 3_700 * US, rel=0.05)
    long.suite[ENTERED] += 100 * US
    assert agreement(long).holds
    long.suite[ENTERED] += 150 * US
    assert not agreement(long).holds


def test_ingress_has_no_beacon_before_it() -> None:
    """Hop 0 is not asked for the beacon that the load generator does not send."""
    assert "emit before its beacon" not in hop(index=0).misplaced(0)
