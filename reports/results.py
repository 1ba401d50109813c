"""From a run directory to ``results.json`` (docs/formats.md): a pure function of what is stored."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from reports import measures
from reports.break_even import break_even
from reports.capacity import capacity
from reports.cell_figures import cell_figures
from reports.cells import Cell
from reports.certificate_file import FILE, read_certificate, speaks_for
from reports.changes import changes
from reports.claims import Judged, judge_all
from reports.comparison import comparison
from reports.drift import soak
from reports.evidence import Evidence, gather
from reports.floor import MOVED_LIMIT, floor_figures, moved
from reports.ledger import ledger
from reports.listening import leaks, listeners
from reports.precision import section
from reports.queues import contradictions, queue_figures
from reports.records import RunRecord, ScenarioRecord
from reports.rundir import read_run
from reports.sensitivity import sensitivity
from reports.sums import additivity
from reports.trials import FAILED, INVALID, VALID
from runtime.errors import DataError
from runtime.model import FlowType

FORMAT = 1

Results = dict[str, Any]


def analyse(run_dir: Path) -> Results:
    """Analyse a run directory.

    Raises FormatError when ``run.json`` is damaged or of a newer format, DataError when no trial
    can be read. What else is damaged is left out, and named in ``damaged``.
    """
    data = read_run(run_dir)
    evidence = gather(data)
    run = data.record
    statuses = [trial.status for trial in evidence.trials]
    return {
        "format": FORMAT,
        "run_id": run.run_id,
        "generated_from": str(run_dir),
        # A run that still says "running" was killed, or is being looked at before its end.
        "status": "interrupted" if run.status == "running" else run.status,
        "error": run.error,
        "headline": headline(run),
        "environment": environment(run),
        "broker_configuration": run.broker_configuration,
        "counts": {
            "planned_trials": run.planned_trials,
            "trials": len(statuses),
            "valid": statuses.count(VALID),
            "invalid": statuses.count(INVALID),
            "failed": statuses.count(FAILED),
            "messages": sum(t.executions.count for t in evidence.trials if t.valid),
        },
        "claims": [_claim(judged, evidence) for judged in judge_all(evidence)],
        "figures": {
            scenario.name: _scenario(scenario, evidence)
            for scenario in run.scenarios
            if evidence.cells[scenario.name]
        },
        "floor": _floor(evidence),
        "timeline": {
            scenario.name: timeline(evidence.cells[scenario.name][0])
            for scenario in run.scenarios
            if evidence.cells[scenario.name] and evidence.cells[scenario.name][0].ordinary
        },
        "comparison": comparison(evidence),
        "break_even": break_even(evidence, ("ordinary", "realtime")),
        "capacity": capacity(evidence),
        "changes": changes(evidence),
        "listeners": listeners(evidence),
        "leaks": leaks(evidence),
        "soak": soak(evidence),
        "integrity": ledger(evidence),
        "precision": section(evidence),
        "certificate": _certificate(run_dir, run),
        "damaged": [
            {"file": one.file, "scenario": one.scenario, "what": one.what, "remedy": one.remedy}
            for one in data.damaged
        ],
        "problems": [*map(str, data.damaged), *data.problems, *problems(evidence)],
    }


def _certificate(run_dir: Path, run: RunRecord) -> dict[str, Any] | None:
    """The certificate of the meter that lies in the run directory; None where there is none."""
    if not (run_dir / FILE).exists():
        return None
    return speaks_for(read_certificate(run_dir), run.run_id, environment(run))


def write_results(results: Results, out: Path) -> None:
    """Write results to the file ``out``. Raises DataError when it cannot be written."""
    text = json.dumps(results, indent=1, allow_nan=False)
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise DataError(
            f"the results could not be written: {error.strerror}",
            where=str(out),
            remedy="Give a folder that can be written to, with enough space",
        ) from error


def headline(run: RunRecord) -> str:
    """One line: what the steps ran in, on which broker, on what machine; why, for a fallback."""
    env = run.environment
    steps = f"{run.launcher} {'containers' if run.isolates else 'steps, not containers'}"
    if run.launcher == "process":
        steps = f"OS processes ({_because('no containers', run.launcher_reason)})"
    names = {"rabbitmq": "RabbitMQ", "nats": "NATS JetStream"}
    broker = f"{names.get(run.broker, run.broker)} {env.get('broker_version') or ''}".strip()
    why = run.broker_reason if run.launcher == "process" else None
    placed = f" ({_because(run.broker_placement, why)})" if run.broker_placement else ""
    machine = f"{env.get('cores', '?')} cores, {env.get('os', 'unknown system')}"
    return f"{steps} + {broker}{placed}, {run.profile} profile, {machine}"


def _because(what: str, reason: str | None) -> str:
    return f"{what}: {reason}" if reason else what


def environment(run: RunRecord) -> dict[str, Any]:
    """The machine, and what was chosen on it and why."""
    return {
        **run.environment,
        "launcher": run.launcher, "launcher_reason": run.launcher_reason,
        "isolates": run.isolates,
        "broker": run.broker, "broker_reason": run.broker_reason,
        "broker_placement": run.broker_placement,
        "seed": run.seed, "profile": run.profile,
        "created": run.created, "finished": run.finished,
    }  # fmt: skip


def timeline(cell: Cell) -> list[dict[str, Any]]:
    """The execution of median duration: when each step's container lived, in ms after the send.

    ``consuming_ms`` and ``done_ms`` are when it could take its input and when it had handled it.
    """
    durations = [
        (float(ms), part_index, int(row))
        for part_index, part in enumerate(cell.parts)
        for row, ms in zip(
            np.flatnonzero(part.judged),
            measures.end_to_end(part.executions, part.judged),
            strict=True,
        )
    ]
    _, part_index, row = sorted(durations)[len(durations) // 2]
    part = cell.parts[part_index]
    trace, origin_ns = int(part.executions.trace[row]), int(part.executions.send[0, row])

    def after(at_ns: int | None) -> float | None:
        return None if at_ns is None else (at_ns - origin_ns) / 1e6

    return [
        {
            "step": instance.step_id,
            "start_ms": after(
                instance.engine_start_ns or instance.start_call_ns or instance.create_ns
            ),
            "end_ms": after(instance.engine_die_ns),
            "create_ms": after(instance.create_ns),
            "consuming_ms": after(instance.consuming_ns),
            "done_ms": after(instance.first_message_ns),
        }
        for instance in sorted(part.trial.record.instances, key=lambda i: i.step)
        if instance.execution == trace
    ]


def problems(evidence: Evidence) -> list[str]:
    """Everything a reader must know before trusting the figures."""
    found = []
    if evidence.run.error:
        found.append(f"the run ended with an error: {evidence.run.error}")
    for trial in evidence.trials:
        name = f"trial {trial.record.index} ({trial.record.scenario})"
        if not trial.valid:
            reasons = "; ".join(trial.reasons) or "no reason was recorded"
            found.append(f"{name}: {trial.status}: {reasons}")
        integrity = trial.executions.integrity
        if integrity.negative > integrity.negative_transit:
            found.append(
                f"{name}: {integrity.negative - integrity.negative_transit} intervals are negative "
                "that one process measured: its clock ran backwards, or its records are wrong"
            )
        if integrity.duplicated:
            found.append(f"{name}: {integrity.duplicated} messages were handled more than once")
        found += [f"{name}: {problem}" for problem in trial.record.resource_problems or ()]
        found += [f"{name}: step {e.step}: {e.error}" for e in trial.record.errors[:5]]
        found += [f"{name}: {words}" for words in contradictions(trial)]
    found += _negative_transits(evidence)
    floor = evidence.run.floor
    for side in (floor.before, floor.after) if floor else ():
        found += [f"floor: {problem}" for problem in (side or {}).get("problems", [])]
    words = moved(floor).words()
    return [words, *found] if words else found


def _negative_transits(evidence: Evidence) -> list[str]:
    """One line a scenario: where deliveries were seen before their sender's write had returned."""
    found = []
    for scenario in evidence.run.scenarios:
        trials = evidence.stored(scenario.name)
        count = sum(trial.executions.integrity.negative_transit for trial in trials)
        of = sum(t.executions.count * t.executions.step_count for t in trials)
        if count:
            found.append(
                f"{scenario.name}: in {count} of {of} hops the message was delivered before its "
                "sender's write had returned; such a transit is negative, and kept as measured"
            )
    return found


