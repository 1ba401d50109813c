"""The vocabulary of the platform: triggers, definitions, drafts, versions, and legal transitions.

Nothing here stores or starts anything. A flow's definition is what a draft edits and a version
freezes; its type and its state are the flow's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.model import Flow, FlowState, FlowType, Step


class TriggerKind(StrEnum):
    """What makes an execution begin."""

    CRON = "cron"
    INTERVAL = "interval"
    WEBHOOK = "webhook"
    NONE = "none"
    """Nothing of the platform's own: messages come from outside, as from a load generator."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What calls the first step. ``schedule`` is a cron line; ``every_s`` an interval's length.

    ``quota_per_s`` is how many calls a second a webhook accepts; None: as many as its queue takes.
    """

    kind: TriggerKind = TriggerKind.NONE
    schedule: str | None = None
    every_s: float | None = None
    quota_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """What a flow does. ``shutdown_timeout_s`` is how long an ordinary flow keeps idle containers.

    Zero is the strict reading: one container after another, each stopped before the next starts.
    """

    steps: tuple[Step, ...]
    trigger: Trigger = field(default_factory=Trigger)
    variables: Mapping[str, str] = field(default_factory=dict)
    shutdown_timeout_s: float = 0.0

    def flow(self, name: str) -> Flow:
        """The chain that a launcher starts. Raises InputError for two steps of one id."""
        return Flow(name, self.steps, self.variables)


@dataclass(frozen=True, slots=True)
class Pin:
    """The revision of a component that a draft was saved with."""

    component: str
    number: int
    digest: str


@dataclass(frozen=True, slots=True)
class Draft:
    """The one definition of a flow that is being edited. ``pins`` has one for each component."""

    flow: str
    definition: Definition
    pins: tuple[Pin, ...]
    saved_at: str


@dataclass(frozen=True, slots=True)
class Version:
    """A definition that was published; it never changes."""

    flow: str
    number: int
    definition: Definition
    pins: tuple[Pin, ...]
    published_at: str


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """A flow as the store has it. ``published`` is its newest version's number, None without one.

    ``running`` is the version whose containers run, or whose messages wait while it is suspended.
    ``reason`` says why it is stopped where nobody stopped it.
    """

    name: str
    flow_type: FlowType
    state: FlowState
    published: int | None
    running: int | None
    has_draft: bool
    reason: str | None


class Operation(StrEnum):
    """What can be done to a flow."""

    DRAFT = "draft"
    REVERT = "revert"
    PUBLISH = "publish"
    START = "start"
    STOP = "stop"
    SUSPEND = "suspend"
    RESUME = "resume"
    SWITCH = "switch"


_ANY = frozenset(FlowState)
_UP = frozenset({FlowState.RUNNING, FlowState.SLEEPING})
_STOPPED = frozenset({FlowState.STOPPED})

LEGAL: Mapping[Operation, frozenset[FlowState]] = {
    Operation.DRAFT: _ANY,
    Operation.REVERT: _ANY,
    Operation.PUBLISH: _STOPPED | _UP,
    Operation.START: _STOPPED,
    Operation.STOP: _UP | {FlowState.SUSPENDED},
    Operation.SUSPEND: _UP,
    Operation.RESUME: frozenset({FlowState.SUSPENDED}),
    Operation.SWITCH: _STOPPED,
}
"""In which states each operation may begin. Start and switch need a published version, too."""
