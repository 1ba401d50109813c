"""A pass through the phases of a scenario: a store of its own, and what is done to the flow in it.

What a start runs is what the store's published version says: its definition, and the revisions that
its draft pinned.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.outcome import Plan
from bench.stage import Stage, revisions
from runtime.clock import now_ns
from runtime.errors import ComponentError, FlowError, HopbenchError
from runtime.flows import Definition
from runtime.launch import Image
from runtime.model import Flow, FlowState, FlowType, Revision
from runtime.store import Store
from scenarios.model import Deed, Scenario

_REVISION = re.compile(r"^REVISION = \d+$", re.MULTILINE)


class Campaign:
    """One pass. ``deeds`` are what was done since the last start began: for trial.json."""

    def __init__(self, stage: Stage, scenario: Scenario, folder: Path) -> None:
        self._stage, self._scenario, self._folder = stage, scenario, folder
        self._store = Store.open(folder / "store")
        self._deploys = 0
        self._images: dict[str, Image] = {}
        self.deeds: list[dict[str, Any]] = []

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def ready(self, plan: Plan) -> tuple[Flow, dict[str, Revision], dict[str, Image]]:
        """Do what comes before a phase; what its start then runs, by component.

        Raises FlowError where no version is published by then.
        """
        assert plan.phase is not None
        phase = plan.scenario.phases[plan.phase]
        for deed in phase.before:
            self._do(deed, phase.flow_type)
        entry = self._store.flows.entry(self._scenario.name)
        if entry.published is None or entry.flow_type is not phase.flow_type:
            raise FlowError(
                f"phase {phase.name!r} needs a published {phase.flow_type} flow; it is "
                f"{entry.flow_type}",
                where=self._scenario.path,
                remedy="Add publish or switch to what is done before it",
            )
        version = self._store.flows.version(self._scenario.name, entry.published)
        steps = self._store.revisions.of(version)
        flow = version.definition.flow(self._scenario.flow().name)
        by_component = {step.component: steps[step.id] for step in flow.steps}
        for found in by_component.values():
            if found.digest not in self._images:
                self._images[found.digest] = self._stage.launcher.prepare(found)
        images = {name: self._images[one.digest] for name, one in by_component.items()}
        return flow, by_component, images

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The store says that the flow runs while this lasts."""
        name, flows = self._scenario.name, self._store.flows
        published = flows.entry(name).published
        flows.set_state(name, FlowState.STOPPED, FlowState.RUNNING, running=published)
        try:
            yield
        finally:
            flows.set_state(name, FlowState.RUNNING, FlowState.STOPPED)

    @contextlib.contextmanager
    def during(self, plan: Plan, start_ns: int) -> Iterator[list[str]]:
        """Do what is due while the flow runs, in a thread; yields what went wrong."""
        assert plan.phase is not None
        deeds = plan.scenario.phases[plan.phase].during
        problems: list[str] = []
        ended = threading.Event()

        def work() -> None:
            for one in deeds:
                wait_s = (start_ns - now_ns()) / 1e9 + one.after_s
                if ended.wait(max(0.0, wait_s)):
                    problems.append(f"the load ended before {one.deed} was due")
                    return
                try:
                    self._do(one.deed, FlowType.REALTIME)
                except HopbenchError as error:
                    problems.append(f"{one.deed} while the flow runs: {error}")
                    return

        worker = threading.Thread(target=work, name="deeds")
        worker.start()
        try:
            yield problems
        finally:
            ended.set()
            worker.join()

    def _do(self, deed: Deed, flow_type: FlowType) -> None:
        began_ns = now_ns()
        made: Mapping[str, int] = {}
        scenario, flows = self._scenario, self._store.flows
        if deed is Deed.DEPLOY:
            made = self._deploy()
        elif deed is Deed.DRAFT:
            definition = Definition(scenario.steps, variables=scenario.variables)
            known = [entry.name for entry in flows.entries()]
            draft = flows.save_draft(
                scenario.name, definition, None if scenario.name in known else flow_type
            )
            made = {pin.component: pin.number for pin in draft.pins}
        elif deed is Deed.PUBLISH:
            version = flows.publish(scenario.name)
            made = {pin.component: pin.number for pin in version.pins}
        else:
            flows.set_type(scenario.name, flow_type)
        self.deeds.append({
            "deed": str(deed), "at_ns": began_ns, "until_ns": now_ns(), "revisions": dict(made),
        })  # fmt: skip

    def _deploy(self) -> dict[str, int]:
        """Deploy every component; those that are revised as their next revision."""
        self._deploys += 1
        made = {}
        for name, found in revisions(self._scenario, self._stage.components_root).items():
            root = found.component.root
            if name in self._scenario.observe.revised:
                root = self._revised(root, self._deploys)
            made[name] = self._store.revisions.deploy(root).number
        return made

    def _revised(self, root: Path, number: int) -> Path:
        """A copy of a component in which the number in its code is another."""
        copy = self._folder / f"deploy-{number}" / root.name
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__"))
        changed = 0
        for file in copy.rglob("*.py"):
            text, count = _REVISION.subn(f"REVISION = {number}", file.read_text(encoding="utf-8"))
            file.write_text(text, encoding="utf-8")
            changed += count
        if changed != 1:
            raise ComponentError(
                f"has {changed} lines REVISION = NUMBER where one is to be changed",
                where=str(root),
                remedy="Give it one, or take it out of observe.revised",
            )
        return copy


class Campaigns:
    """The passes of a run: each is opened with its first phase and closed with its last."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._open: dict[tuple[str, int], Campaign] = {}

    def of(self, plan: Plan) -> Campaign | None:
        """The pass that a plan is a phase of; None where its scenario has no phases."""
        if plan.phase is None:
            return None
        key = (plan.scenario.name, plan.passing)
        if key not in self._open:
            folder = self._stage.folder / f"{plan.scenario.name}-{plan.passing}"
            folder.mkdir(parents=True)
            self._open[key] = Campaign(self._stage, plan.scenario, folder)
        return self._open[key]

    def done(self, plan: Plan) -> None:
        """Close the pass where this was its last phase."""
        if plan.phase is not None and plan.phase == len(plan.scenario.phases) - 1:
            self._open.pop((plan.scenario.name, plan.passing)).close()

    def close(self) -> None:
        """Close those that were cut short."""
        while self._open:
            self._open.popitem()[1].close()
