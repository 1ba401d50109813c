"""What a flow costs: container-seconds, CPU-seconds and megabyte-seconds of its steps.

An ordinary execution costs what its own containers used from start to end. A realtime flow is
there all the time: it costs what its containers used while the load ran, per message; at another
arrival rate, its idle cost is shared by the messages that arrive. A megabyte is 10^6 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.cells import Cell, Part
from reports.records import InstanceRecord
from reports.stats import Samples
from reports.trials import Trial

CONTAINER, CPU, MB, PEAK = "container_seconds", "cpu_seconds", "mb_seconds", "memory_peak_mb"
COSTS = (CONTAINER, CPU, MB)
UNITS = {CONTAINER: "s", CPU: "s", MB: "MB*s", PEAK: "MB"}
MIN_IDLE_NS = 100_000_000
"""Shortest time without load from which the idle CPU of a flow is taken."""

_NS_PER_S = 1e9
_BYTES_PER_MB = 1e6

Costs = dict[str, Samples]
Totals = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Track:
    """The samples of one instance, in order of time."""

    at_ns: npt.NDArray[np.int64]
    cpu_ns: npt.NDArray[np.int64]
    memory_bytes: npt.NDArray[np.int64]

    def covers(self, start_ns: int, end_ns: int) -> bool:
        """Whether at least half of a window lies between the first sample and the last."""
        if self.at_ns.size < 2:
            return False
        inside = min(end_ns, int(self.at_ns[-1])) - max(start_ns, int(self.at_ns[0]))
        return inside > 0 and 2 * inside >= end_ns - start_ns

    def cpu_share(self, start_ns: int, end_ns: int) -> float:
        """CPU-seconds a second within the part of a window that the samples cover."""
        start = max(start_ns, int(self.at_ns[0]))
        end = min(end_ns, int(self.at_ns[-1]))
        used = np.interp([start, end], self.at_ns, self.cpu_ns)
        return float((used[1] - used[0]) / (end - start))

    def mb_seconds(self, start_ns: int, end_ns: int) -> float:
        """Memory integrated over a window; before the first and after the last sample it holds."""
        inside = self.at_ns[(self.at_ns > start_ns) & (self.at_ns < end_ns)]
        at = np.concatenate(([start_ns], inside, [end_ns]))
        memory = np.interp(at, self.at_ns, self.memory_bytes)
        return float(np.trapezoid(memory, at) / _NS_PER_S / _BYTES_PER_MB)


def per_message(cell: Cell) -> Costs | None:
    """Costs per message, and the memory peak of the largest container.

    None where starts carried messages of several cells at once: no message's share is known. A
    start (or ordinary execution) whose samples are missing has no CPU and memory cost.
    """
    if cell.ordinary:
        totals = [t for part in cell.parts for t in _ordinary(part)]
    elif cell.alone:
        totals = [_realtime(part.trial) for part in cell.parts]
    else:
        return None
    return _collect(totals, (*COSTS, PEAK))


def idle_per_second(cell: Cell) -> Costs:
    """Costs of a realtime flow per second while it waits for messages."""
    return _collect([_idle(part.trial) for part in cell.parts], COSTS)


def per_message_at(cell: Cell, rate_hz: float) -> tuple[Costs, Costs]:
    """Costs of a realtime flow per message at an arrival rate, and the part that is not idle cost.

    The work per message is what was used under load beyond the idle cost. Where no idle time was
    watched, the CPU of a message under load stands for all of its CPU: that is less than the truth
    at any lower rate.
    """
    totals: list[Totals] = []
    works: list[Totals] = []
    for part in cell.parts:
        loaded, idle = _realtime(part.trial), _idle(part.trial)
        work = {CONTAINER: 0.0, MB: 0.0}
        cost = {kind: idle[kind] / rate_hz for kind in idle}
        if CPU in loaded:
            seconds = _window_s(part.trial) / max(part.trial.executions.count, 1)
            work[CPU] = loaded[CPU] - idle.get(CPU, 0.0) * seconds
            cost[CPU] = work[CPU] + idle.get(CPU, 0.0) / rate_hz
        totals.append(cost)
        works.append(work)
    return _collect(totals, COSTS), _collect(works, COSTS)


def _collect(totals: Iterable[Totals], kinds: tuple[str, ...]) -> Costs:
    rows = list(totals)
    return {
        kind: Samples.of([np.array([row[kind]]) for row in rows if kind in row]) for kind in kinds
    }


def _ordinary(part: Part) -> Iterable[Totals]:
    """Costs of each execution of an ordinary trial."""
    trial = part.trial
    tracks = _tracks(trial)
    wanted = set(part.executions.trace[part.judged].tolist())
    groups: dict[int, list[tuple[int, InstanceRecord]]] = {}
    for index, instance in enumerate(trial.record.instances):
        if instance.execution in wanted:
            groups.setdefault(instance.execution or 0, []).append((index, instance))
    for members in groups.values():
        total = {CONTAINER: 0.0, CPU: 0.0, MB: 0.0, PEAK: 0.0}
        for index, instance in members:
            _add_lifetime(total, instance, tracks.get(index))
        yield {kind: value for kind, value in total.items() if np.isfinite(value)}


def _add_lifetime(total: Totals, instance: InstanceRecord, track: _Track | None) -> None:
    """Add what an instance cost from its start to its end; NaN is what is not known."""
    start_ns = instance.engine_start_ns or instance.start_call_ns or instance.create_ns
    end_ns = instance.engine_die_ns
    if end_ns is None and track is not None:
        end_ns = int(track.at_ns[-1])
    known = start_ns is not None and end_ns is not None
    span_ns = (start_ns or 0, end_ns or 0)
    total[CONTAINER] += (span_ns[1] - span_ns[0]) / _NS_PER_S if known else np.nan
    sampled = known and track is not None
    total[CPU] += float(track.cpu_ns[-1]) / _NS_PER_S if sampled and track else np.nan
    total[MB] += track.mb_seconds(*span_ns) if sampled and track else np.nan
    total[PEAK] = max(total[PEAK], _peak_mb(instance, track))


def _realtime(trial: Trial) -> Totals:
    """Costs per message of a realtime trial while its load ran."""
    record = trial.record
    start_ns, end_ns, messages = record.load_start_ns, record.load_end_ns, trial.executions.count
    if start_ns is None or end_ns is None or end_ns <= start_ns or not messages:
        return {}
    tracks = _tracks(trial)
    window_s = _window_s(trial)
    total = {CONTAINER: len(record.steps) * window_s / messages, PEAK: 0.0}
    for index, instance in enumerate(record.instances):
        total[PEAK] = max(total[PEAK], _peak_mb(instance, tracks.get(index)))
    known = [track for track in tracks.values() if track.covers(start_ns, end_ns)]
    if len(known) == len(record.instances):
        total[CPU] = sum(t.cpu_share(start_ns, end_ns) for t in known) * window_s / messages
        total[MB] = sum(t.mb_seconds(start_ns, end_ns) for t in known) / messages
    return total


def _idle(trial: Trial) -> Totals:
    """Costs per second of a realtime trial: containers, memory, and CPU without load."""
    record = trial.record
    total: Totals = {CONTAINER: float(len(record.steps))}
    tracks = list(_tracks(trial).values())
    if len(tracks) < len(record.instances):
        return total
    start_ns, end_ns = record.load_start_ns, record.load_end_ns
    if start_ns is not None and end_ns is not None and end_ns > start_ns:
        window_s = (end_ns - start_ns) / _NS_PER_S
        total[MB] = sum(track.mb_seconds(start_ns, end_ns) for track in tracks) / window_s
    sent_ns = trial.executions.send[1]
    first_ns = int(sent_ns.min()) if sent_ns.size else start_ns
    windows = [
        (a, b)
        for a, b in ((record.flow_consuming_ns, first_ns), (end_ns, record.flow_stop_ns))
        if a is not None and b is not None and b - a >= MIN_IDLE_NS
        and all(track.covers(a, b) for track in tracks)
    ]  # fmt: skip
    if windows:
        watched = sum(b - a for a, b in windows)
        used = sum((b - a) * track.cpu_share(a, b) for a, b in windows for track in tracks)
        total[CPU] = used / watched
    return total


def _window_s(trial: Trial) -> float:
    record = trial.record
    return ((record.load_end_ns or 0) - (record.load_start_ns or 0)) / _NS_PER_S


def _peak_mb(instance: InstanceRecord, track: _Track | None) -> float:
    if instance.memory_peak_bytes is not None:
        return instance.memory_peak_bytes / _BYTES_PER_MB
    return float(track.memory_bytes.max()) / _BYTES_PER_MB if track is not None else np.nan


def _tracks(trial: Trial) -> dict[int, _Track]:
    """The samples of each step instance that has any, by its index."""
    table = trial.resources
    order = np.lexsort((table.at_ns, table.instance))
    instance = table.instance[order]
    indexes, begins = np.unique(instance, return_index=True)
    pieces = np.split(order, begins[1:])
    return {
        int(index): _Track(table.at_ns[rows], table.cpu_ns[rows], table.memory_bytes[rows])
        for index, rows in zip(indexes, pieces, strict=True)
        if index >= 0
    }
