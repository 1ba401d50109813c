"""Simulated queues of one server, whose length and waiting times theory knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reports.rundir import SpanTable
from runtime.spans import FIRST, LOAD_STEP, PROCESS, SEND
from tests.fakes.rundir import NO_INSTANCE, S, span_table

Floats = npt.NDArray[np.float64]

BASE_NS = 5_000 * S


def poisson(rng: np.random.Generator, rate_hz: float, count: int) -> Floats:
    """Arrivals in seconds."""
    arrivals: Floats = np.cumsum(rng.exponential(1 / rate_hz, count))
    return arrivals


def queue(
    arrivals_s: Floats, services_s: Floats, *, transport_s: float = 0.0, cold: bool = True
) -> dict[str, npt.NDArray[Any]]:
    """Span columns of a flow of one step that takes one message after another.

    ``cold``: the first message carries the FIRST flag, as that of a start does.
    """
    count = arrivals_s.size
    # D. Lindley's recursion, as a running maximum.
    done = np.cumsum(services_s)
    ready = arrivals_s + transport_s
    acked = np.maximum.accumulate(ready - (done - services_s)) + done
    sent, delivered, ended = (
        BASE_NS + np.rint(at * S).astype(np.int64)
        for at in (arrivals_s, acked - services_s, acked)
    )  # fmt: skip
    trace = np.arange(1, count + 1)
    flags = np.where((trace == 1) & cold, FIRST, 0)
    return span_table([
        {"kind": SEND, "step": LOAD_STEP, "trace": trace, "message": trace, "flags": flags,
         "t0_ns": sent, "t1_ns": sent, "t2_ns": sent + 1, "t3_ns": sent + 2,
         "instance": NO_INSTANCE},
        {"kind": PROCESS, "step": 0, "trace": trace, "message": trace, "flags": flags,
         "t0_ns": delivered, "t1_ns": delivered, "t2_ns": ended, "t3_ns": ended},
    ])  # fmt: skip


def table(columns: dict[str, npt.NDArray[Any]]) -> SpanTable:
    """The columns as a span table that was read."""
    return SpanTable(**{name: column for name, column in columns.items() if name != "instance"})


def without(
    columns: dict[str, npt.NDArray[Any]], rows: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """The columns without some rows: their records were never written."""
    return {name: column[~rows] for name, column in columns.items()}


def twice(
    columns: dict[str, npt.NDArray[Any]], rows: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """The columns with some rows a second time: those messages were handled twice."""
    return {name: np.concatenate([column, column[rows]]) for name, column in columns.items()}
