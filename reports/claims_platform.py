"""Claims about what the platform does with a flow over its life, decided by what messages say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from reports import measures
from reports.changes import (
    DEPLOY,
    DRAFT,
    PUBLISH,
    SWITCH,
    Passing,
    Seen,
    newest,
    passes,
    phase_cell,
    pinned,
    said,
)
from reports.evidence import Evidence
from reports.listening import events_of, leaks
from reports.records import DeedRecord
from reports.stats import mean, ratio
from reports.trend import MIN_POINTS, trend
from reports.trials import FAILED, Trial
from reports.verdict import Decision, Verdict, decide, describe, undecided
from reports.warmup import warm_up
from runtime.model import FlowType
from scenarios.model import Claim

WATCHED_PARTS = 6
"""Parts of the time under load, in each of which a trigger must be called to be called on and on"""


def switched_modes(claim: Claim, evidence: Evidence) -> Decision:
    """One definition ran as an ordinary flow, as a realtime one, and as an ordinary one again."""
    stored = evidence.stored(claim.scenario)
    failed = [trial for trial in stored if trial.status == FAILED]
    if failed:
        return Decision(
            Verdict.MISSED,
            f"trial {failed[0].record.index} failed: {'; '.join(failed[0].reasons)}",
        )
    modes = [FlowType.ORDINARY, FlowType.REALTIME, FlowType.ORDINARY]
    whole, messages = 0, 0
    for one in passes(evidence, claim.scenario):
        trials = [one.trials[index] for index in sorted(one.trials)]
        if [trial.record.flow_type for trial in trials] != modes:
            continue
        deeds = [deed.deed for deed in one.deeds(len(trials))]
        digests = {trial.record.flow_digest for trial in trials}
        if len(digests) > 1 or deeds.count(SWITCH) != 2 or deeds.count(PUBLISH) != 1:
            return undecided("the phases are not one published definition, switched there and back")
        whole += 1
        messages += sum(trial.executions.count for trial in trials)
    if not whole:
        return undecided(f"no whole pass through the phases of {claim.scenario} can be used")
    return Decision(
        Verdict.MET,
        "one published definition handled its messages as an ordinary flow, as a realtime one and "
        f"as an ordinary one again, in {_many(whole, 'pass', 'passes')} with {messages} messages",
        messages=messages,
    )


def newest_at_start(claim: Claim, evidence: Evidence) -> Decision:
    """Every message of a start says the revision that was the newest when it started."""

    def judge(one: Passing, component: str, field: str) -> tuple[str | None, int]:
        messages = 0
        for index, trial in sorted(one.trials.items()):
            wanted = newest(one.deeds(index), component, trial.record.flow_start_ns)
            seen = said(trial, field)
            other = _other(seen, wanted)
            if other:
                return f"{other}, the newest at the start was revision {wanted}", messages
            messages += len(seen)
        return None, messages

    return _in_every_pass(
        claim, evidence, judge,
        "every message says the revision that was the newest when its flow started",
    )  # fmt: skip


def kept_revision(claim: Claim, evidence: Evidence) -> Decision:
    """What a running flow handles after a newer revision was deployed still says the old one."""

    def judge(one: Passing, component: str, field: str) -> tuple[str | None, int]:
        messages = 0
        for index, trial in sorted(one.trials.items()):
            start_ns = trial.record.flow_start_ns
            for deed in _while_it_ran(trial, DEPLOY):
                old = newest(one.deeds(index), component, start_ns)
                after = [seen for seen in said(trial, field) if seen.at_ns > deed.until_ns]
                other = _other(after, old)
                if other:
                    new = pinned(deed, component)
                    return f"revision {new} was deployed while it ran, and {other}", messages
                messages += len(after)
        return None, messages

    return _in_every_pass(
        claim, evidence, judge,
        "what was handled after a newer revision had been deployed says the one before it",
    )  # fmt: skip


def update_path(claim: Claim, evidence: Evidence) -> Decision:
    """Deploy, draft, publish, start, in this order, and then every message says the new one."""

    def judge(one: Passing, component: str, field: str) -> tuple[str | None, int]:
        last = max(one.trials)
        trial = one.trials[last]
        new = newest(one.deeds(last), component, trial.record.flow_start_ns)
        steps = [deed for deed in one.deeds(last) if pinned(deed, component) == new]
        if [deed.deed for deed in steps] != [DEPLOY, DRAFT, PUBLISH]:
            return f"revision {new} was not deployed, drafted and published in turn", 0
        instants = [at for deed in steps for at in (deed.at_ns, deed.until_ns)]
        instants.append(trial.record.flow_start_ns or 0)
        if any(later < earlier for earlier, later in pairwise(instants)):
            return f"revision {new} was started before it was published", 0
        seen = said(trial, field)
        other = _other(seen, new)
        return (f"after the update to revision {new}, {other}" if other else None), len(seen)

    return _in_every_pass(
        claim, evidence, judge,
        "deploying, drafting, publishing and starting, one after another, made every message "
        "say the new revision",
    )  # fmt: skip


def loaded_by_restart(claim: Claim, evidence: Evidence) -> Decision:
    """The new revision is in no message before the stop, and in every one after the start."""

    def judge(one: Passing, component: str, field: str) -> tuple[str | None, int]:
        first, last = one.trials[min(one.trials)], one.trials[max(one.trials)]
        new = newest(one.deeds(max(one.trials)), component, last.record.flow_start_ns)
        if new is None or not _while_it_ran(first, DRAFT):
            return None, 0
        before, after = said(first, field), said(last, field)
        early = sum(seen.value == str(new) for seen in before)
        if early:
            return f"{early} of {len(before)} messages before the stop say revision {new}", 0
        other = _other(after, new)
        return (f"after the restart, {other}" if other else None), len(before) + len(after)

    return _in_every_pass(
        claim, evidence, judge,
        "the new revision, deployed and drafted while the flow ran, is in no message before the "
        "stop and in every message after the start",
    )  # fmt: skip


def warm_up_again_x(claim: Claim, evidence: Evidence) -> Decision:
    """Warm-up of the starts that followed a redeploy, over the time of a message when warm."""
    scenario = evidence.scenario(claim.scenario)
    phases = scenario.phases if scenario is not None else None
    if scenario is None or not phases or claim.target is None:
        return undecided("no scenario with phases was measured")
    first, again = (phase_cell(evidence, scenario, i) for i in (0, len(phases) - 1))
    if again is None or first is None:
        return undecided("no valid start before and after the redeploy")
    bootstrap = evidence.bootstrap
    warm_s = [mean(warm_up(cell).total_ms, bootstrap) for cell in (first, again)]
    shown = [describe(one, "ms") for one in warm_s if one is not None]
    found = ratio(warm_up(again).total_ms, again.samples(measures.end_to_end), bootstrap)
    return decide(
        found, claim.target, "after the redeploy, warm-up over the time of a warm message",
        f"warm-up of the start before it {' and of that after it '.join(shown)}",
    )  # fmt: skip


def calls_go_on(claim: Claim, evidence: Evidence) -> Decision:
    """The trigger was called in every part of the time under load, and calls went on growing."""
    starts, calls = 0, 0
    for trial in evidence.valid(claim.scenario):
        record = trial.record
        if trial.deliveries is None or record.load_start_ns is None or record.load_end_ns is None:
            continue
        span_ns = record.load_end_ns - record.load_start_ns
        called_ns = trial.deliveries.called_ns
        parts = (called_ns - record.load_start_ns) * WATCHED_PARTS // max(span_ns, 1)
        missing = set(range(WATCHED_PARTS)) - set(parts.tolist())
        if missing:
            return Decision(
                Verdict.MISSED,
                f"trial {record.index}: no call of process() for a whole part of the load's time",
            )
        starts += 1
        calls += called_ns.size
    if not starts:
        return undecided("no trigger was watched")
    return Decision(
        Verdict.MET,
        f"process() of the trigger was called {calls} times in {_many(starts, 'start')}, again and "
        "again until the load's end, by the same container",
        starts=starts, messages=calls,
    )  # fmt: skip


def copies_grow(claim: Claim, evidence: Evidence) -> Decision:
    """Events that come later are handled more often, and the detector names the trigger."""
    field = str(claim.parameters.get("field", "event"))
    messages, most, several = 0, 0, 0
    trials = evidence.valid(claim.scenario)
    for trial in trials:
        events = events_of(trial, field)
        if events is None or events.copies.size < MIN_POINTS:
            return undecided(f"trial {trial.record.index} has too few events")
        found = trend(events.calls.astype(float), events.copies.astype(float))
        if found is None or not found.there or found.slope <= 0:
            return Decision(
                Verdict.MISSED,
                f"trial {trial.record.index}: copies per event do not grow with the calls",
            )
        messages += int(events.copies.sum())
        most = max(most, int(events.copies.max()))
        several += int((events.copies > 1).sum())
    named = [row["step"] for row in leaks(evidence) if row["leaks"] and _is(claim, row["scenario"])]
    trigger = trials[0].record.steps[0].id if trials else ""
    told = f"the detector names {', '.join(named) or 'no step'}"
    reason = (
        f"{several} events were handled more than once, the last ones in {most} copies: about one "
        f"for every call of process() until then; {told}"
    )
    verdict = Verdict.MET if named == [trigger] else Verdict.UNDECIDED
    return Decision(verdict, reason, starts=len(trials), messages=messages)


def single_copies(claim: Claim, evidence: Evidence) -> Decision:
    """No event was handled more than once, however often the trigger was called."""
    field = str(claim.parameters.get("field", "event"))
    seen, calls = 0, 0
    trials = evidence.valid(claim.scenario)
    for trial in trials:
        events = events_of(trial, field)
        if events is None or trial.deliveries is None:
            return undecided(f"no event was observed in trial {trial.record.index}")
        repeated = int((events.copies > 1).sum())
        if repeated:
            return Decision(
                Verdict.MISSED,
                f"trial {trial.record.index}: {repeated} of {events.copies.size} events were "
                "handled more than once",
            )
        seen += int(events.copies.size)
        calls += int(trial.deliveries.called_ns.size)
    if calls <= len(trials):
        return undecided("the trigger was called once only: that shows nothing")
    named = [row["step"] for row in leaks(evidence) if row["leaks"] and _is(claim, row["scenario"])]
    told = f"; but the detector names {', '.join(named)}" if named else "; no step leaks"
    return Decision(
        Verdict.UNDECIDED if named else Verdict.MET,
        f"each of {seen} events was handled once, with {calls} calls of process(){told}",
        starts=len(trials), messages=seen,
    )  # fmt: skip


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {more or one + 's'}"


def _is(claim: Claim, scenario: str) -> bool:
    return claim.scenario == scenario


def _while_it_ran(trial: Trial, kind: str) -> list[DeedRecord]:
    """The deeds of a kind between a flow's start and its stop."""
    start_ns, stop_ns = trial.record.flow_start_ns, trial.record.flow_stop_ns
    if start_ns is None or stop_ns is None:
        return []
    deeds = trial.record.deeds or ()
    return [d for d in deeds if d.deed == kind and start_ns < d.at_ns and d.until_ns < stop_ns]


