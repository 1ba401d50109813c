"""The two lifecycles of a flow, over what they have in common: a deployment on a broker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.broker import Broker
from runtime.errors import StepExited
from runtime.launch import Exit, Image, Instance, Launcher, Spec
from runtime.message import REBOUND_DELAY_MS, REBOUND_LIMIT
from runtime.model import Flow, Revision
from runtime.wiring import Wiring, step_environment, wire

POLL_S = 0.002
"""How often a file is looked at while something is awaited."""
SNAPSHOT_FILE = "snapshot.json"
_LAST_WORDS = 2_000
"""Characters of a log that an error quotes: a line may be of any length."""


@dataclass(slots=True)
class Started:
    """One container of one step. ``execution`` is None in a realtime flow."""

    step: int
    execution: int | None
    instance: Instance
    spool: Path
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A flow, laid onto a broker and ready to be started in either mode.

    ``images`` are prepared: nothing is built once a start is timed. ``environment`` is added to
    every step's; ``broker_urls`` is for steps, by id, that reach the broker some other way.
    ``snapshots`` is asked for a step's snapshot, by the step's id, at each of its starts, and says
    that somebody collects new ones from ``wiring.snapshot_queue``; without it they live and die
    with their container. ``outlet`` says that somebody takes what the last step emits, from
    ``wiring.outlet_queue``.
    """

    flow: Flow
    revisions: tuple[Revision, ...]
    images: tuple[Image, ...]
    launcher: Launcher
    broker: Broker
    broker_url_inside: str
    folder: Path
    name: str
    substitutions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    broker_urls: Mapping[str, str] = field(default_factory=dict)
    snapshots: Callable[[str], Mapping[str, Any]] | None = None
    outlet: bool = False
    on_started: Callable[[Started], None] | None = None

    @property
    def wiring(self) -> Wiring:
        """Names of this deployment's queues and keys."""
        told = self.environment.get
        return wire(
            self.flow,
            self.name,
            snapshots=self.snapshots is not None,
            outlet=self.outlet,
            rebound_delay_first_ms=int(
                told("ELASTICIO_REBOUND_INITIAL_EXPIRATION", REBOUND_DELAY_MS)
            ),
            rebound_limit=int(told("ELASTICIO_REBOUND_LIMIT", REBOUND_LIMIT)),
        )

    def declare(self) -> None:
        """Create the queues. Must come before any start."""
        self.broker.declare(self.wiring.topology)

    def remove(self) -> None:
        """Delete the queues with whatever is left in them."""
        self.broker.delete(self.wiring.topology)

    def start_step(
        self,
        index: int,
        *,
        one_shot: bool,
        execution: int | None = None,
        environment: Mapping[str, str] | None = None,
        label: str = "",
        files: Mapping[str, bytes] | None = None,
    ) -> Started:
        """Start the container of one step; ``environment`` is for this one alone.

        ``label`` names it, where steps have several; ``files`` are put into its folder before.
        """
        step = self.flow.steps[index]
        suffix = "" if execution is None else f"-x{execution}"
        label = label or f"{self.name}-{index}-{step.id}{suffix}"
        label = re.sub(r"[^a-zA-Z0-9-]", "-", label)
        folder = self.folder / label
        folder.mkdir(parents=True)
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        spool = folder / "spans.spool"
        inside = self.launcher.inside(folder)
        snapshot = self.snapshots(step.id) if self.snapshots is not None else {}
        if snapshot:
            (folder / SNAPSHOT_FILE).write_text(json.dumps(dict(snapshot)), encoding="utf-8")
        told = {
            **self.environment,
            **step_environment(
                self.flow,
                index,
                self.wiring,
                self.revisions[index].component,
                broker_url=self.broker_urls.get(step.id, self.broker_url_inside),
                spool=f"{inside}/{spool.name}",
                one_shot=one_shot,
                substitutions=self.substitutions,
                snapshot_file=f"{inside}/{SNAPSHOT_FILE}" if snapshot else "",
            ),
            **(environment or {}),
        }
        spec = Spec(
            name=label,
            role="step",
            image=self.images[index],
            env=told,
            limits=step.limits,
            spool=folder,
        )
        started = Started(index, execution, self.launcher.start(spec), spool)
        if self.on_started is not None:
            self.on_started(started)
        return started

    def exited(self, started: Started, exit_: Exit) -> StepExited:
        """The error for a container that should not have ended, with its last words."""
        step = self.flow.steps[started.step]
        memory = f"{step.limits.memory_bytes // 2**20} MiB"
        cause = f", out of memory (limit {memory})" if exit_.oom_killed else ""
        log = started.instance.logs(last=6).strip()[-_LAST_WORDS:]
        said = f"; it last said: {log}" if log else "; it said nothing"
        return StepExited(
            f"ended with exit code {exit_.code}{cause}{said}",
            where=f"step {step.id!r}, {started.instance.name}",
            remedy=(
                "Raise the step's memory limit, or let it hold less"
                if exit_.oom_killed
                else "Mend the component, or see its whole log: a trial's is in the trial's "
                "folder, `flow logs` shows that of a flow on the platform"
            ),
        )
