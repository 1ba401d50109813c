"""Recording a span: encode and hand it to the kernel. Floor: the bare write of as many bytes."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.paired import compare_calls
from runtime.clock import clock_id, now_ns
from runtime.spans import OK, PROCESS, RECORD, Spool, decode


def test_span_write(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """One PROCESS record, as a worker writes it after each message."""
    path = tmp_path / "spans.spool"
    spool = Spool(str(path), step=1, clock=clock_id())
    now = now_ns()

    def record() -> None:
        spool.write(
            spool.encode(PROCESS, OK, 1, 0, 7, 8, 9, now, now + 1000, now + 2000, now + 3000)
        )

    fd = os.open(tmp_path / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    bare = bytes(RECORD.size)
    comparison = compare_calls(record, lambda: os.write(fd, bare))
    benchmark.extra_info.update(comparison.document(), floor_us=comparison.floor)
    benchmark(record)
    os.close(fd)
    spool.close()
    assert decode(path.read_bytes()[-RECORD.size :]).trace == 7
