"""The machine's floor: intervals of one batch, and when it has moved."""

from __future__ import annotations

import numpy as np
import pytest

from reports.floor import floor_figures, moved, quantile_bounds
from reports.gate import judge
from reports.machine_records import FloorRecord
from reports.render.html import render_html
from tests.fakes import results as fakes
from tests.fakes.numbers_shown import loose_on_page
from tests.fakes.rundir import Json, floor


def sides(before_ms: float, after_ms: float, n: int = 200, spread: float = 0.2) -> FloorRecord:
    """A floor whose medians are about these, from so many samples."""
    made: list[Json] = []
    for seed, p50_ms in enumerate((before_ms, after_ms)):
        side = floor(p50_ms, "container", seed)
        hops = np.random.default_rng(seed).lognormal(np.log(p50_ms), spread, n)
        side["broker_hop_ms"] |= {"samples_ns": [int(ms * 1e6) for ms in hops], "n": n}
        made.append(side)
    return FloorRecord(*made)


@pytest.mark.parametrize(
    ("after_ms", "expected"),
    [(0.6, False), (0.70, False), (0.80, True), (0.45, True), (1.2, True)],
)
def test_moved(after_ms: float, expected: bool) -> None:
    """Beyond a quarter more or a fifth less the floor has moved, in either direction."""
    found = moved(sides(0.6, after_ms))
    assert found.moved is expected
    assert found.low is not None
    assert found.high is not None
    assert found.ratio is not None
    assert found.low < found.ratio < found.high
    assert bool(found.words()) is expected


def test_moved_by_chance() -> None:
    """A ratio beyond the limit whose interval holds 1 may be chance: not known, and not false."""
    found = moved(sides(0.6, 0.9, n=25, spread=1.5))
    assert found.ratio is not None
    assert found.ratio > 1.25
    assert (found.moved, found.words()) == (None, "")


@pytest.mark.parametrize("missing", ["before", "after"])
def test_measured_once(missing: str) -> None:
    """With one side alone it is not known whether the floor moved."""
    both = sides(0.6, 0.9)
    one = FloorRecord(*(None if missing == name else getattr(both, name)
                        for name in ("before", "after")))  # fmt: skip
    assert moved(one).moved is None
    assert moved(None).moved is None


def test_quantile_bounds_cover() -> None:
    """In 4000 batches of 200 the interval of the median holds the truth in 95 to 97.5 %.

    Order statistics are discrete: the interval is the shortest that covers at least 95 %.
    """
    values = np.sort(np.random.default_rng(1).exponential(size=(4000, 200)), axis=1)
    ends = [quantile_bounds(batch, 0.5) for batch in values]
    held = sum(end is not None and end[0] <= np.log(2) <= end[1] for end in ends)
    assert 0.95 <= held / 4000 <= 0.975


def test_too_few_for_bounds() -> None:
    """Five values cannot bound a p99 from above; three cannot bound a median."""
    assert quantile_bounds(np.arange(5.0), 0.99) is None
    assert quantile_bounds(np.arange(3.0), 0.5) is None


def test_floor_without_samples() -> None:
    """A floor of an older run keeps its figures, and says that their samples were not kept."""
    record = sides(0.6, 0.6)
    for side in (record.before, record.after):
        assert side is not None
        for member in ("broker_hop_ms", "loopback_tcp_us", "scheduling_jitter_us"):
            del side[member]["samples_ns"]
    stat = floor_figures(record)["loopback_tcp"]["before"]
    assert (stat["basis"], stat["p50_low"], stat["messages"]) == ("unsampled", None, 1000)
    assert stat["p50"] is not None


def test_moved_floor_is_flagged_everywhere() -> None:
    """The page's head, its multiples, the gate and the problems say that the floor moved."""
    results = fakes.full()
    words = moved(sides(0.6, 0.9)).words()
    results["floor"] |= {
        "moved": True, "moved_ratio": 1.5, "moved_low": 1.4, "moved_high": 1.6,
        "moved_messages": 400, "moved_words": words,
    }  # fmt: skip
    html = render_html(results)
    head = html[: html.index("<main>")]
    assert "The machine's floor moved." in head.replace("&#39;", "'")
    assert "The floor moved during this run" in html
    assert "whose floor moved during the run" in html
    assert loose_on_page(html) == []
    assert judge(results, strict=False).reason.endswith(words)
    assert "the limit is 1.25" in words
