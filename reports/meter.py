"""The checks of the meter that rest on no scenario: the probe's own overhead, and the clocks.

They are computed from the raw readings in ``meter.json`` of the run directory (docs/formats.md).
Intervals are those of order statistics over pairs (``reports.floor``); the offset of two clocks has
no interval but bounds: each exchange says that the remote instant lies between two local ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.evidence import Evidence
from reports.executions import Floats
from reports.floor import quantile_bounds
from reports.records import parse
from reports.shown import Check, Json, Shown, all_of, figure_of
from reports.stats import quantile
from runtime.errors import FormatError

FILE = "meter.json"
FORMAT = 1
OVERHEAD_SHARE = 0.05
OVERHEAD_MS = 0.05
"""What recording spans may add to a hop's p50: 5 % of it or 50 us, whichever is larger."""
OFFSET_LIMIT_US = 300.0
"""An offset that is known no better than this could hide what the other checks allow."""


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """p50 of a hop in ms with spans recorded and without, by pairs of batches of ``messages``."""

    messages: int
    rate_hz: float
    on_ms: tuple[float, ...]
    off_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClockSide:
    """Readings of a remote clock, each between two of the local one."""

    before_ns: tuple[int, ...]
    remote_ns: tuple[int, ...]
    after_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeterRecord:
    """The content of ``meter.json``; ``clocks`` by the two ends that were compared."""

    format: int
    probe: ProbeRecord
    span_write_ns: tuple[float, ...]
    clock_id: str
    clocks: tuple[tuple[str, ClockSide], ...]


def read_meter(run_dir: Path) -> MeterRecord | None:
    """Read ``meter.json``; None where there is none. Raises FormatError when it is damaged."""
    path = run_dir / FILE
    if not path.exists():
        return None
    remedy = "Certify again, or restore the file from a copy"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        number = content["format"]
        sides = [(f"{one['from']} and {one['to']}", one) for one in content["clocks"]]
        probe, written = content["probe"], tuple(map(float, content["span_write_ns"]))
        clock = str(content["clock_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"damaged: {type(error).__name__}: {error}"
        raise FormatError(what, where=str(path), remedy=remedy) from error
    if number != FORMAT:
        raise FormatError(
            f"it has format {number!r}; this version reads {FORMAT}", where=str(path),
            remedy="Use the version of hopbench that wrote it",
        )  # fmt: skip
    return MeterRecord(
        format=FORMAT,
        probe=parse(ProbeRecord, probe, file=str(path)),
        span_write_ns=written,
        clock_id=clock,
        clocks=tuple((name, parse(ClockSide, one, file=str(path))) for name, one in sides),
    )


def probe_overhead(meter: MeterRecord | None) -> Check:
    """What recording spans adds to a hop: with them against without, in pairs."""
    check = "probe-overhead", "Recording spans does not change what is measured"
    if meter is None or not meter.probe.on_ms or len(meter.probe.on_ms) != len(meter.probe.off_ms):
        return Check(*check, Shown.UNDECIDED, "not measured")
    on, off = np.array(meter.probe.on_ms), np.array(meter.probe.off_ms)
    messages = meter.probe.messages * on.size
    hop_ms = quantile(np.sort(off), 0.5)
    limit_ms = max(OVERHEAD_SHARE * hop_ms, OVERHEAD_MS)
    added = _of_pairs(on - off, "ms", messages)
    ratio = _of_pairs(on / off, "x", messages)
    writes = np.array(meter.span_write_ns)
    written = _of_pairs(writes, "ns", writes.size) if writes.size else None
    verdict = Shown.UNDECIDED
    if added["high"] is not None:
        verdict = Shown.SHOWN if added["high"] <= limit_ms else Shown.UNDECIDED
        verdict = Shown.NOT_SHOWN if added["low"] > limit_ms else verdict
    reason = (
        f"with spans a hop takes {figure_of(ratio).words()} of its time without: "
        f"{figure_of(added).words()} more, in pairs of batches; allowed {limit_ms:.3g} ms"
    )
    rows: list[Json] = [
        {"label": "added to a hop's p50", "figure": added, "limit": limit_ms},
        {"label": "with spans over without", "figure": ratio, "limit": None},
        {"label": "one span, recorded", "figure": written, "limit": None},
    ]
    return Check(*check, verdict, reason, tuple(row for row in rows if row["figure"]))


def clocks(meter: MeterRecord | None, evidence: Evidence) -> Check:
    """One clock: its id in every trial, and its readings across the border of containers."""
    check = "clocks", "Containers and host have one clock"
    seen = {t.record.clock_id for t in evidence.trials}
    seen |= {one for t in evidence.trials for one in t.record.clock_ids_seen}
    if meter is None or not meter.clocks:
        return Check(*check, Shown.UNDECIDED, "not measured")
    seen.add(meter.clock_id)
    rows = [_offset(name, side) for name, side in meter.clocks]
    verdicts = [Shown(row["verdict"]) for row in rows]
    verdicts.append(Shown.SHOWN if len(seen) == 1 else Shown.NOT_SHOWN)
    known = [row for row in rows if row["low_us"] is not None]
    reason = "; ".join(
        f"{row['label']}: offset between {row['low_us']:.1f} and {row['high_us']:.1f} us"
        for row in known
    )
    ids = f"{len(seen)} different clocks: {', '.join(sorted(seen))}"
    ids = "one clock id" if len(seen) == 1 else ids
    return Check(*check, all_of(verdicts), f"{ids}; {reason or 'no exchange'}", tuple(rows))


def _offset(name: str, side: ClockSide) -> Json:
    """Bounds of remote minus local clock: those that all exchanges agree on."""
    before, remote, after = (
        np.array(values, dtype=np.int64)
        for values in (side.before_ns, side.remote_ns, side.after_ns)
    )
    row: Json = {
        "label": name, "low_us": None, "high_us": None, "bound_us": None, "unit": "us",
        "rounds": int(remote.size), "verdict": str(Shown.UNDECIDED),
    }  # fmt: skip
    if not remote.size or not before.size == remote.size == after.size:
        return row
    low, high = float((remote - after).max()) / 1e3, float((remote - before).min()) / 1e3
    verdict = Shown.SHOWN
    # Bounds that contradict each other: one of the clocks does not run as the other does.
    if low > 0 or high < 0 or low > high:
        verdict = Shown.NOT_SHOWN
    elif max(-low, high) > OFFSET_LIMIT_US:
        verdict = Shown.UNDECIDED
    return row | {
        "low_us": low, "high_us": high, "bound_us": max(-low, high), "verdict": str(verdict),
    }  # fmt: skip


def _of_pairs(values: Floats, unit: str, messages: int) -> Json:
    """The median of pairs (or batches), with the interval of order statistics."""
    ordered = np.sort(values)
    bounds = quantile_bounds(ordered, 0.5)
    return {
        "value": quantile(ordered, 0.5),
        "low": bounds[0] if bounds else None, "high": bounds[1] if bounds else None,
        "unit": unit, "starts": 1, "messages": messages, "pairs": int(ordered.size),
        "basis": "pairs",
    }  # fmt: skip
