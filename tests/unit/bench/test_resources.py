"""The sampler: sums, last readings, and what it says when nothing can be read."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from bench import resources
from bench.cgroups import Reading
from bench.resources import UNREAD, Sampler
from runtime.errors import MeasurementError

SLOW_S = 3600.0
"""A period in which the thread never comes to read by itself."""


@dataclass
class Named:
    """An instance as far as the sampler knows it."""

    name: str = "step"
    pid: int | None = 7


@dataclass(eq=False)
class Script:
    """A counter that gives readings in turn, then has ended."""

    readings: list[Reading] = field(default_factory=list)
    closed: bool = False

    def read(self) -> Reading:
        """The next reading."""
        if not self.readings:
            raise OSError(19, "No such device")
        return self.readings.pop(0)

    def read_cpu_ns(self) -> int:
        """The next reading's CPU time."""
        return self.read().cpu_ns

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[Script]:
    """Counters that the sampler will be given, in order."""
    queue: list[Script] = []
    monkeypatch.setattr(resources, "container_counter", lambda _pid: queue.pop(0))
    return queue


def rows(sampler: Sampler) -> list[tuple[int, int, int, int]]:
    """The table without its instants."""
    table = sampler.table()
    names = ("instance", "cpu_ns", "memory_bytes", "throttled_ns")
    columns = [table[name].tolist() for name in names]
    return list(zip(*columns, strict=True))


def test_the_last_reading_before_the_end_stays(scripts: list[Script]) -> None:
    """A container that ends leaves its last row, and no made-up one after it."""
    script = Script([Reading(1, 10, 0), Reading(5, 20, 2)])
    scripts.append(script)
    sampler = Sampler(isolates=True, period_s=SLOW_S)
    sampler.watch(0, Named())
    sampler.read_now(0)
    sampler.unwatch(0)
    assert rows(sampler) == [(0, 1, 10, 0), (0, 5, 20, 2)]
    assert script.closed


def test_instances_of_one_index_are_summed(scripts: list[Script]) -> None:
    """Counters under one index add up, and an ended one's CPU time stays in the sum."""
    scripts += [
        Script([Reading(100, 10, 1), Reading(200, 10, 1)]),
        Script([Reading(7, 5, 0), Reading(8, 5, 0), Reading(9, 6, 0)]),
    ]
    sampler = Sampler(isolates=True, period_s=SLOW_S)
    sampler.watch(-3, Named("one"))
    sampler.watch(-3, Named("two"))
    sampler.read_now(-3)
    sampler.read_now(-3)
    assert rows(sampler) == [
        (-3, 100, 10, 1),
        (-3, 207, 15, 1),
        (-3, 208, 5, 1),
        (-3, 209, 6, 1),
    ]
    sampler.close()


def test_what_cannot_be_seen_is_said_and_not_made_up() -> None:
    """An instance whose processes are invisible gives a problem with its name, and no rows."""
    sampler = Sampler(isolates=True, period_s=SLOW_S)
    sampler.watch(0, Named("mapper", pid=None))
    assert rows(sampler) == []
    assert len(sampler.problems) == 1
    assert "mapper" in sampler.problems[0]
    assert "not visible" in sampler.problems[0]


def test_the_thread_samples_until_closed(scripts: list[Script]) -> None:
    """Between watch and close rows appear by themselves, in order of time, in the right types."""
    scripts.append(Script([Reading(n, n, n) for n in range(1, 10_000)]))
    with Sampler(isolates=True, period_s=0.001) as sampler:
        sampler.watch(3, Named())
        while len(sampler.table()["at_ns"]) < 20:
            time.sleep(0.001)
    table = sampler.table()
    assert {name: column.dtype for name, column in table.items()} == {
        "instance": np.dtype(np.int32),
        "at_ns": np.dtype(np.int64),
        "cpu_ns": np.dtype(np.int64),
        "memory_bytes": np.dtype(np.int64),
        "throttled_ns": np.dtype(np.int64),
        "descriptors": np.dtype(np.int64),
        "threads": np.dtype(np.int64),
    }
    assert set(table["instance"].tolist()) == {3}
    assert (np.diff(table["at_ns"]) > 0).all()
    assert (np.diff(table["cpu_ns"]) > 0).all()
    before = len(table["at_ns"])
    time.sleep(0.01)
    assert len(sampler.table()["at_ns"]) == before
    assert sampler.own_cpu_share > 0


def test_a_thread_that_breaks_off_is_reported(scripts: list[Script]) -> None:
    """A counter file with an unknown content ends the sampling with an error at close."""

    class Garbage(Script):
        def read(self) -> Reading:
            if self.readings:
                return self.readings.pop(0)
            raise ValueError("not a number")

    scripts.append(Garbage([Reading(1, 1, 1)]))
    sampler = Sampler(isolates=True, period_s=0.001)
    sampler.watch(0, Named())
    sampler.__enter__()
    time.sleep(0.1)
    with pytest.raises(MeasurementError, match="broke off"):
        sampler.close()
    sampler.close()


def test_unknown_indices_are_let_go() -> None:
    """To unwatch or read what was never watched does nothing."""
    sampler = Sampler(isolates=True, period_s=SLOW_S)
    sampler.read_now(5)
    sampler.unwatch(5)
    assert rows(sampler) == []


def test_descriptors_and_threads_are_sampled(scripts: list[Script]) -> None:
    """At full readings they are counted: one more thread and descriptor shows; else UNREAD."""
    scripts.append(Script([Reading(n, n, n) for n in range(1, 100)]))
    ended = threading.Event()
    with Sampler(isolates=True, period_s=SLOW_S) as sampler:
        sampler.watch(0, Named(pid=os.getpid()))
        thread = threading.Thread(target=ended.wait)
        thread.start()
        with open(os.devnull, "rb"):
            sampler.read_now(0)
        ended.set()
        thread.join()
        table = sampler.table()
    more = [int(table[name][1] - table[name][0]) for name in ("descriptors", "threads")]
    assert more == [1, 1]


def test_handles_of_a_process_that_is_gone_are_unread(scripts: list[Script]) -> None:
    """Its other figures are kept; descriptors and threads say that they are not known."""
    scripts.append(Script([Reading(1, 1, 1)] * 3))
    gone = subprocess.Popen(["true"])
    gone.wait()
    with Sampler(isolates=True, period_s=SLOW_S) as sampler:
        sampler.watch(0, Named(pid=gone.pid))
        table = sampler.table()
    assert (table["descriptors"].tolist(), table["threads"].tolist()) == ([UNREAD], [UNREAD])
