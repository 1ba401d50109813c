"""Claims that are decided by observation: identities, counts and orders, which need no interval.

One counter-example misses such a claim; what was not seen leaves it undecided.
"""

from __future__ import annotations

from collections.abc import Iterable

from reports.drift import drifts
from reports.evidence import Evidence
from reports.records import InstanceRecord
from reports.trials import FAILED, Trial
from reports.verdict import Decision, Verdict, describe_one, number, undecided
from runtime.model import FlowType
from scenarios.model import Claim


def distinct_step_containers(claim: Claim, evidence: Evidence) -> Decision:
    """Every step of every launch had an instance of its own, with an id of its own."""
    trials = evidence.valid(claim.scenario)
    ids: list[str] = []
    for trial in trials:
        steps = {step.index for step in trial.record.steps}
        for launch in _launches(trial):
            seen = {instance.step for instance in launch}
            if seen != steps:
                missing = sorted(steps - seen)
                return undecided(
                    f"no container was recorded for step {missing} in trial {trial.record.index}"
                )
            ids += [instance.id for instance in launch]
    if not ids:
        return undecided("no containers were recorded")
    shared = len(ids) - len(set(ids))
    if shared:
        return Decision(
            Verdict.MISSED, f"{len(ids)} step starts had only {len(set(ids))} different containers"
        )
    return Decision(
        Verdict.MET, f"{len(ids)} step starts in {len(trials)} trials: {len(ids)} different ids"
    )


def undeclared_connections(claim: Claim, evidence: Evidence) -> Decision:
    """Steps' connections that lead neither to the broker nor to a declared service."""
    trials = evidence.valid(claim.scenario)
    other: set[tuple[str, str, int]] = set()
    unseen: set[str] = set()
    count = 0
    for trial in trials:
        names = {step.index: step.id for step in trial.record.steps}
        to_broker = set()
        for connection in trial.record.connections:
            # What stays inside the step's own container connects it with nothing.
            count += connection.kind != "self"
            if connection.kind == "broker":
                to_broker.add(connection.step)
            elif connection.kind not in {"service", "self"}:
                name = names.get(connection.step, str(connection.step))
                other.add((name, connection.host, connection.port))
        unseen |= {name for index, name in names.items() if index not in to_broker}
    value = float(len(other))
    if other:
        ends = ", ".join(f"{name} to {host}:{port}" for name, host, port in sorted(other))
        return Decision(Verdict.MISSED, f"undeclared connections: {ends}", value, value, value)
    if not count:
        return undecided("no connections were recorded")
    if unseen:
        return undecided(f"no broker connection was seen of {', '.join(sorted(unseen))}")
    return Decision(
        Verdict.MET, f"all {count} connections lead to the broker or a declared service",
        value, value, value,
    )  # fmt: skip


def flow_types(claim: Claim, evidence: Evidence) -> Decision:
    """The flow types that the runtime knows."""
    wanted = claim.parameters.get("types", [kind.value for kind in FlowType])
    found = evidence.run.flow_types
    verdict = Verdict.MET if sorted(found) == sorted(wanted) else Verdict.MISSED
    return Decision(verdict, f"the runtime has {', '.join(sorted(found))}")


def ordinary_start_order(claim: Claim, evidence: Evidence) -> Decision:
    """Within each execution, the steps' containers started in the order of the steps."""
    launches = unseen = 0
    for trial in evidence.valid(claim.scenario):
        for launch in _launches(trial):
            starts = [(i.engine_start_ns, i.step) for i in launch if i.engine_start_ns is not None]
            order = [step for _, step in sorted(starts)]
            if order != sorted(order):
                return Decision(
                    Verdict.MISSED,
                    f"trial {trial.record.index}, execution {launch[0].execution}: the engine "
                    f"started the steps in the order {order}",
                )
            launches += 1
            unseen += len(starts) < len(trial.record.steps)
    if not launches or unseen:
        return undecided(f"start instants are missing in {unseen} of {launches} executions")
    return Decision(Verdict.MET, f"first to last in all {launches} executions")


def ordinary_max_alive(claim: Claim, evidence: Evidence) -> Decision:
    """The most step containers that the engine had running at any one instant."""
    if claim.target is None:
        return undecided("the claim has no limit")
    most, starts, missing = 0, 0, 0
    for trial in evidence.valid(claim.scenario):
        known = {instance.id for instance in trial.record.instances}
        events = [
            (event.at_ns, event.action != "start", event.instance_id)
            for event in trial.record.engine_events
            if event.action in {"start", "die"} and event.instance_id in known
        ]
        alive: set[str] = set()
        started: set[str] = set()
        # At one instant a start counts before an end: doubt speaks against the claim.
        for _, ended, instance in sorted(events):
            if ended:
                alive.discard(instance)
            else:
                alive.add(instance)
                started.add(instance)
            most = max(most, len(alive))
        starts += len(started)
        missing += len(known - started)
    value = float(most)
    if most > claim.target.limit:
        return Decision(
            Verdict.MISSED, f"{most} step containers were alive at once", value, value, value
        )
    if not starts or missing:
        return undecided(f"the engine's start events are missing for {missing} containers")
    return Decision(
        Verdict.MET,
        f"at most {most} at any instant, by the engine's events of {starts} containers",
        value, value, value,
    )  # fmt: skip


