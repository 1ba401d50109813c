"""One trial: one start of a flow in one cell, loaded, watched, drained, stopped, and read back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.accounting import account, load_figures
from bench.load import jobs
from bench.observe import connections_of, instance_record
from bench.resources import Sampler
from bench.stage import Stage, open_services, revisions, substitutions
from runtime.clock import clock_id, now_ns
from runtime.errors import FlowError, HopbenchError, MeasurementError, SpoolError
from runtime.launch import Image, Instance
from runtime.message import decode_body, decode_ids
from runtime.model import FlowType, Revision
from runtime.modes import Deployment, Started
from runtime.modes.ordinary import OrdinaryFlow
from runtime.modes.realtime import RealtimeFlow
from runtime.spool import DTYPE, Records, SpoolTail, Tally, read_spool
from scenarios.model import Scenario

START_TIMEOUT_S = 60.0
EXECUTION_TIMEOUT_S = 180.0
LAG_LIMIT_MS = 50.0
RATE_LIMIT = 0.99
GENERATOR = "the load generator"
LOAD_INSTANCE = 0xFFFF
Prepared = dict[tuple[str, str], tuple[Revision, Image]]
"""By scenario and component: the revision, and what its steps are started from."""

BROKER, LOAD, SERVICES = -1, -2, -3

_DRAIN_POLL_S = 0.02
_ERRORS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What one trial is to do. ``messages`` is per message cell.

    ``repeats`` is the index of the trial that this one replaces.
    """

    index: int
    scenario: Scenario
    containers: int | None
    messages: int
    seed: int
    repeats: int | None = None


@dataclass(slots=True)
class Outcome:
    """What one trial gave: its document (docs/formats.md) and its tables."""

    document: dict[str, Any]
    spans: dict[str, np.ndarray[Any, Any]]
    resources: Mapping[str, np.ndarray[Any, Any]]
    logs: dict[str, str] = field(default_factory=dict)

    @property
    def only_late(self) -> bool:
        """Whether nothing but the load generator's own lateness makes the trial invalid."""
        reasons = self.document["reasons"]
        late = all(reason.startswith(GENERATOR) for reason in reasons)
        return self.document["status"] == "invalid" and late


def run_trial(
    stage: Stage,
    plan: Plan,
    images: Prepared,
    *,
    say: Callable[[str], None],
) -> Outcome:
    """Run a trial to its end. A flow that fails gives a failed outcome, not an exception.

    Raises BrokerError when the broker is gone: no further trial could run. Whatever happens, the
    trial's containers and queues are removed.
    """
    trial = _Trial(stage, plan, images, say)
    try:
        trial.run()
    except MeasurementError as error:
        trial.reasons.append(str(error))
        trial.status = "failed"
    except HopbenchError as error:
        trial.reasons.append(str(error))
        trial.status = "failed"
        if not stage_lives(stage):
            trial.fatal = error
    outcome = trial.finish()
    if trial.fatal is not None:
        outcome.document["fatal"] = str(trial.fatal)
    return outcome


def stage_lives(stage: Stage) -> bool:
    """Whether the broker still answers."""
    try:
        stage.broker.keep_alive()
        stage.broker.receive(0.0)
    except HopbenchError:
        return False
    return True


