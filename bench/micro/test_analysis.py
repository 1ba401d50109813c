"""Run directories of up to ten million spans: read, analysed and rendered, each by its own process.

A process of its own, since that is what a user waits for: the imports count, and the peak of its
memory is no other test's. The aims: a million spans in 5 s, ten million in 60 s and 3 GB, and
between them a growth that is close to linear.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import ROOT
from tests.fakes.rundir import large_run

FEW, MILLION, TEN_MILLION = 6_000, 1_000_000, 10_000_000
SIZES = (MILLION, 3_000_000, TEN_MILLION)
RECORDS_A_MESSAGE = 6
REPORT = """
import json, resource, sys, time
began_s = time.monotonic()
from pathlib import Path
from reports.render.html import render_html
from reports.results import analyse, write_results

run, out = Path(sys.argv[1]), Path(sys.argv[2])
results = analyse(run)
write_results(results, out / "results.json")
(out / "index.html").write_text(render_html(results), encoding="utf-8")
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "messages": results["counts"]["messages"],
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "wall_s": time.monotonic() - began_s,
    "peak_mb": usage.ru_maxrss * 1024 / 1e6,
}))
"""
ANALYSES = """
import json, sys, time
from pathlib import Path
from reports.results import analyse

def cpu_s(run):
    began_s = time.process_time()
    analyse(Path(run))
    return time.process_time() - began_s

# The first one imports what only an analysis needs.
print(json.dumps([cpu_s(run) for run in sys.argv[1:]][1:]))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one report took, from the start of its process to the written page."""

    messages: int
    cpu_s: float
    wall_s: float
    peak_mb: float


Runs = Callable[[int], Path]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """By number of spans: a run directory of that size, written once."""

    @cache
    def write(spans: int) -> Path:
        return large_run(tmp_path_factory.mktemp(f"spans-{spans}-") / "run", spans=spans)

    return write


def python(code: str, *arguments: Path) -> Any:
    """What a new process prints that runs this code, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def time_report(benchmark: BenchmarkFixture, run: Path, spans: int, rounds: int) -> None:
    """Time the report of a run; the figures of the cheapest round go with the benchmark."""
    costs: list[Cost] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: costs.append(Cost(**python(REPORT, run, run.parent))), rounds=rounds
    )
    # What disturbs a process only adds to its time.
    least = min(costs, key=lambda cost: cost.cpu_s)
    assert least.messages * RECORDS_A_MESSAGE == pytest.approx(spans, rel=0.001)
    benchmark.extra_info.update(asdict(least), spans=spans)


def exponent(sizes: Sequence[int], fixed_s: float, cpu_s: Sequence[float]) -> float:
    """The k of CPU time = fixed + c * size^k: the slope of a line through the logarithms.

    ``fixed_s`` is what an analysis of next to nothing takes; left in, it would make any growth
    look slow.
    """
    beyond_s = [taken_s - fixed_s for taken_s in cpu_s]
    return float(np.polyfit(np.log(sizes), np.log(beyond_s), 1)[0])


@pytest.mark.timeout(120)
def test_report_of_a_hundred_thousand_spans(benchmark: BenchmarkFixture, run_of: Runs) -> None:
    """What the report of a usual run takes, most of which is imports."""
    time_report(benchmark, run_of(100_000), 100_000, rounds=3)


@pytest.mark.timeout(300)
def test_report_of_a_million_spans(benchmark: BenchmarkFixture, run_of: Runs) -> None:
    """From the run directory to the page."""
    time_report(benchmark, run_of(MILLION), MILLION, rounds=3)


@pytest.mark.timeout(600)
def test_report_of_ten_million_spans(benchmark: BenchmarkFixture, run_of: Runs) -> None:
    """The same of ten times as many, once."""
    time_report(benchmark, run_of(TEN_MILLION), TEN_MILLION, rounds=1)


@pytest.mark.timeout(600)
def test_growth_of_analysis(benchmark: BenchmarkFixture, run_of: Runs) -> None:
    """How the CPU time of an analysis grows with its spans; 1 is linear."""
    few = run_of(FEW)
    found: list[list[float]] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: found.append(python(ANALYSES, few, few, *map(run_of, SIZES))), rounds=1
    )
    fixed_s, *cpu_s = found[0]
    assert exponent((10, 100), 1.0, (2.0, 11.0)) == pytest.approx(1.0)
    benchmark.extra_info.update(
        exponent=exponent(SIZES, fixed_s, cpu_s),
        fixed_cpu_s=fixed_s,
        cpu_s_by_spans=dict(zip(SIZES, cpu_s, strict=True)),
    )
