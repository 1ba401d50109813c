"""Limits of the benchmarks: what is met, missed and undecided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.environment import ROOT
from bench.micro import check
from bench.micro.check import Limit, judge, main, read_limits
from runtime.errors import InputError


def result(name: str, *, median_s: float = 1e-6, low: float = 1.0, high: float = 1.0) -> Any:
    """One benchmark as pytest-benchmark writes it."""
    info = {"ratio": (low + high) / 2, "ratio_low": low, "ratio_high": high}
    return {"name": name, "stats": {"median": median_s}, "extra_info": info}


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two limits instead of the real ones."""
    made = (Limit("test_a", "median_us", 10.0), Limit("test_b", "ratio", 1.25))
    monkeypatch.setattr(check, "read_limits", lambda: made)


def write(tmp_path: Path, *benchmarks: Any) -> str:
    """A results file."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return str(path)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.25, "met"),
        (1.2, 1.26, "undecided"),
        (1.25, 1.4, "undecided"),
        (1.26, 1.4, "missed"),
    ],
)
def test_a_ratio_is_judged_by_its_interval(low: float, high: float, verdict: str) -> None:
    """Met or missed when the whole interval lies on that side, undecided in between."""
    results = {"test_b": result("test_b", low=low, high=high)}
    assert judge(Limit("test_b", "ratio", 1.25), results).verdict == verdict


@pytest.mark.parametrize(("median_s", "verdict"), [(10e-6, "met"), (10.1e-6, "missed")])
def test_a_time_is_judged_by_its_median(median_s: float, verdict: str) -> None:
    """The benchmark's median is converted to microseconds."""
    results = {"test_a": result("test_a", median_s=median_s)}
    assert judge(Limit("test_a", "median_us", 10.0), results).verdict == verdict


@pytest.mark.parametrize(
    ("median_s", "floor_us", "verdict"),
    [
        (5e-3, 4000.0, "met"),
        (6e-3, 1000.0, "missed"),
        (6e-3, 1001.0, "undecided"),
    ],
)
def test_a_time_over_a_large_floor_is_undecided(
    median_s: float, floor_us: float, verdict: str
) -> None:
    """A slow disk is not a slow store: over the limit, the floor may have a fifth of it at most."""
    results = {"test_a": result("test_a", median_s=median_s)}
    results["test_a"]["extra_info"]["floor_us"] = floor_us
    found = judge(Limit("test_a", "median_us", 5000.0), results)
    assert found.verdict == verdict
    assert f"floor {floor_us:.1f} us" in found.measured


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    ("benchmarks", "options", "code"),
    [
        ((result("test_a"), result("test_b")), (), 0),
        ((result("test_a", median_s=1.0), result("test_b")), (), 1),
        ((result("test_a"),), (), 0),
        ((result("test_a"),), ("--strict",), 3),
        ((result("test_a", median_s=1.0),), ("--strict",), 1),
        ((), (), 2),
    ],
)
def test_exit_codes(
    tmp_path: Path, benchmarks: tuple[Any, ...], options: tuple[str, ...], code: int
) -> None:
    """0 nothing missed, 1 missed, 2 nothing measured, 3 undecided where strict."""
    assert main([write(tmp_path, *benchmarks), *options]) == code


@pytest.mark.parametrize(("high", "code"), [(1.2, 0), (1.4, 1)])
def test_a_part_is_judged_like_a_benchmark(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    high: float,
    code: int,
) -> None:
    """By its own interval; the last line names what is missed."""
    made = (Limit("test_a[one]", "ratio", 1.25), Limit("test_a[two]", "ratio", 1.25))
    monkeypatch.setattr(check, "read_limits", lambda: made)
    parts = {
        "one": result("one", low=1.0, high=1.1)["extra_info"],
        "two": result("two", low=high - 0.1, high=high)["extra_info"],
    }
    benchmark = {**result("test_a"), "extra_info": {"parts": parts}}
    assert main([write(tmp_path, benchmark)]) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{code} of 2 limits missed" + (": test_a[two] ratio" if code else "")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"other": 1}', '{"benchmarks": [1]}', '{"benchmarks": [{"name": "a"}]}']
)
def test_a_file_of_another_kind_is_an_error(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not a results file exits with 2 and names the file."""
    path = tmp_path / "other.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert "other.json" in capsys.readouterr().err


def test_an_aim_is_printed_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A miss of it stands in the output; a miss of any other limit still fails."""
    made = [Limit("test_b", "ratio", 1.25, gates=False)]
    monkeypatch.setattr(check, "read_limits", lambda: made)
    path = write(tmp_path, result("test_b", low=1.5, high=1.6), result("test_a", median_s=1.0))
    assert main([path]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("missed")
    assert "at most 1.25 x (an aim)" in printed
    made.append(Limit("test_a", "median_us", 10.0))
    assert main([path]) == 1


def test_an_unknown_metric_is_an_error(tmp_path: Path) -> None:
    """A limit on a metric that does not exist is refused, not ignored."""
    path = tmp_path / "limits.toml"
    path.write_text('[[limit]]\nbenchmark = "test_a"\nmetric = "speed"\nmost = 1.0\n')
    with pytest.raises(InputError, match="speed"):
        read_limits(path)


def test_every_limit_is_of_a_benchmark_that_exists() -> None:
    """A benchmark that was renamed does not lose its limit unseen."""
    sources = [path.read_text() for path in (ROOT / "bench" / "micro").glob("test_*.py")]
    for limit in read_limits():
        name, _, case = limit.benchmark.rstrip("]").partition("[")
        assert any(
            f"def {name}(" in source and (not case or f'"{case}"' in source) for source in sources
        ), limit.benchmark


@pytest.mark.parametrize(
    ("metric", "unit"), [("cpu_s", " s"), ("peak_mb", " MB"), ("exponent", "")]
)
@pytest.mark.parametrize(("value", "verdict"), [(4.9, "met"), (5.1, "missed")])
def test_a_figure_of_the_benchmarks_own(metric: str, unit: str, value: float, verdict: str) -> None:
    """CPU seconds, memory and growth are held against what the benchmark said of its process."""
    results = {"test_a": {"stats": {"median": 9.0}, "extra_info": {metric: value}}}
    found = judge(Limit("test_a", metric, 5.0), results)
    assert (found.verdict, found.measured) == (verdict, f"{value}{unit}")
