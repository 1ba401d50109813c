"""The vocabulary of measurements: scenarios, loads, axes, profiles, claims and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from runtime.model import Flow, FlowType, Step


class Arrivals(StrEnum):
    """How the arrivals of an open-loop schedule are spaced."""

    CONSTANT = "constant"
    POISSON = "poisson"


class Loop(StrEnum):
    """Whether the generator keeps to its schedule, or waits for each execution to end.

    A closed loop is there to show what it hides (coordinated omission); no claim is decided by one.
    """

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Load:
    """A schedule of arrivals.

    ``rate_hz`` is the arrival rate. Where message cells carry a delay, that delay is added to the
    gap before the next arrival, so that a slow cell does not queue behind itself. ``processes`` is
    how many generators share the schedule.
    """

    arrivals: Arrivals
    rate_hz: float
    messages: int
    payload_bytes: int
    loop: Loop = Loop.OPEN
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Service:
    """A real service that runs beside the flow on its network."""

    id: str
    component: str
    port: int


@dataclass(frozen=True, slots=True)
class Axes:
    """What is varied. ``containers`` changes per start, the others per message within a start.

    An empty tuple: that axis is not varied. Flows of n containers are made of the first step, the
    middle steps repeated in turn, and the last step. ``delayed_step`` and ``injected_delay_ms`` go
    together: the runtime delays that step's ``process`` by so much, whatever its component does.
    ``network_delay_ms`` is for the one step whose network delay is as each message asks.
    """

    containers: tuple[int, ...] = ()
    payload_bytes: tuple[int, ...] = ()
    api_delay_ms: tuple[float, ...] = ()
    delayed_step: tuple[str, ...] = ()
    injected_delay_ms: tuple[float, ...] = ()
    network_delay_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Freeze:
    """A fault: a step's container is frozen ``after_s`` into the load, and thawed ``for_s`` later.

    It does not end and keeps its connections; it gets no CPU time.
    """

    step: str
    after_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class NetworkDelay:
    """A fault: a step reaches the broker through a proxy that holds back each byte by ``delay_ms``.

    In both directions: what the step publishes, and what is delivered to it. None: each message is
    held back by what its own cell asks (``MessageCell.network_delay_ms``).
    """

    step: str
    delay_ms: float | None


Fault = Freeze | NetworkDelay


class Deed(StrEnum):
    """What is done to a flow between its starts, or while it runs.

    ``DEPLOY`` makes each revised component's next revision; ``DRAFT`` saves the definition, which
    pins the newest revisions; ``PUBLISH`` makes the draft a version; ``SWITCH`` changes the type.
    """

    DEPLOY = "deploy"
    DRAFT = "draft"
    PUBLISH = "publish"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class During:
    """A deed while the flow runs, ``after_s`` into the load."""

    after_s: float
    deed: Deed


@dataclass(frozen=True, slots=True)
class Phase:
    """One start of a flow that has several in a row, kept in a store of the scenario's own.

    ``before`` is done while the flow is stopped; then it is started, loaded and stopped. Without a
    rate or a number of messages, those of the scenario hold.
    """

    name: str
    flow_type: FlowType
    rate_hz: float | None = None
    messages: int | None = None
    before: tuple[Deed, ...] = ()
    during: tuple[During, ...] = ()


@dataclass(frozen=True, slots=True)
class Observe:
    """What is kept of the messages themselves: ``fields`` of the bodies that the last step emits.

    ``revised`` are components whose messages carry ``REVISION``, a number in their code.
    """

    fields: tuple[str, ...] = ()
    revised: tuple[str, ...] = ()


SEARCH_STARTS = 14
"""Starts of a search at most, where a scenario does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Search:
    """The highest rate at which the mean hop stays within ``limit_ms`` is looked for.

    Each start tries one rate for ``probe_s``. The rates that held and that did not come to differ
    by no more than ``factor``, between ``lowest_hz`` and ``highest_hz``, unless that takes more
    than so many ``starts``.
    """

    lowest_hz: float
    highest_hz: float
    factor: float
    limit_ms: float
    probe_s: float
    starts: int = SEARCH_STARTS


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is measured: starts per start-level cell, messages per message cell of a start."""

    starts: int
    messages: int


@dataclass(frozen=True, slots=True)
class MessageCell:
    """One combination of the axes that vary per message."""

    payload_bytes: int
    api_delay_ms: float | None = None
    delayed_step: str | None = None
    injected_delay_ms: float | None = None
    network_delay_ms: float | None = None

    @property
    def delay_ms(self) -> float:
        """How much longer an execution of this cell takes than one without any delay.

        The network's is met twice: on the way into its step, and on the way out.
        """
        own = (self.api_delay_ms or 0.0) + (self.injected_delay_ms or 0.0)
        return own + 2 * (self.network_delay_ms or 0.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file of the catalogue.

    ``steps`` is the flow's definition; ``flow_type`` the mode it is run in. ``floor_per_start``
    asks for a batch of the bare broker hop right after each start's load. With ``phases``, a start
    of a profile is one pass through them all; with ``search``, it has as many as the search takes,
    and a profile's starts are of no account. ``unprompted``: steps emit of their own accord, any
    number of messages a call, so an execution is no chain and has no latency of its own.
    """

    name: str
    title: str
    flow_type: FlowType
    steps: tuple[Step, ...]
    load: Load
    axes: Axes
    profiles: Mapping[str, Profile]
    services: tuple[Service, ...] = ()
    faults: tuple[Fault, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    floor_per_start: bool = False
    phases: tuple[Phase, ...] = ()
    search: Search | None = None
    observe: Observe = field(default_factory=Observe)
    unprompted: bool = False
    drain_timeout_s: float = 30.0
    path: str = ""

    def flow(self, containers: int | None = None) -> Flow:
        """The flow with ``containers`` steps (None: as written).

        Middle steps are repeated in turn; a repeated step's id gets its ordinal as a suffix.
        """
        steps = self.steps
        if containers is not None and containers != len(steps):
            middle = steps[1:-1]
            chain = [steps[0]]
            for index in range(containers - 2):
                step = middle[index % len(middle)]
                chain.append(replace(step, id=f"{step.id}-{index + 1}"))
            steps = (*chain, self.steps[-1])
        # Named after the definition, not the scenario: two scenarios may measure one flow.
        return Flow(name=f"{'-'.join(s.id for s in steps)}", steps=steps, variables=self.variables)

    def message_cells(self) -> tuple[MessageCell, ...]:
        """Every combination of the message-level axes, in order; one cell when none is varied."""
        payloads = self.axes.payload_bytes or (self.load.payload_bytes,)
        delays: tuple[float | None, ...] = self.axes.api_delay_ms or (None,)
        injected: tuple[tuple[str | None, float | None], ...] = tuple(
            (step, delay_ms)
            for step in self.axes.delayed_step
            for delay_ms in self.axes.injected_delay_ms
        ) or ((None, None),)
        network: tuple[float | None, ...] = self.axes.network_delay_ms or (None,)
        return tuple(
            MessageCell(p, d, *i, n)
            for p in payloads
            for d in delays
            for i in injected
            for n in network
        )

    def in_phase(self, phase: Phase) -> Scenario:
        """The scenario as one of its phases runs it."""
        load = replace(self.load, rate_hz=phase.rate_hz or self.load.rate_hz)
        return replace(self, flow_type=phase.flow_type, load=load)

    def at_rate(self, rate_hz: float) -> Scenario:
        """The scenario as its search tries one rate."""
        return replace(self, load=replace(self.load, rate_hz=rate_hz))

    def start_cells(self) -> tuple[int | None, ...]:
        """The values of the start-level axis; ``(None,)`` when it is not varied."""
        return self.axes.containers or (None,)


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a metric. ``upper``: the value must stay below; else it must reach the limit."""

    metric: str
    limit: float
    unit: str
    upper: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the platform, and how it is decided.

    ``target`` is None for a statement that is decided by observation alone; ``metric`` then names
    the observation. ``needs_containers``: undecided where steps are mere processes.
    """

    id: str
    statement: str
    metric: str
    scenario: str
    target: Target | None = None
    needs_containers: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
