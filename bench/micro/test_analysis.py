"""A run directory of a million spans: read, analysed, and rendered by a process of its own.

A process of its own, since that is what a user waits for: the imports count, and the peak of its
memory is no other test's. The aim is 5 s and 600 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import ROOT
from tests.fakes.rundir import large_run

SPANS = 1_000_000
MEMORY_LIMIT_MB = 600
REPORT = """
import json, resource, sys
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
    "peak_mb": usage.ru_maxrss / 1024,
    "cpu_s": usage.ru_utime + usage.ru_stime,
}))
"""


@pytest.mark.timeout(300)
def test_report_of_a_million_spans(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """From the run directory to the page; the peak of memory must stay below its limit."""
    run = large_run(tmp_path / "run", spans=SPANS)

    def report() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", REPORT, str(run), str(tmp_path)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    found = benchmark.pedantic(report, rounds=3)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(found, spans=SPANS, memory_limit_mb=MEMORY_LIMIT_MB)
    assert found["messages"] * 6 == pytest.approx(SPANS, rel=0.001)
    assert found["peak_mb"] < MEMORY_LIMIT_MB