def _claim(judged: Judged, evidence: Evidence) -> dict[str, Any]:
    claim, decision = judged.claim, judged.decision
    cells = evidence.cells.get(claim.scenario, ())
    starts, messages = decision.starts, decision.messages
    return {
        "id": claim.id, "statement": claim.statement, "verdict": decision.verdict.value,
        "value": decision.value, "low": decision.low, "high": decision.high,
        "unit": claim.target.unit if claim.target else _unit_of(claim.metric, decision.value),
        "limit": claim.target.limit if claim.target else None,
        "starts": sum(cell.starts for cell in cells) if starts is None else starts,
        "messages": sum(cell.messages for cell in cells) if messages is None else messages,
        "reason": decision.reason, "scenario": claim.scenario,
    }  # fmt: skip


def _unit_of(metric: str, value: float | None) -> str | None:
    """The unit of a claim without a target: metrics carry it at the end of their name."""
    return "s" if value is not None and metric.endswith("_s") else None


def _scenario(scenario: ScenarioRecord, evidence: Evidence) -> dict[str, Any]:
    cells = evidence.cells[scenario.name]
    return {
        "title": scenario.title,
        "flow_type": scenario.flow_type,
        "steps": list(cells[0].step_ids),
        "cells": [cell_figures(cell, evidence.floor, evidence.bootstrap) for cell in cells],
        **_anatomy(scenario, cells, evidence),
    }


def _anatomy(
    scenario: ScenarioRecord, cells: tuple[Cell, ...], evidence: Evidence
) -> dict[str, Any]:
    """What a realtime flow's hops and queues say together, beyond the figures of one cell."""
    if scenario.flow_type != FlowType.REALTIME:
        return {"additivity": None, "queues": None, "sensitivity": None}
    trials, bootstrap = evidence.valid(scenario.name), evidence.bootstrap
    return {
        "additivity": additivity(cells, bootstrap),
        "queues": queue_figures(trials, bootstrap),
        "sensitivity": sensitivity(scenario, trials, bootstrap),
    }


def _floor(evidence: Evidence) -> dict[str, Any]:
    floor = evidence.run.floor
    shift = moved(floor)
    return {
        "before": floor.before if floor else None,
        "after": floor.after if floor else None,
        "figures": floor_figures(floor),
        "moved_ratio": shift.ratio,
        "moved_low": shift.low,
        "moved_high": shift.high,
        "moved": shift.moved,
        "moved_limit": MOVED_LIMIT,
        "moved_messages": shift.observations,
        "moved_words": shift.words(),
    }
