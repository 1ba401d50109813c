"""The vocabulary of flows: components, steps, flows, and the states they can be in.

Nothing here starts or reads anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from runtime.errors import InputError


class FlowType(StrEnum):
    """The two lifecycles a flow can have; there is no third."""

    ORDINARY = "ordinary"
    REALTIME = "realtime"


class FlowState(StrEnum):
    """States of a flow. SLEEPING exists for ordinary flows only."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    SLEEPING = "sleeping"
    SUSPENDED = "suspended"
    STOPPING = "stopping"


class StepState(StrEnum):
    """States of one step's container."""

    SLEEPING = "sleeping"
    STARTING = "starting"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting down"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use; always set."""

    memory_bytes: int = 256 * 1024 * 1024
    cpus: float = 1.0
    pids: int = 64


@dataclass(frozen=True, slots=True)
class Function:
    """A trigger or an action of a component: its name, its kind, and the file that holds it."""

    name: str
    kind: str
    main: str


@dataclass(frozen=True, slots=True)
class Component:
    """A component folder as its ``component.json`` describes it."""

    name: str
    root: Path
    title: str
    functions: Mapping[str, Function]


@dataclass(frozen=True, slots=True)
class Revision:
    """The content of a component folder at one moment, named by its hash."""

    component: Component
    digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a flow: which function of which component, and how it is run.

    ``replicas`` containers share the step's queue; ``passthrough`` hands the outputs of the steps
    before it to ``process``; ``follow_newest`` takes the component's newest revision at each start
    instead of the one that was pinned. Its queue takes ``max_length`` messages and ``max_bytes`` of
    bodies; what is over that is refused, and its publisher tries again.
    """

    id: str
    component: str
    function: str
    config: Mapping[str, Any] = field(default_factory=dict)
    prefetch: int = 1
    limits: Limits = field(default_factory=Limits)
    persistent: bool = False
    replicas: int = 1
    passthrough: bool = False
    log_level: str = "WARNING"
    follow_newest: bool = False
    max_length: int = 10_000
    max_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Flow:
    """A chain of steps. The first is the trigger, the others are actions."""

    name: str
    steps: tuple[Step, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError(f"flow {self.name!r} has no steps", remedy="Give it at least one")
        seen: set[str] = set()
        for step in self.steps:
            if step.id in seen:
                raise InputError(
                    f"flow {self.name!r} has two steps named {step.id!r}",
                    remedy="Give each step an id of its own",
                )
            seen.add(step.id)

    def digest(self) -> str:
        """Hash of the definition: equal for two runs of one flow, whatever the mode."""
        definition = [
            [s.id, s.component, s.function, dict(s.config), s.prefetch] for s in self.steps
        ]
        text = json.dumps([definition, dict(self.variables)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
