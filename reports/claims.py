"""Judges the claims: finds for each the function that decides its metric, and asks it.

What forbids a verdict is settled here, once for all: a metric that nothing measures, a scenario
that was not run or has no valid trial, processes where the claim speaks of containers, a run that
ended early, or of which something cannot be read or trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from reports import claims_measured as measured
from reports import claims_observed as observed
from reports import claims_platform as platform
from reports.evidence import Evidence
from reports.records import ClaimRecord
from reports.verdict import Decision, Verdict, undecided
from scenarios.model import Claim, Target

Judge = Callable[[Claim, Evidence], Decision]

NOT_CONTAINERS = "steps were OS processes; the claim is about containers"

JUDGES: Mapping[str, Judge] = MappingProxyType({
    "distinct_step_containers": observed.distinct_step_containers,
    "undeclared_connections": observed.undeclared_connections,
    "flow_types": observed.flow_types,
    "ordinary_start_order": observed.ordinary_start_order,
    "ordinary_max_alive": observed.ordinary_max_alive,
    "container_count": observed.container_count,
    "kept_containers": observed.kept_containers,
    "switched_modes": platform.switched_modes,
    "newest_at_start": platform.newest_at_start,
    "kept_revision": platform.kept_revision,
    "update_path": platform.update_path,
    "loaded_by_restart": platform.loaded_by_restart,
    "warm_up_again_x": platform.warm_up_again_x,
    "calls_go_on": platform.calls_go_on,
    "copies_grow": platform.copies_grow,
    "single_copies": platform.single_copies,
    "uptime_s": observed.uptime_s,
    "execution_s": measured.execution_s,
    "break_even_rate": measured.break_even_rate,
    "end_to_end_ms": measured.end_to_end_ms,
    "hop_mean_ms": measured.hop_mean_ms,
    "overhead_per_hop_ms": measured.overhead_per_hop_ms,
    "execution_band_ms": measured.execution_band_ms,
    "warm_up_s": measured.warm_up_s,
    "warm_end_to_end_max_ms": measured.warm_end_to_end_max_ms,
})  # fmt: skip
"""The function that decides each metric."""

WITHOUT_VALID_TRIALS = frozenset({
    "switched_modes", "kept_containers", "uptime_s",
    "newest_at_start", "kept_revision", "update_path", "loaded_by_restart",
})  # fmt: skip
"""Metrics for which a trial that is not valid can be a counter-example."""

SHOWN_FOR_PROCESSES = frozenset({
    "execution_s", "break_even_rate", "hop_mean_ms", "overhead_per_hop_ms", "warm_up_s",
})  # fmt: skip
"""Metrics whose figure is worth showing where a claim about containers met mere processes."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim and what was decided about it."""

    claim: Claim
    decision: Decision


def judge_all(evidence: Evidence) -> tuple[Judged, ...]:
    """Judge every claim of the run."""
    claims = [claim_of(record) for record in evidence.run.claims]
    return tuple(Judged(claim, judge(claim, evidence)) for claim in claims)


def judge(claim: Claim, evidence: Evidence) -> Decision:
    """Decide one claim; missing data never makes it met."""
    obstacle = _obstacle(claim, evidence)
    if obstacle is not None:
        return undecided(obstacle)
    about_others = claim.needs_containers and not evidence.run.isolates
    if about_others and claim.metric not in SHOWN_FOR_PROCESSES:
        return undecided(NOT_CONTAINERS)
    decision = JUDGES[claim.metric](claim, evidence)
    if about_others:
        reason = f"{NOT_CONTAINERS}. As processes: {decision.reason}"
        return replace(decision, verdict=Verdict.UNDECIDED, reason=reason)
    if decision.verdict is not Verdict.MET:
        return decision
    doubts = evidence.doubts(scenarios_of(claim))
    if not doubts:
        return decision
    reason = f"{'; '.join(doubts)}. So far: {decision.reason}"
    return replace(decision, verdict=Verdict.UNDECIDED, reason=reason)


def _obstacle(claim: Claim, evidence: Evidence) -> str | None:
    """Why the claim cannot be decided whatever was measured; None when it can be."""
    if claim.metric not in JUDGES:
        return "not measured by this version's catalogue"
    if evidence.scenario(claim.scenario) is None:
        return f"scenario {claim.scenario} was not in this run"
    for name in scenarios_of(claim):
        if evidence.waits(name):
            return f"the load of scenario {name} is a closed loop, which hides delays: it waits"
    if claim.metric in WITHOUT_VALID_TRIALS:
        return None
    return evidence.absence(claim.scenario)


def scenarios_of(claim: Claim) -> tuple[str, ...]:
    """The scenarios that a claim rests on: its own, and those that its parameters name."""
    named = [claim.parameters.get(mode) for mode in ("ordinary", "realtime")]
    others = {name for name in named if isinstance(name, str)} - {claim.scenario}
    return (claim.scenario, *sorted(others))


def claim_of(record: ClaimRecord) -> Claim:
    """A stored claim as the vocabulary has it."""
    target = record.target
    return Claim(
        id=record.id, statement=record.statement, metric=record.metric, scenario=record.scenario,
        target=None if target is None
        else Target(target.metric, target.limit, target.unit, target.upper),
        needs_containers=record.needs_containers, parameters=record.parameters or {},
    )  # fmt: skip
