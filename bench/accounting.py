"""What became of every message of a trial, and what the load did, from the trial's spans."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.spans import EMIT, ERROR, OK, PROCESS, REFUSED, SEND
from runtime.spool import Records


@dataclass(frozen=True, slots=True)
class Accounting:
    """Messages that were sent, and where each ended. ``accepted`` = handled + failed + lost.

    ``ended_early``: handled ones whose execution ended before the last step, since a component
    emitted nothing. ``duplicated``: messages that one step handled more than once.
    """

    sent: int
    accepted: int
    refused: int
    handled: int
    ended_early: int
    failed: int
    lost: int
    duplicated: int

    def as_json(self) -> dict[str, int]:
        """For trial.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """How the generator kept to its schedule. Lag: actual minus intended send."""

    target_rate_hz: float
    achieved_rate_hz: float
    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    cpu_s: float


def account(records: Records, steps: int) -> Accounting:
    """Follow every execution to its end.

    An execution is failed when any of its messages failed, handled when every one of its messages
    was handled, and lost otherwise: a message of it was accepted by the broker, and no step has
    said what became of it.
    """
    kind, outcome = records["kind"], records["outcome"]
    sends = kind == SEND
    accepted = np.unique(records["trace"][sends & (outcome == OK)])
    processed = kind == PROCESS
    failed = np.unique(
        records["trace"][(processed & (outcome == ERROR)) | ((kind == EMIT) & (outcome == REFUSED))]
    )
    failed = np.intersect1d(failed, accepted, assume_unique=True)
    # A message that exists: accepted from the generator, or emitted and confirmed.
    existing = records["message"][(sends | (kind == EMIT)) & (outcome == OK)]
    owner = records["trace"][(sends | (kind == EMIT)) & (outcome == OK)]
    done = processed & (outcome == OK)
    unfinished = np.unique(owner[~np.isin(existing, records["message"][done])])
    lost = np.setdiff1d(np.intersect1d(unfinished, accepted), failed)
    handled = np.setdiff1d(np.setdiff1d(accepted, failed), lost)
    reached = np.unique(records["trace"][done & (records["step"] == steps - 1)])
    keys = records["step"][done].astype(np.uint64) << np.uint64(48)
    keys = keys ^ records["message"][done]
    return Accounting(
        sent=int(sends.sum()),
        accepted=len(accepted),
        refused=int((sends & (outcome != OK)).sum()),
        handled=len(handled),
        ended_early=len(np.setdiff1d(handled, reached)),
        failed=len(failed),
        lost=len(lost),
        duplicated=len(keys) - len(np.unique(keys)),
    )


def load_figures(records: Records, *, target_rate_hz: float, cpu_s: float) -> LoadFigures:
    """Schedule lag and achieved rate, from the SEND spans in the order of their intended instants.

    The target rate is that of the schedule itself: messages over the time that it spans.
    """
    sends = records[records["kind"] == SEND]
    sends = sends[np.argsort(sends["t0_ns"], kind="stable")]
    lag_ms: NDArray[np.float64] = (sends["t1_ns"] - sends["t0_ns"]) / 1e6
    if len(sends) < 2:
        only = float(lag_ms[0]) if len(lag_ms) else 0.0
        return LoadFigures(target_rate_hz, target_rate_hz, only, only, only, cpu_s)
    planned_s = float(sends["t0_ns"][-1] - sends["t0_ns"][0]) / 1e9
    taken_s = float(sends["t1_ns"].max() - sends["t1_ns"][0]) / 1e9
    return LoadFigures(
        target_rate_hz=(len(sends) - 1) / planned_s,
        achieved_rate_hz=(len(sends) - 1) / taken_s,
        lag_p50_ms=float(np.quantile(lag_ms, 0.5)),
        lag_p99_ms=float(np.quantile(lag_ms, 0.99)),
        lag_max_ms=float(lag_ms.max()),
        cpu_s=cpu_s,
    )
