"""A consumer that stands still: what the correction for coordinated omission shows, and hides.

What the messages sent during the freeze must have waited follows from its two instants and their
intended sends alone: until it is thawed. Corrected latencies, from the intended send, must show at
least that much in either loop; a closed loop's uncorrected ones, from the actual send, do not show
it, since it asked only when all was well again (G. Tene, "How NOT to Measure Latency").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports import measures
from reports.evidence import Evidence
from reports.executions import Floats
from reports.records import FaultRecord, ScenarioRecord
from reports.shown import Check, Figure, Json, Shown, all_of
from reports.stats import can_give, quantile
from reports.trials import Trial

FREEZE = "freeze"
LOOPS = ("open", "closed")
QUANTILE = 0.9
SLACK = 0.05
"""By how much less than what must have been waited a corrected p90 may show."""
BACKLOG = 1.5
"""How many times that it may show: what piled up is handled one after another."""
MILLISECONDS_MS = 100.0
"""Below it, a latency is one of milliseconds and not of seconds."""
GAP_TOLERANCE_NS = 1_000
"""By how much a gap of an evenly spaced schedule may differ from the others: rounding."""
WHY = (
    "one start each, without an interval: an event is shown, not a mean. A closed loop sends "
    "nothing while it waits, so that one message met the freeze where hundreds were due; "
    "only from the intended sends can it be seen that all of those were late"
)


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A trial in which a step stood still, and what its messages say."""

    trial: Trial
    predicted_ms: float
    corrected_ms: float
    uncorrected_ms: float
    messages: int
    off_schedule: int
    frozen_s: float


def freezes(evidence: Evidence) -> Check:
    """The corrected p90 beside the uncorrected one, in both loops."""
    check = "freeze", "A frozen consumer shows in corrected latencies, whatever the loop"
    rows = []
    for loop in LOOPS:
        scenario = next((s for s in evidence.run.scenarios if _freezes(s, loop)), None)
        if scenario is None:
            rows.append(_missing(loop, "not run"))
            continue
        trials = evidence.valid(scenario.name)
        frozen = _look(trials[0], scenario) if trials else None
        if frozen is None:
            doubts = evidence.doubts([scenario.name])
            rows.append(_missing(loop, "; ".join(doubts) or "the step was not frozen"))
            continue
        rows.append(_row(loop, frozen))
    verdict = all_of([Shown(row["verdict"]) for row in rows])
    said = "; ".join(f"{row['loop']} loop: {row['reason']}" for row in rows)
    return Check(*check, verdict, f"{said}. {WHY[0].upper()}{WHY[1:]}", tuple(rows))


def _freezes(scenario: ScenarioRecord, loop: str) -> bool:
    faults: tuple[FaultRecord, ...] = scenario.faults or ()
    own = (scenario.load.loop if scenario.load else None) or "open"
    return any(fault.kind == FREEZE for fault in faults) and own == loop


def _look(trial: Trial, scenario: ScenarioRecord) -> _Frozen | None:
    fault = next((f for f in trial.record.faults or () if f.kind == FREEZE), None)
    rows = trial.executions
    warm = ~rows.cold
    if fault is None or fault.at_ns is None or fault.until_ns is None:
        return None
    if not can_give(int(warm.sum()), QUANTILE) or scenario.load is None:
        return None
    intended = rows.send[0, warm]
    inside = (intended >= fault.at_ns) & (intended <= fault.until_ns)
    waited_ms = np.where(inside, (fault.until_ns - intended) / 1e6, 0.0)
    gap_ns = 1e9 / scenario.load.rate_hz
    gaps = np.diff(np.sort(intended))
    return _Frozen(
        trial=trial,
        predicted_ms=_p90(waited_ms),
        corrected_ms=_p90(measures.end_to_end(rows, warm)),
        uncorrected_ms=_p90(measures.uncorrected(rows, warm)),
        messages=int(warm.sum()),
        off_schedule=int((np.abs(gaps - gap_ns) > GAP_TOLERANCE_NS).sum()),
        frozen_s=(fault.until_ns - fault.at_ns) / 1e9,
    )


def _p90(values: Floats) -> float:
    return quantile(np.sort(values), QUANTILE)


def _row(loop: str, frozen: _Frozen) -> Json:
    verdict, reason = _judge(loop, frozen)
    corrected, uncorrected = (
        Figure(ms, None, None, "ms", 1, frozen.messages).document()
        for ms in (frozen.corrected_ms, frozen.uncorrected_ms)
    )
    return {
        "loop": loop, "corrected": corrected, "uncorrected": uncorrected,
        "predicted_ms": frozen.predicted_ms, "frozen_s": frozen.frozen_s,
        "verdict": str(verdict), "reason": reason,
    }  # fmt: skip


def _judge(loop: str, frozen: _Frozen) -> tuple[Shown, str]:
    least, most = (1 - SLACK) * frozen.predicted_ms, BACKLOG * frozen.predicted_ms
    corrected, uncorrected = (
        Figure(ms, None, None, "ms", 1, frozen.messages).words()
        for ms in (frozen.corrected_ms, frozen.uncorrected_ms)
    )
    said = f"p90 {corrected} from the intended send, {uncorrected} from the actual one"
    if frozen.off_schedule:
        what = "intended instants are not those of an evenly spaced schedule: the system moves them"
        of = f"{frozen.off_schedule} of {frozen.messages}"
        return Shown.NOT_SHOWN, f"{said}; {of} {what}"
    if frozen.predicted_ms <= MILLISECONDS_MS:
        return Shown.UNDECIDED, f"{said}; the freeze was too short to show at the p90"
    if not least <= frozen.corrected_ms <= most:
        what = f"the instants of the freeze allow no less than {frozen.predicted_ms:.0f} ms"
        return Shown.NOT_SHOWN, f"{said}; {what}"
    hidden = frozen.uncorrected_ms <= MILLISECONDS_MS
    if loop == "closed" and not hidden:
        return (
            Shown.NOT_SHOWN,
            f"{said}; this closed loop did not hide the freeze",
        )
    if loop == "open" and frozen.uncorrected_ms < least:
        return Shown.NOT_SHOWN, f"{said}; this open loop did not send on"
    return Shown.SHOWN, said


def _missing(loop: str, reason: str) -> Json:
    return {
        "loop": loop, "corrected": None, "uncorrected": None, "predicted_ms": None,
        "frozen_s": None, "verdict": str(Shown.UNDECIDED), "reason": reason,
    }  # fmt: skip