class _Trial:
    """The state of one trial while it runs."""

    def __init__(
        self,
        stage: Stage,
        plan: Plan,
        images: Prepared,
        say: Callable[[str], None],
    ) -> None:
        self.stage, self.plan, self.say = stage, plan, say
        scenario = plan.scenario
        self.flow = scenario.flow(plan.containers)
        self.name = f"{stage.run_id}-{plan.index}"
        self.folder = stage.folder / f"trial-{plan.index:04d}"
        self.folder.mkdir(parents=True)
        used = [images[scenario.name, step.component] for step in self.flow.steps]
        self.revisions = tuple(found for found, _ in used)
        self.images = tuple(image for _, image in used)
        self.started: list[Started] = []
        self.sampler = Sampler(
            isolates=stage.launcher.isolates,
            period_s=0.01 if scenario.flow_type is FlowType.ORDINARY else 0.05,
        )
        self.watching = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self.instants: dict[str, int | None] = dict.fromkeys(
            (
                "flow_start_ns", "flow_consuming_ns", "load_start_ns", "load_end_ns",
                "flow_stop_ns", "flow_stopped_ns",
            )
        )  # fmt: skip
        self.start_ns = now_ns()
        self.status = "valid"
        self.reasons: list[str] = []
        self.fatal: HopbenchError | None = None
        self.alive: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.connections: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.floor: dict[str, Any] | None = None
        self.load_answer: jobs.Answer | None = None

    # -- running ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Start, load, drain, observe, stop."""
        scenario = self.plan.scenario
        with (
            self.sampler,
            self.watching,
            open_services(self.stage, scenario) as services,
        ):
            for instance, _ in services.values():
                self.sampler.watch(SERVICES, instance)
            self.sampler.watch(LOAD, self.stage.load)
            for broker in self.stage.place.watched():
                self.sampler.watch(BROKER, broker)
            deployment = Deployment(
                flow=self.flow,
                revisions=self.revisions,
                images=self.images,
                launcher=self.stage.launcher,
                broker=self.stage.broker,
                broker_url_inside=self.stage.place.url_inside,
                folder=self.folder,
                name=self.name,
                substitutions=substitutions(services),
                on_started=self._on_started,
            )
            deployment.declare()
            try:
                if scenario.flow_type is FlowType.REALTIME:
                    self._realtime(deployment, services)
                else:
                    self._ordinary(deployment)
            finally:
                self._collect_errors(deployment)
                if stage_lives(self.stage):
                    deployment.remove()

    def _realtime(
        self, deployment: Deployment, services: Mapping[str, tuple[Instance, str]]
    ) -> None:
        with RealtimeFlow(deployment) as flow:
            try:
                self.say("starting")
                self.instants["flow_start_ns"] = now_ns()
                flow.start(timeout_s=START_TIMEOUT_S)
                self.instants["flow_consuming_ns"] = now_ns()
                before = flow.alive()
                self._submit(deployment)
                self._drain(flow)
                # The bare clients have their turn while the flow idles: at the same time this shows
                # what an idle flow costs.
                self._floor()
                self.alive = (before, flow.alive())
                self.connections = connections_of(self.stage, flow.started, services)
            finally:
                self.instants["flow_stop_ns"] = now_ns()
                for index, started in enumerate(self.started):
                    if started.exit is None:
                        self.sampler.read_now(index)
                flow.stop()
                self.instants["flow_stopped_ns"] = now_ns()

    def _ordinary(self, deployment: Deployment) -> None:
        with OrdinaryFlow(deployment) as flow:
            self.instants["flow_start_ns"] = now_ns()
            total = self.plan.messages * len(self.plan.scenario.message_cells())
            try:
                self._submit(deployment)
                for execution in range(1, total + 1):
                    self.say(f"execution {execution} of {total}")
                    flow.await_arrival(timeout_s=START_TIMEOUT_S)
                    flow.execute(execution, timeout_s=EXECUTION_TIMEOUT_S)
                self._await_load()
            finally:
                self.instants["flow_stop_ns"] = now_ns()
                flow.stop()
                self.instants["flow_stopped_ns"] = now_ns()

    def _on_started(self, started: Started) -> None:
        # Looking up a container's process takes milliseconds: not on the path of its start.
        index = len(self.started)
        self.started.append(started)
        self.watching.submit(self.sampler.watch, index, started.instance)

    def _submit(self, deployment: Deployment) -> None:
        load, entry = self.plan.scenario.load, deployment.wiring.entry
        self.instants["load_start_ns"] = now_ns()
        jobs.submit(
            self.stage.load_folder,
            jobs.Job(
                name=self.name,
                broker_url=self.stage.place.url_inside,
                exchange=entry.exchange,
                key=entry.key,
                seed=self.plan.seed,
                arrivals=str(load.arrivals),
                rate_hz=load.rate_hz,
                messages_per_cell=self.plan.messages,
                cells=tuple(
                    jobs.Cell(cell.payload_bytes, cell.api_delay_ms)
                    for cell in self.plan.scenario.message_cells()
                ),
            ),
        )

    def _await_load(self) -> None:
        while self.load_answer is None:
            self._check_load()
            self.load_answer = jobs.outcome(self.stage.load_folder, self.name)
            time.sleep(_DRAIN_POLL_S)
        self.instants["load_end_ns"] = self.load_answer.end_ns

    def _check_load(self) -> None:
        ended = self.stage.load.wait(0.0)
        if ended is not None:
            raise MeasurementError(
                f"ended with exit code {ended.code}: {self.stage.load.logs(last=5)}",
                where="load generator",
            )

    def _drain(self, flow: RealtimeFlow) -> None:
        """Wait until the load is sent and no message is under way any more."""
        tally = Tally()
        tails = [SpoolTail(started.spool) for started in flow.started]
        tails.append(SpoolTail(jobs.spool_path(self.stage.load_folder, self.name)))
        total = self.plan.messages * len(self.plan.scenario.message_cells())
        progress = (-1, time.monotonic())
        while True:
            for tail in tails:
                tally.add(tail.new_records())
            if self.load_answer is None:
                self._check_load()
                self.load_answer = jobs.outcome(self.stage.load_folder, self.name)
            elif tally.under_way == 0:
                self.instants["load_end_ns"] = self.load_answer.end_ns
                return
            if tally.processed != progress[0]:
                progress = (tally.processed, time.monotonic())
                self.say(f"{min(tally.accepted, total)} of {total} messages")
            quiet_s = time.monotonic() - progress[1]
            if self.load_answer is not None and quiet_s > self.plan.scenario.drain_timeout_s:
                raise FlowError(
                    f"{tally.under_way} messages were still under way after {quiet_s:.0f} s "
                    "without progress",
                    where=f"flow {self.flow.name}",
                    remedy="Does a component hang? See the logs in the trial's folder",
                )
            flow.check()
            time.sleep(_DRAIN_POLL_S)

    def _floor(self) -> None:
        scenario = self.plan.scenario
        if not scenario.floor_per_start:
            return
        from bench.floor import hop_figures

        self.say("bare hop")
        samples = self.stage.floor.batch(
            100, scenario.load.rate_hz, scenario.load.payload_bytes, self.plan.seed,
            scenario.load.arrivals,
        )  # fmt: skip
        self.floor = hop_figures(samples)

    def _collect_errors(self, deployment: Deployment) -> None:
        try:
            while len(self.errors) < _ERRORS_KEPT:
                delivery = self.stage.broker.get(deployment.wiring.error_queue)
                if delivery is None:
                    return
                report = decode_body(delivery.message.body)
                self.errors.append(
                    {
                        "step": report.get("step"),
                        "trace": decode_ids(delivery.message.headers).trace,
                        "error": report.get("error"),
                    }
                )
        except HopbenchError as error:
            self.reasons.append(f"the error queue could not be read: {error}")

    # -- reading back ----------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Read every spool, judge the trial, and put together what is stored."""
        tables: list[tuple[int, Records]] = []
        instances = []
        clocks: set[str] = set()
        for index, started in enumerate(self.started):
            records = self._read(started.spool, clocks)
            tables.append((index, records))
            instances.append(instance_record(self.stage, self.flow, started, records))
        load_spool = jobs.spool_path(self.stage.load_folder, self.name)
        if load_spool.exists():
            tables.append((LOAD_INSTANCE, self._read(load_spool, clocks)))
        records = (
            np.concatenate([table for _, table in tables]) if tables else np.empty(0, dtype=DTYPE)
        )
        owners = np.concatenate(
            [np.full(len(t), i, dtype=np.uint16) for i, t in tables] or [np.empty(0, np.uint16)]
        )
        spans = {name: records[name] for name in DTYPE.names or () if name != "check"}
        spans.pop("sequence")
        spans["instance"] = owners
        document = self._document(records, instances, clocks)
        return Outcome(document, spans, self.sampler.table(), self._logs())

    def _read(self, spool: Path, clocks: set[str]) -> Records:
        try:
            content = read_spool(spool)
        except SpoolError as error:
            self.reasons.append(str(error))
            self._worsen("failed")
            return np.empty(0, dtype=DTYPE)
        clocks.add(content.clock_id)
        if content.problems:
            self.reasons.extend(content.problems)
            self._worsen("invalid")
        return content.records

    def _document(
        self, records: Records, instances: list[dict[str, Any]], clocks: set[str]
    ) -> dict[str, Any]:
        plan, scenario = self.plan, self.plan.scenario
        accounting = account(records, len(self.flow.steps))
        load = load_figures(
            records,
            target_rate_hz=scenario.load.rate_hz,
            cpu_s=self.load_answer.cpu_s if self.load_answer else 0.0,
        )
        self._judge(accounting.as_json(), asdict(load), clocks)
        ids = {started.instance.id: started.step for started in self.started}
        return {
            "index": plan.index,
            "repeats": plan.repeats,
            "scenario": scenario.name,
            "flow_type": str(scenario.flow_type),
            "flow": self.flow.name,
            "flow_digest": self.flow.digest(),
            "cell": {"containers": len(self.flow.steps)},
            "steps": [
                {
                    "index": index,
                    "id": step.id,
                    "component": step.component,
                    "function": step.function,
                    "revision": revision.digest,
                }
                for index, (step, revision) in enumerate(
                    zip(self.flow.steps, self.revisions, strict=True)
                )
            ],
            "message_cells": [asdict(cell) for cell in scenario.message_cells()],
            "status": self.status,
            "reasons": self.reasons,
            "clock_id": clock_id(),
            "clock_ids_seen": sorted(clocks),
            "start_ns": self.start_ns,
            "end_ns": now_ns(),
            **self.instants,
            "instances": instances,
            "alive_before": list(self.alive[0]),
            "alive_after": list(self.alive[1]),
            "starts_seen": len(self.started),
            "engine_events": [
                {
                    "at_ns": event.at_ns,
                    "action": event.action,
                    "instance_id": event.instance_id,
                    "step": ids[event.instance_id],
                }
                for event in self.stage.launcher.events()
                if event.instance_id in ids
            ],
            "connections": self.connections,
            "accounting": accounting.as_json(),
            "errors": self.errors,
            "load": asdict(load),
            "floor": self.floor,
            "resource_problems": list(self.sampler.problems),
        }

    def _judge(self, counts: dict[str, int], load: dict[str, float], clocks: set[str]) -> None:
        if counts["lost"]:
            self._blame(f"{counts['lost']} of {counts['accepted']} accepted messages were lost")
        if counts["failed"]:
            first = f": {self.errors[0]['error']}" if self.errors else ""
            self._blame(f"{counts['failed']} messages failed{first}")
        if counts["refused"]:
            self._blame(f"the first queue refused {counts['refused']} messages")
        if counts["ended_early"]:
            self._blame(
                f"{counts['ended_early']} executions ended before the last step: "
                "a component emitted nothing"
            )
        if self.status == "valid" and not counts["handled"]:
            self._blame("no message was handled")
        planned_s = (counts["sent"] - 1) / load["target_rate_hz"]
        taken_s = (counts["sent"] - 1) / load["achieved_rate_hz"]
        # A shortfall that is shorter than the limit on lateness is lateness, judged below.
        behind_ms = 1e3 * (taken_s - planned_s)
        if taken_s * RATE_LIMIT > planned_s and behind_ms > LAG_LIMIT_MS:
            self._blame(
                f"{GENERATOR} reached {load['achieved_rate_hz']:.1f} of "
                f"{load['target_rate_hz']:.1f} messages a second"
            )
        if load["lag_p99_ms"] > LAG_LIMIT_MS:
            self._blame(f"{GENERATOR} was late by {load['lag_p99_ms']:.1f} ms (p99)")
        if len(clocks | {clock_id()}) > 1:
            self._blame(f"clocks differ between processes: {sorted(clocks | {clock_id()})}")

    def _blame(self, reason: str) -> None:
        self.reasons.append(reason)
        self._worsen("invalid")

    def _worsen(self, status: str) -> None:
        order = ("valid", "invalid", "failed")
        self.status = max(self.status, status, key=order.index)

    def _logs(self) -> dict[str, str]:
        if self.status == "valid":
            return {}
        logs = {started.instance.name: started.instance.logs(last=200) for started in self.started}
        if self.errors:
            logs["errors"] = json.dumps(self.errors, indent=1)
        return {name: text for name, text in logs.items() if text}


def prepare_images(stage: Stage, scenarios: tuple[Scenario, ...]) -> Prepared:
    """Build or unpack every component that these scenarios use, before anything is timed."""
    built: dict[str, Image] = {}
    prepared: Prepared = {}
    for scenario in scenarios:
        for name, found in revisions(scenario, stage.components_root).items():
            if found.digest not in built:
                built[found.digest] = stage.launcher.prepare(found)
            prepared[scenario.name, name] = (found, built[found.digest])
    return prepared
