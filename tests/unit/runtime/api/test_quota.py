"""How many calls a quota lets through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.api.quota import Quota

S = 1_000_000_000


def test_takes_what_comes_in_during_a_second_at_once() -> None:
    """Of six calls at one instant, a quota of 5/s takes five, and says when there is a sixth."""
    quota = Quota(5.0)
    assert [quota.take(S) for _ in range(5)] == [0.0] * 5
    assert quota.take(S) == 0.2
    assert quota.take(S + S // 5) == 0.0


def test_takes_less_than_one_a_second() -> None:
    """A quota of one in ten seconds takes one, and the next after ten."""
    quota = Quota(0.1)
    assert quota.take(0) == 0.0
    assert quota.take(S) == 9.0
    assert quota.take(10 * S) == 0.0


def test_a_refused_call_costs_nothing() -> None:
    """Calls that are refused do not put the next one off."""
    quota = Quota(1.0)
    assert quota.take(0) == 0.0
    assert [quota.take(S // 2) for _ in range(100)] == [0.5] * 100
    assert quota.take(S) == 0.0


@given(
    rate_per_s=st.floats(0.05, 1000.0),
    gaps_ns=st.lists(st.integers(0, 3 * S), min_size=1, max_size=200),
)
def test_never_takes_more_than_its_rate(rate_per_s: float, gaps_ns: list[int]) -> None:
    """In no stretch of time are there more calls than its length holds, and one second's."""
    quota, now_ns, taken = Quota(rate_per_s), 0, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        if quota.take(now_ns) == 0.0:
            taken.append(now_ns)
    for first, start_ns in enumerate(taken):
        for last in range(first, len(taken)):
            most = (taken[last] - start_ns) / S * rate_per_s + max(rate_per_s, 1.0)
            assert last - first + 1 <= most + 1e-6