def container_count(claim: Claim, evidence: Evidence) -> Decision:
    """Step containers per launch; must be exactly the limit."""
    if claim.target is None:
        return undecided("the claim has no limit")
    counts = [
        len({instance.id for instance in launch})
        for trial in evidence.valid(claim.scenario)
        for launch in _launches(trial)
    ]
    if not counts:
        return undecided("no containers were recorded")
    wrong = [count for count in counts if count != claim.target.limit]
    value = float(wrong[0] if wrong else counts[0])
    if wrong:
        reason = f"{len(wrong)} of {len(counts)} starts had {wrong[0]} containers"
        return Decision(Verdict.MISSED, reason, value, value, value)
    reason = f"{counts[0]} containers in each of {len(counts)} starts"
    return Decision(Verdict.MET, reason, value, value, value)


def kept_containers(claim: Claim, evidence: Evidence) -> Decision:
    """The same containers before and after the messages, and as many starts as steps."""
    watched = 0
    for trial in evidence.stored(claim.scenario):
        record = trial.record
        where = f"trial {record.index}"
        ended = [] if trial.status != FAILED else _ended_alone(trial)
        if ended:
            return Decision(Verdict.MISSED, f"{where}: {_names(ended)} ended by itself")
        if trial.status == FAILED or not record.alive_before:
            continue
        if set(record.alive_before) != set(record.alive_after):
            gone = len(set(record.alive_before) - set(record.alive_after))
            new = len(set(record.alive_after) - set(record.alive_before))
            return Decision(
                Verdict.MISSED, f"{where}: {gone} containers went and {new} came during the load"
            )
        if record.starts_seen is not None and record.starts_seen > len(record.steps):
            return Decision(
                Verdict.MISSED,
                f"{where}: {record.starts_seen} starts for {len(record.steps)} steps",
            )
        complete = len(set(record.alive_before)) == len(record.steps) == record.starts_seen
        watched += trial.valid and complete
    valid = len(evidence.valid(claim.scenario))
    if not valid or watched < valid:
        return undecided(f"the containers of {valid - watched} of {valid} valid starts not seen")
    return Decision(
        Verdict.MET, f"the same containers before and after the messages in {watched} starts"
    )


def uptime_s(claim: Claim, evidence: Evidence) -> Decision:
    """How long each realtime flow ran without a step ending by itself."""
    watched: list[float] = []
    grown: list[str] = []
    for trial in evidence.stored(claim.scenario):
        record = trial.record
        ended = _ended_alone(trial)
        if ended:
            return Decision(
                Verdict.MISSED, f"trial {record.index}: {_names(ended)} ended by itself"
            )
        end_ns = record.flow_stop_ns or record.load_end_ns
        if trial.valid and record.flow_consuming_ns is not None and end_ns is not None:
            watched.append((end_ns - record.flow_consuming_ns) / 1e9)
            grown += [f"{row['kind']} of {row['step']}" for row in drifts(trial) if row["drifts"]]
    if not watched:
        return undecided(evidence.absence(claim.scenario) or "no flow was watched while it ran")
    needed_s = float(claim.parameters.get("needed_s", 0.0))
    longest = max(watched)
    messages = sum(trial.executions.count for trial in evidence.valid(claim.scenario))
    seen = describe_one(longest, "s", starts=len(watched), messages=messages)
    if longest < needed_s:
        return Decision(
            Verdict.UNDECIDED,
            f"watched for {seen} at most; {number(needed_s)} s are needed",
            longest, longest, longest, len(watched), messages,
        )  # fmt: skip
    told = f"; {', '.join(sorted(set(grown)))} grew with time" if grown else "; nothing drifted"
    return Decision(
        Verdict.MET, f"{len(watched)} flows ran until stopped, the longest {seen}{told}",
        longest, longest, longest, len(watched), messages,
    )  # fmt: skip


def _launches(trial: Trial) -> Iterable[list[InstanceRecord]]:
    """Instances that belong together: an execution's in an ordinary flow, else all."""
    groups: dict[int | None, list[InstanceRecord]] = {}
    for instance in trial.record.instances:
        groups.setdefault(instance.execution, []).append(instance)
    return groups.values()


def _ended_alone(trial: Trial) -> list[InstanceRecord]:
    """Instances that ended without a signal of ours, or before their flow was stopped."""
    record = trial.record
    if record.flow_type != FlowType.REALTIME:
        return []
    stop_ns = record.flow_stop_ns
    return [
        i
        for i in record.instances
        if (i.signal is None and (i.exit_code is not None or i.engine_die_ns is not None))
        or (i.engine_die_ns is not None and stop_ns is not None and i.engine_die_ns < stop_ns)
    ]


def _names(instances: list[InstanceRecord]) -> str:
    return ", ".join(
        f"{i.step_id} (exit code {i.exit_code}{', out of memory' if i.oom_killed else ''})"
        for i in instances
    )