def _other(seen: list[Seen], wanted: int | None) -> str:
    """How many messages say something else than a revision; '' where none does."""
    wrong = [one for one in seen if one.value != str(wanted)]
    if not wrong:
        return ""
    return f"{len(wrong)} of {len(seen)} messages say revision {wrong[0].value or 'none'}"


def _in_every_pass(
    claim: Claim,
    evidence: Evidence,
    judge: Callable[[Passing, str, str], tuple[str | None, int]],
    words: str,
) -> Decision:
    """Missed with the first pass that contradicts, met when each has messages that show it."""
    component = str(claim.parameters.get("component", ""))
    field = str(claim.parameters.get("field", ""))
    scenario = evidence.scenario(claim.scenario)
    phases = len(scenario.phases or ()) if scenario is not None else 0
    shown, messages = 0, 0
    for one in passes(evidence, claim.scenario):
        if len(one.trials) < phases:
            continue
        wrong, looked_at = judge(one, component, field)
        if wrong is not None:
            return Decision(Verdict.MISSED, wrong)
        shown += looked_at > 0
        messages += looked_at
    if not shown:
        return undecided(
            evidence.absence(claim.scenario) or "no message was observed that could show it"
        )
    return Decision(
        Verdict.MET, f"in {_many(shown, 'pass', 'passes')} with {messages} messages: {words}",
        starts=shown * phases, messages=messages,
    )  # fmt: skip
