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
    was interrupted, a part of it is damaged, or nothing was measured. 3: no claim could be decided,
    or, with ``strict``, any claim is undecided. A floor that moved is said, and decides nothing.
    """
    outcome = _judge(results, strict=strict)
    moved = (results.get("floor") or {}).get("moved_words")
    return Outcome(outcome.exit_code, f"{outcome.reason}; {moved}") if moved else outcome


def _judge(results: Mapping[str, Any], *, strict: bool) -> Outcome:
    claims = results["claims"]
    unusable = _unusable(results)
    missed, undecided, met = (
        _ids(claims, verdict) for verdict in (Verdict.MISSED, Verdict.UNDECIDED, Verdict.MET)
    )
    if unusable:
        return Outcome(UNUSABLE, unusable)
    if missed:
        return Outcome(MISSED, f"missed: {', '.join(missed)}")
    if undecided and (strict or not met):
        return Outcome(UNDECIDED, f"undecided: {', '.join(undecided)}")
    rest = f"; undecided: {', '.join(undecided)}" if undecided else ""
    return Outcome(PASS, f"{len(met)} of {len(claims)} claims met, none missed{rest}")


def _unusable(results: Mapping[str, Any]) -> str:
    """Why nothing can be judged by this run; empty when it can."""
    counts, status = results["counts"], results["status"]
    damaged = results.get("damaged") or ()
    if status != "complete":
        what = f"the run {'failed' if status == 'failed' else 'was interrupted'}"
        made = f"{counts['trials']} of {counts['planned_trials']} trials were made"
        return f"{what}: {made}{_because(results.get('error'))}"
    if damaged:
        first, more = damaged[0], len(damaged) - 1
        rest = f" (and {more} more)" if more else ""
        return f"damaged: {first['file']}: {first['what']}{rest}. {first['remedy']}"
    if not counts["valid"]:
        return f"nothing was measured: none of {counts['trials']} trials valid"
    return "" if results["claims"] else "nothing was judged: the run has no claims"


def _ids(claims: list[Mapping[str, Any]], verdict: Verdict) -> list[str]:
    return [str(claim["id"]) for claim in claims if claim["verdict"] == verdict]


def _because(error: object) -> str:
    return f" ({error})" if error else ""
