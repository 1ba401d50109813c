"""The sampler: a thread that reads the resource counters of a trial's instances as time goes by.

CPU time is read at every tick, memory and throttling at every fifth, so that the sampler takes less
than a hundredth of a core. So are the descriptors and threads of each instance's first process; in
the other rows they are :data:`UNREAD`. A row is written per index at each tick; where nothing can
be read there are no rows, and :attr:`Sampler.problems` says why.
"""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import psutil

from bench.cgroups import Counter, Reading, container_counter, process_counter
from runtime.clock import now_ns
from runtime.errors import MeasurementError

BROKER, LOAD, SERVICES = -1, -2, -3
"""Indices of what is no step. Several instances may share an index: their counters are summed."""
FULL_EVERY = 5
UNREAD = -1
"""Descriptors or threads that were not read, or that we may not see."""


class Watchable(Protocol):
    """What can be sampled: an instance, or a broker's process."""

    @property
    def name(self) -> str:
        """What problems call it."""

    @property
    def pid(self) -> int | None:
        """Its first process as this host sees it; None where the host cannot see it."""


class _Watched:
    """The instances that share an index. CPU time of those that have ended stays in the sum."""

    def __init__(self) -> None:
        self._live: dict[Counter, Reading] = {}
        self._first: list[psutil.Process] = []
        self._ended_cpu_ns = 0
        self._ended_throttled_ns = 0

    def add(self, counter: Counter, pid: int) -> None:
        self._live[counter] = Reading(0, 0, 0)
        with contextlib.suppress(psutil.Error):
            self._first.append(psutil.Process(pid))

    def handles(self) -> tuple[int, int]:
        """Descriptors and threads of the first processes; UNREAD where one cannot be seen."""
        try:
            found = [(one.num_fds(), one.num_threads()) for one in self._first]
        except psutil.Error:
            return UNREAD, UNREAD
        if not found:
            return UNREAD, UNREAD
        return sum(fds for fds, _ in found), sum(threads for _, threads in found)

    def read(self, *, full: bool) -> Reading | None:
        """The sum over those that still run; None when none does."""
        for counter, last in tuple(self._live.items()):
            try:
                if full or not last.memory_bytes:
                    self._live[counter] = counter.read()
                else:
                    self._live[counter] = Reading(
                        counter.read_cpu_ns(), last.memory_bytes, last.throttled_ns
                    )
            except OSError:
                # ENODEV, ENOENT or ESRCH: it has ended, and its last reading is what is known.
                counter.close()
                del self._live[counter]
                self._ended_cpu_ns += last.cpu_ns
                self._ended_throttled_ns += last.throttled_ns
        if not self._live:
            return None
        readings = self._live.values()
        return Reading(
            self._ended_cpu_ns + sum(reading.cpu_ns for reading in readings),
            sum(reading.memory_bytes for reading in readings),
            self._ended_throttled_ns + sum(reading.throttled_ns for reading in readings),
        )

    def close(self) -> None:
        for counter in self._live:
            counter.close()
        self._live.clear()


class Sampler:
    """Samples instances from :meth:`watch` until they end or :meth:`unwatch`. One per trial.

    ``isolates`` as the launcher's: whether an instance is a container with a cgroup of its own.
    Use as a context manager.
    """

    def __init__(self, *, isolates: bool, period_s: float = 0.04) -> None:
        self._isolates = isolates
        self._period_s = period_s
        self._watched: dict[int, _Watched] = {}
        self._columns = {
            name: array("q")
            for name in (
                "instance", "at_ns", "cpu_ns", "memory_bytes", "throttled_ns",
                "descriptors", "threads",
            )
        }  # fmt: skip
        self._problems: list[str] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._failure: BaseException | None = None
        self._began_ns = 0
        self._own_cpu_ns = 0

    def __enter__(self) -> Self:
        """Start sampling."""
        self._began_ns = now_ns()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop sampling."""
        self.close()

    def watch(self, index: int, instance: Watchable) -> None:
        """Sample an instance under an index, from now on."""
        pid = instance.pid
        try:
            if not pid:
                raise MeasurementError(
                    "its processes are not visible from here (an engine in a virtual machine?)",
                    where=instance.name,
                )
            counter = container_counter(pid) if self._isolates else process_counter(pid)
        except MeasurementError as error:
            with self._lock:
                self._problems.append(f"resources of {instance.name} are unknown: {error}")
            return
        with self._lock:
            self._watched.setdefault(index, _Watched()).add(counter, pid)
            self._sample(index, full=True)

    def read_now(self, index: int) -> None:
        """Read an index out of turn, as just before its instance is stopped."""
        with self._lock:
            if index in self._watched:
                self._sample(index, full=True)

    def unwatch(self, index: int) -> None:
        """Read an index a last time and let it go. Unknown indices are fine."""
        with self._lock:
            if index in self._watched:
                self._sample(index, full=True)
                self._watched.pop(index).close()

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be sampled, and why."""
        with self._lock:
            return tuple(self._problems)

    @property
    def own_cpu_share(self) -> float:
        """The sampling thread's own CPU time as a share of one core."""
        elapsed_ns = now_ns() - self._began_ns
        return self._own_cpu_ns / elapsed_ns if self._began_ns and elapsed_ns else 0.0

    def table(self) -> dict[str, npt.NDArray[np.int32] | npt.NDArray[np.int64]]:
        """The rows so far, by column of ``resources.parquet``, in order of time per index."""
        with self._lock:
            columns = {
                name: np.array(values, dtype=np.int64) for name, values in self._columns.items()
            }
        return {**columns, "instance": columns["instance"].astype(np.int32)}

    def close(self) -> None:
        """Stop sampling. Raises what ended the sampling thread early, if anything. Idempotent."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            while self._watched:
                self._watched.popitem()[1].close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise MeasurementError(
                f"the sampling of resources broke off: {failure!r}",
                remedy="Report it with this message; the latencies are not affected",
            ) from failure

    def _sample(self, index: int, *, full: bool) -> None:
        at_ns = now_ns()
        watched = self._watched[index]
        reading = watched.read(full=full)
        if reading is None:
            return
        handles = watched.handles() if full else (UNREAD, UNREAD)
        row = (
            index, at_ns, reading.cpu_ns, reading.memory_bytes, reading.throttled_ns, *handles,
        )  # fmt: skip
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def _run(self) -> None:
        tick = 0
        try:
            while not self._stop.wait(self._period_s):
                with self._lock:
                    for index in self._watched:
                        self._sample(index, full=tick % FULL_EVERY == 0)
                tick += 1
                self._own_cpu_ns = time.thread_time_ns()
        except (OSError, ValueError, RuntimeError) as error:
            self._failure = error
