"""One trial: one start of a flow in one cell, loaded, watched, drained and stopped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from bench.accounting import leaves
from bench.campaign import Campaign
from bench.faults import Freezer, Proxy, delay_document, network_delays
from bench.generators import Sending, ended_generator
from bench.load import jobs
from bench.observe import connections_of
from bench.observed import Outlet
from bench.outcome import Observed, Outcome, Plan, put_together
from bench.resources import Sampler
from bench.stage import ATTEND_S, Stage, attended, open_services, revisions, substitutions
from runtime.clock import now_ns
from runtime.errors import BrokerUnavailable, FlowError, HopbenchError
from runtime.launch import Image, Instance
from runtime.message import decode_body, decode_ids
from runtime.model import FlowType, Revision
from runtime.modes import Deployment, Started
from runtime.modes.ordinary import OrdinaryFlow
from runtime.modes.realtime import RealtimeFlow
from runtime.spool import SpoolTail, Tally
from runtime.wiring import wire
from scenarios.model import Loop, Scenario

SILENT = "the broker does not answer any more"
START_TIMEOUT_S = 60.0
EXECUTION_TIMEOUT_S = 180.0
Prepared = dict[tuple[str, str], tuple[Revision, Image]]
"""By scenario and component: the revision, and what its steps are started from."""

BROKER, LOAD, SERVICES = -1, -2, -3
INJECTING = {"HOPBENCH_INJECT_DELAYS": "1"}

_DRAIN_POLL_S = 0.02
_ERRORS_KEPT = 20


def run_trial(
    stage: Stage,
    plan: Plan,
    images: Prepared,
    *,
    say: Callable[[str], None],
    campaign: Campaign | None = None,
) -> Outcome:
    """Run a trial to its end. A flow that fails gives a failed outcome, not an exception.

    ``campaign`` is the pass that the trial is a phase of: it says what is started. The document has
    a member ``fatal`` when no further trial could run. Whatever happens, the trial's containers and
    queues are removed.
    """
    trial = _Trial(stage, plan, images, say, campaign)
    try:
        trial.run()
    except BrokerUnavailable as error:
        trial.silent = True
        trial.seen.blame(str(error), "failed")
    except HopbenchError as error:
        trial.seen.blame(str(error), "failed")
    if campaign is not None:
        trial.seen.deeds, campaign.deeds = campaign.deeds, []
    outcome = put_together(trial.seen, stage, trial.sampler)
    gone = SILENT if trial.silent else what_is_gone(stage)
    if gone:
        outcome.document["fatal"] = gone
    return outcome


def what_is_gone(stage: Stage) -> str | None:
    """What is gone that no further trial could do without; None when all is there."""
    if not stage_lives(stage):
        return SILENT
    return ended_generator(stage.generators)


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
        campaign: Campaign | None,
    ) -> None:
        self.stage, self.plan, self.say, self.campaign = stage, plan, say, campaign
        scenario = plan.scenario
        self.flow = scenario.flow(plan.containers)
        if campaign is None:
            used = [images[scenario.name, step.component] for step in self.flow.steps]
        else:
            self.flow, found, built = campaign.ready(plan)
            names = [step.component for step in self.flow.steps]
            used = [(found[name], built[name]) for name in names]
        self.name = f"{stage.run_id}-{plan.index}"
        self.folder = stage.folder / f"trial-{plan.index:04d}"
        self.folder.mkdir(parents=True)
        self.revisions = tuple(found for found, _ in used)
        self.images = tuple(image for _, image in used)
        self.sampler = Sampler(
            isolates=stage.launcher.isolates,
            period_s=0.01 if scenario.flow_type is FlowType.ORDINARY else 0.05,
        )
        self.silent = False
        self.attended_s = time.monotonic()
        self.watching = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self.registering = threading.Lock()
        self.seen = Observed(plan, self.name, self.flow, self.revisions, start_ns=now_ns())
        self.sending = Sending(stage.share(scenario.load.processes), self._job())
        self.seen.sending = self.sending
        queue = wire(self.flow, self.name, outlet=True).outlet_queue
        self.outlet = Outlet(scenario.observe.fields, queue)
        if scenario.observe.fields:
            self.seen.outlet = self.outlet

    # -- running ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Start, load, drain, observe, stop."""
        scenario = self.plan.scenario
        with (
            self.sampler,
            self.watching,
            open_services(self.stage, scenario) as services,
            network_delays(self.stage, scenario.faults, self.name, self.folder) as proxies,
        ):
            # A step behind a proxy is connected to it, as to a service that the flow declares.
            services |= {
                proxy.instance.name: (proxy.instance, proxy.place) for proxy in proxies.values()
            }
            for instance, _ in services.values():
                self.sampler.watch(SERVICES, instance)
            for generator in self.sending.instances:
                self.sampler.watch(LOAD, generator)
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
                environment=INJECTING if scenario.axes.delayed_step else {},
                broker_urls={step: proxy.url for step, proxy in proxies.items()},
                outlet=bool(scenario.observe.fields),
                on_started=self._on_started,
            )
            deployment.declare()
            try:
                with self.campaign.running() if self.campaign else contextlib.nullcontext():
                    self._run_flow(deployment, services)
            finally:
                self._stop_load()
                self._note_delays(proxies)
                self._collect_errors(deployment)
                # One that hangs would be waited for again, and hide why the trial ended.
                if not self.silent and stage_lives(self.stage):
                    deployment.remove()

    def _run_flow(
        self, deployment: Deployment, services: Mapping[str, tuple[Instance, str]]
    ) -> None:
        if self.plan.scenario.flow_type is FlowType.REALTIME:
            self._realtime(deployment, services)
        else:
            self._ordinary(deployment)
        self.outlet.drain(self.stage.broker)

    def _realtime(
        self, deployment: Deployment, services: Mapping[str, tuple[Instance, str]]
    ) -> None:
        with RealtimeFlow(deployment) as flow:
            try:
                self.say("starting")
                self.seen.instants["flow_start_ns"] = now_ns()
                flow.start(timeout_s=START_TIMEOUT_S)
                self.seen.instants["flow_consuming_ns"] = now_ns()
                before = flow.alive()
                self._begin_load(flow.started)
                self._drain_with_faults(flow)
                # The bare clients have their turn while the flow idles: at the same time this shows
                # what an idle flow costs.
                self._floor()
                self.seen.alive_before, self.seen.alive_after = before, flow.alive()
                self.seen.connections = connections_of(self.stage, flow.started, services)
            finally:
                self.seen.instants["flow_stop_ns"] = now_ns()
                for index, started in enumerate(self.seen.started):
                    if started.exit is None:
                        self.sampler.read_now(index)
                flow.stop()
                self.seen.instants["flow_stopped_ns"] = now_ns()

    def _ordinary(self, deployment: Deployment) -> None:
        with OrdinaryFlow(deployment) as flow:
            self.seen.instants["flow_start_ns"] = now_ns()
            total = self.plan.messages * len(self.plan.scenario.message_cells())
            try:
                self._begin_load()
                for execution in range(1, total + 1):
                    self.say(f"execution {execution} of {total}")
                    flow.await_arrival(timeout_s=START_TIMEOUT_S)
                    flow.execute(execution, timeout_s=EXECUTION_TIMEOUT_S)
                self._await_load()
            finally:
                self.seen.instants["flow_stop_ns"] = now_ns()
                flow.stop()
                self.seen.instants["flow_stopped_ns"] = now_ns()

    def _on_started(self, started: Started) -> None:
        # Looking up a container's process takes milliseconds: not on the path of its start.
        # Called from the threads that start steps in parallel.
        with self.registering:
            index = len(self.seen.started)
            self.seen.started.append(started)
        self.watching.submit(self.sampler.watch, index, started.instance)

    def _job(self) -> jobs.Job:
        scenario, entry = self.plan.scenario, wire(self.flow, self.name).entry
        return jobs.Job(
            name=self.name,
            broker_url=self.stage.place.url_inside,
            exchange=entry.exchange,
            key=entry.key,
            seed=self.plan.seed,
            arrivals=str(scenario.load.arrivals),
            rate_hz=scenario.load.rate_hz,
            messages_per_cell=self.plan.messages,
            cells=tuple(jobs.Cell(**asdict(cell)) for cell in scenario.message_cells()),
            patience_s=scenario.drain_timeout_s,
        )

    def _begin_load(self, started: Sequence[Started] = ()) -> None:
        """Let the schedule begin; in a closed loop, the generator follows the steps' spools."""
        closed = self.plan.scenario.load.loop is Loop.CLOSED
        self.seen.instants["load_start_ns"] = now_ns()
        self.sending.begin([one.spool for one in started] if closed else [])
        # Several have had to be waited for.
        self.seen.instants["load_start_ns"] = now_ns()

    def _await_load(self) -> None:
        while not self._load_done():
            self._attend()
            time.sleep(_DRAIN_POLL_S)

    def _attend(self) -> None:
        """Now and then, answer the broker's heartbeats: a load may last for hours."""
        if time.monotonic() - self.attended_s >= ATTEND_S:
            self.stage.broker.keep_alive()
            self.attended_s = time.monotonic()

    def _load_done(self) -> bool:
        """Whether all generators have answered. Raises when one ended, failed, or is stuck."""
        done = self.sending.look(self._longest_load_s())
        if done:
            self.seen.instants["load_end_ns"] = self.sending.end_ns
        return done

    def _stop_load(self) -> None:
        if self.seen.instants["load_start_ns"] is not None and self.sending.end_ns is None:
            self.sending.stop()

    def _longest_load_s(self) -> float:
        """Twice what the schedule takes on average, and a minute for a broker that lets us wait.

        In a closed loop that is not known: there it is the longest time without a message.
        """
        load, cells = self.plan.scenario.load, self.plan.scenario.message_cells()
        if load.loop is Loop.CLOSED:
            return self.plan.scenario.drain_timeout_s + 60.0
        gaps_s = [1 / load.rate_hz + cell.delay_ms / 1e3 for cell in cells]
        return 2 * self.plan.messages * sum(gaps_s) + 60.0

    def _drain_with_faults(self, flow: RealtimeFlow) -> None:
        instances = {self.flow.steps[one.step].id: one.instance for one in flow.started}
        load_start_ns = self.seen.instants["load_start_ns"] or 0
        freezer = Freezer(self.plan.scenario.faults, instances, load_start_ns)
        deeds = self.campaign.during(self.plan, load_start_ns) if self.campaign else None
        try:
            with freezer, deeds or contextlib.nullcontext(()) as problems:
                self._drain(flow)
            for problem in problems:
                self.seen.blame(problem)
        finally:
            self.seen.faults += freezer.done
            for problem in freezer.problems:
                self.seen.blame(problem)

    def _note_delays(self, proxies: Mapping[str, Proxy]) -> None:
        """Note each network delay, and that the trial is no good where its proxy has ended."""
        for proxy in proxies.values():
            self.seen.faults.append(delay_document(proxy, now_ns()))
            for problem in proxy.problems():
                self.seen.blame(f"the proxy of step {proxy.step}, {problem}")
            if not proxy.instance.alive():
                said = proxy.instance.logs(last=5) or "nothing"
                self.seen.blame(f"the proxy of step {proxy.step} ended; it last said: {said}")

    def _drain(self, flow: RealtimeFlow) -> None:
        """Wait until the load is sent and no message is under way any more."""
        tally = Tally()
        tails = [SpoolTail(started.spool) for started in flow.started]
        tails += [SpoolTail(sent.spool) for sent in self.sending.sent]
        total = self.plan.messages * len(self.plan.scenario.message_cells())
        progress = (-1, time.monotonic())
        counted = False
        while True:
            for tail in tails:
                records = tail.new_records()
                tally.add(records[~leaves(records, len(self.flow.steps))])
            # What is taken now does not fill the queue.
            self.outlet.drain(self.stage.broker)
            if self._load_done() and tally.under_way == 0 and counted:
                return
            # The answer comes after the last span: what is counted next includes them all.
            counted = self.sending.end_ns is not None
            if tally.processed != progress[0]:
                progress = (tally.processed, time.monotonic())
                self.say(f"{min(tally.accepted, total)} of {total} messages")
            quiet_s = time.monotonic() - progress[1]
            if self.sending.end_ns is not None and quiet_s > self.plan.scenario.drain_timeout_s:
                raise FlowError(
                    f"{tally.under_way} messages were still under way after {quiet_s:.0f} s "
                    "without progress",
                    where=f"flow {self.flow.name}",
                    remedy="Does a component hang? See the logs in the trial's folder",
                )
            flow.check()
            self._attend()
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
        self.seen.floor = hop_figures(samples)

    def _collect_errors(self, deployment: Deployment) -> None:
        try:
            while len(self.seen.errors) < _ERRORS_KEPT:
                delivery = self.stage.broker.get(deployment.wiring.error_queue)
                if delivery is None:
                    return
                report = decode_body(delivery.message.body)
                self.seen.errors.append(
                    {
                        "step": report.get("step"),
                        "trace": decode_ids(delivery.message.headers).trace,
                        "error": report.get("error"),
                    }
                )
        except HopbenchError as error:
            self.silent = isinstance(error, BrokerUnavailable)
            self.seen.blame(f"the error queue could not be read: {error}")


def prepare_images(stage: Stage, scenarios: tuple[Scenario, ...]) -> Prepared:
    """Build or unpack every component that these scenarios use, before anything is timed."""
    built: dict[str, Image] = {}
    prepared: Prepared = {}
    for scenario in scenarios:
        for name, found in revisions(scenario, stage.components_root).items():
            if found.digest not in built:
                with attended(stage.broker):
                    built[found.digest] = stage.launcher.prepare(found)
            prepared[scenario.name, name] = (found, built[found.digest])
    return prepared
