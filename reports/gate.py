"""One exit code from a run's results, failing closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.verdict import Verdict

PASS, MISSED, UNUSABLE, UNDECIDED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The gate's exit code, and why in one line."""

    exit_code: int
    reason: str


def judge(results: Mapping[str, Any], *, strict: bool) -> Outcome:
    """Judge the results of a run.

    0: no target is missed, and at least one is met. 1: a target is missed. 2: the run failed or
    was interrupted, or nothing was measured. 3: no claim could be decided, or, with ``strict``,
    any claim is undecided.
    """
    counts, status = results["counts"], results["status"]
    if status != "complete":
        what = f"the run {'failed' if status == 'failed' else 'was interrupted'}"
        made = f"{counts['trials']} of {counts['planned_trials']} trials were made"
        return Outcome(UNUSABLE, f"{what}: {made}{_because(results.get('error'))}")
    if not counts["valid"]:
        return Outcome(UNUSABLE, f"nothing was measured: none of {counts['trials']} trials valid")
    claims = results["claims"]
    if not claims:
        return Outcome(UNUSABLE, "nothing was judged: the run has no claims")
    missed = _ids(claims, Verdict.MISSED)
    undecided = _ids(claims, Verdict.UNDECIDED)
    met = _ids(claims, Verdict.MET)
    if missed:
        return Outcome(MISSED, f"missed: {', '.join(missed)}")
    if undecided and (strict or not met):
        return Outcome(UNDECIDED, f"undecided: {', '.join(undecided)}")
    rest = f"; undecided: {', '.join(undecided)}" if undecided else ""
    return Outcome(PASS, f"{len(met)} of {len(claims)} claims met, none missed{rest}")


def _ids(claims: list[Mapping[str, Any]], verdict: Verdict) -> list[str]:
    return [str(claim["id"]) for claim in claims if claim["verdict"] == verdict]


def _because(error: object) -> str:
    return f" ({error})" if error else ""
