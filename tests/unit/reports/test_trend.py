"""Trends, drifts and leaks: planted ones are found, and noise is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.activity import Activity
from reports.results import analyse
from reports.trend import MIN_POINTS, Floats, trend
from tests.fakes.rundir import Json, Plan, write_run


def test_a_planted_slope_is_recovered_within_its_interval() -> None:
    """Half a unit a minute under noise, and an outlier that moves nothing."""
    rng = np.random.default_rng(1)
    at = np.arange(30, dtype=float)
    values = 10 + 0.5 * at + rng.normal(0, 1, 30)
    values[12] = 1000.0
    found = trend(at, values)
    assert found is not None
    assert found.there
    assert found.low < 0.5 < found.high
    assert found.low < found.slope < found.high


def test_noise_is_called_a_trend_as_seldom_as_it_says() -> None:
    """At most 2 of 100 series of pure noise, and the slope's interval holds 0 in 95 of 100."""
    rng = np.random.default_rng(7)
    found = [trend(np.arange(20.0), rng.normal(0, 1, 20)) for _ in range(400)]
    assert sum(one is not None and one.there for one in found) <= 8
    held = sum(one is not None and one.low <= 0 <= one.high for one in found)
    assert 0.92 <= held / 400 <= 0.99


def test_a_series_that_only_grows_is_found_at_the_least_length() -> None:
    """Six points suffice, five do not; and a constant has no trend."""
    grows = trend(np.arange(float(MIN_POINTS)), np.arange(float(MIN_POINTS)))
    assert grows is not None
    assert grows.there
    assert trend(np.arange(5.0), np.arange(5.0)) is None
    flat = trend(np.arange(10.0), np.ones(10))
    assert flat is not None
    assert (flat.there, flat.slope, flat.change) == (False, 0.0, 0.0)


def test_the_test_agrees_with_scipys() -> None:
    """Kendall's tau with ties, where the normal approximation is theirs as well."""
    from scipy import stats

    rng = np.random.default_rng(3)
    for _ in range(20):
        values = rng.integers(0, 12, 40).astype(float) + np.arange(40) / 8
        found = trend(np.arange(40.0), values)
        assert found is not None
        theirs = stats.kendalltau(np.arange(40), values, method="asymptotic").pvalue
        # Ours has the continuity correction.
        assert found.chance == pytest.approx(theirs, rel=0.35, abs=0.02)
        slope = stats.theilslopes(values, np.arange(40)).slope
        assert found.slope == pytest.approx(slope)


def activity(per_call: list[float]) -> Activity:
    """Windows with ten calls each, and so many emits per call."""
    calls = np.full(len(per_call), 10, dtype=np.int64)
    emits = np.array([round(10 * one) for one in per_call], dtype=np.int64)
    return Activity(np.arange(len(per_call) + 1), calls, emits)


@pytest.mark.parametrize(
    ("per_call", "leaks"),
    [
        ([1.0] * 12, False),
        ([1, 2, 3, 4, 5, 6, 7, 8], True),
        ([8, 7, 6, 5, 4, 3, 2, 1], False),
        ([3.3, 3.0, 3.6, 3.3, 3.1, 3.5, 3.2, 3.4], False),
        ([1.0, 1.0, 1.1, 1.1, 1.1, 1.2, 1.2, 1.2], False),
        ([1, 2, 3], None),
    ],
)
def test_what_leaks(per_call: list[float], leaks: bool | None) -> None:
    """Growth by half or more is a leak; constant, falling and slight growth are none."""
    assert activity(per_call).leaks is leaks


def drift_of(tmp_path: Path, column: str, values: Callable[[Floats], Floats]) -> Json:
    """The drift of one column of the first step's samples, of which the rest stays as it was."""
    root = write_run(tmp_path, (Plan("soak", "S", messages=400, starts=1),))
    folder = root / "trials" / "0001"
    table = pq.read_table(folder / "resources.parquet").to_pydict()
    trial = json.loads((folder / "trial.json").read_text())
    at = np.linspace(trial["load_start_ns"], trial["load_end_ns"], 400).astype(np.int64)
    rows = {name: np.zeros(400, dtype=np.int64) for name in table}
    rows |= {"at_ns": at, "descriptors": np.full(400, 8), "threads": np.full(400, 2)}
    rows["instance"] = np.zeros(400, dtype=np.int32)
    rows[column] = values(np.linspace(0, 1, 400)).astype(np.int64)
    pq.write_table(pa.table(rows), folder / "resources.parquet", write_page_checksum=True)
    (soaked,) = analyse(root)["soak"]
    kind = "memory" if column == "memory_bytes" else column
    (found,) = [row for row in soaked["drifts"] if (row["step"], row["kind"]) == ("source", kind)]
    return dict(found)


@pytest.mark.parametrize(
    ("column", "values", "drifts"),
    [
        ("memory_bytes", lambda share: 20e6 * (1 + 0.5 * share), True),
        ("memory_bytes", lambda share: 20e6 * (1 + 0.02 * share), False),
        ("memory_bytes", lambda share: 20e6 * (2 - share), False),
        ("descriptors", lambda share: 8 + np.floor(5 * share), True),
        ("descriptors", lambda share: 8 + np.floor(1.5 * share), False),
        ("threads", lambda share: 2 + np.floor(30 * share), True),
    ],
)
def test_what_drifts(
    tmp_path: Path, column: str, values: Callable[[Floats], Floats], drifts: bool
) -> None:
    """Memory that grows by half, descriptors and threads that pile up; not a little, nor less."""
    assert drift_of(tmp_path, column, values)["drifts"] is drifts


def test_what_was_not_read_is_no_drift(tmp_path: Path) -> None:
    """Rows in which descriptors were not read are left out; here none was."""
    with pytest.raises(ValueError, match="not enough values"):
        drift_of(tmp_path, "descriptors", lambda share: np.full(share.size, -1.0))
