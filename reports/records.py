"""The typed content of ``run.json`` and ``trial.json`` (docs/formats.md), and its checks."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.machine_records import BareHopRecord, EnvironmentRecord, FloorRecord, FloorSideRecord
from reports.shapes import shaped

T = typing.TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a trial's flow."""

    index: int
    id: str
    component: str
    function: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One container or process that ran a step; an instant that was not seen is None."""

    step: int
    step_id: str
    execution: int | None
    id: str
    name: str
    create_ns: int | None
    start_call_ns: int | None
    engine_create_ns: int | None
    engine_start_ns: int | None
    engine_die_ns: int | None
    first_instruction_ns: int | None
    imported_ns: int | None
    connected_ns: int | None
    consuming_ns: int | None
    first_message_ns: int | None
    exit_code: int | None
    oom_killed: bool | None
    signal: str | None
    memory_peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """What the engine itself said about an instance."""

    at_ns: int
    action: str
    instance_id: str
    step: int | None


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """The remote end of a connection of a step; ``kind`` is broker, service, self or other."""

    step: int
    host: str
    port: int
    kind: str


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of the messages of a trial, as the bench counted it."""

    sent: int
    accepted: int
    refused: int
    handled: int
    failed: int
    lost: int
    duplicated: int


@dataclass(frozen=True, slots=True)
class MessageCellRecord:
    """One combination of the axes that vary per message."""

    payload_bytes: int
    api_delay_ms: float | None
    delayed_step: str | None
    injected_delay_ms: float | None
    network_delay_ms: float | None


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """The schedule of a scenario; ``loop`` is open or closed (None: open)."""

    arrivals: str
    rate_hz: float
    messages: int
    payload_bytes: int
    loop: str | None
    processes: int | None


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What was done to a step while it was measured: ``freeze`` or ``network delay``."""

    kind: str
    step: str
    after_s: float | None
    for_s: float | None
    delay_ms: float | None


@dataclass(frozen=True, slots=True)
class DoneRecord:
    """A fault as it was carried out in a trial: it was certainly there between the two instants."""

    kind: str
    step: str
    at_ns: int | None
    until_ns: int | None


@dataclass(frozen=True, slots=True)
class PhaseOfRecord:
    """Which phase of its scenario a trial is, in which pass through all of them."""

    index: int
    name: str
    round: int


@dataclass(frozen=True, slots=True)
class DeedRecord:
    """What was done to a flow: ``revisions`` are those it made or pinned, by component."""

    deed: str
    at_ns: int
    until_ns: int
    revisions: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One of the starts that a scenario's flow has in a row."""

    name: str
    flow_type: str
    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """What a scenario looks for: the highest rate whose mean hop is within ``limit_ms``."""

    lowest_hz: float
    highest_hz: float
    factor: float
    limit_ms: float
    probe_s: float
    starts: int | None


@dataclass(frozen=True, slots=True)
class ProbeOfRecord:
    """Which rate a trial of a search tried."""

    rate_hz: float


@dataclass(frozen=True, slots=True)
class StepErrorRecord:
    """An error that a step raised."""

    step: str | None
    trace: int | None
    error: str


@dataclass(frozen=True, slots=True)
class CellRecord:
    """The start-level cell of a trial."""

    containers: int | None


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One start of a flow in one start-level cell."""

    index: int
    scenario: str
    flow_type: str
    flow: str
    flow_digest: str
    cell: CellRecord
    steps: tuple[StepRecord, ...]
    message_cells: tuple[MessageCellRecord, ...]
    phase: PhaseOfRecord | None
    deeds: tuple[DeedRecord, ...] | None
    probe: ProbeOfRecord | None
    status: str
    reasons: tuple[str, ...]
    clock_id: str
    clock_ids_seen: tuple[str, ...]
    start_ns: int | None
    end_ns: int | None
    flow_start_ns: int | None
    flow_consuming_ns: int | None
    load_start_ns: int | None
    load_end_ns: int | None
    flow_stop_ns: int | None
    flow_stopped_ns: int | None
    instances: tuple[InstanceRecord, ...]
    alive_before: tuple[str, ...]
    alive_after: tuple[str, ...]
    starts_seen: int | None
    engine_events: tuple[EventRecord, ...]
    connections: tuple[ConnectionRecord, ...]
    accounting: Accounting | None
    resource_problems: tuple[str, ...] | None
    errors: tuple[StepErrorRecord, ...]
    faults: tuple[DoneRecord, ...] | None
    load: Mapping[str, Any] | None
    floor: Mapping[str, Any] | None
    damaged_records: int | None


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A bound on a claim's metric."""

    metric: str
    limit: float
    unit: str
    upper: bool


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A statement of the platform, as it stood in the catalogue when the run was made."""

    id: str
    statement: str
    metric: str
    scenario: str
    needs_containers: bool
    parameters: Mapping[str, Any] | None
    target: TargetRecord | None


@dataclass(frozen=True, slots=True)
class ScenarioRecord:
    """A scenario, and how much of it was planned."""

    name: str
    title: str
    flow_type: str
    message_cells: tuple[MessageCellRecord, ...]
    start_cells: tuple[int | None, ...]
    starts: int
    load: LoadRecord | None
    faults: tuple[FaultRecord, ...] | None
    phases: tuple[PhaseRecord, ...] | None
    search: SearchRecord | None
    observe: tuple[str, ...] | None
    unprompted: bool | None

    @property
    def planned_trials(self) -> int:
        """Trials that a complete run has of this scenario; of a search, at least."""
        return self.starts * len(self.start_cells) * max(1, len(self.phases or ()))

    @property
    def ladder(self) -> bool:
        """Whether its phases are one flow at different rates."""
        phases = self.phases or ()
        alike = len({phase.flow_type for phase in phases}) == 1
        return alike and len({phase.rate_hz for phase in phases}) == len(phases) > 1

    @property
    def shows_events(self) -> bool:
        """Whether it shows what happens to a flow or its messages, and has no cells of figures."""
        return bool(self.phases or self.unprompted or self.search)


@dataclass(frozen=True, slots=True)
class TrialEntry:
    """Where a trial is stored."""

    index: int
    scenario: str
    path: str
    status: str


@dataclass(frozen=True, slots=True)
class PrecisionCellRecord:
    """A start-level cell of a run that was asked for a precision or a budget."""

    scenario: str
    containers: int
    trials: int
    given_up: str | None


@dataclass(frozen=True, slots=True)
class PrecisionRecord:
    """What precision and budget a run was asked for, and why it took no more trials."""

    asked: float | None
    budget_s: float | None
    spent_s: float
    minimum_starts: int
    ended: str | None
    cells: tuple[PrecisionCellRecord, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run: what was planned, where, and what was done."""

    format: int
    run_id: str
    status: str
    error: str | None
    created: str
    finished: str | None
    seed: int
    profile: str
    launcher: str
    launcher_reason: str | None
    isolates: bool
    broker: str
    broker_reason: str | None
    broker_placement: str | None
    flow_types: tuple[str, ...]
    environment: Mapping[str, Any]
    broker_configuration: Mapping[str, Any] | None
    scenarios: tuple[ScenarioRecord, ...]
    claims: tuple[ClaimRecord, ...]
    floor: FloorRecord | None
    trials: tuple[TrialEntry, ...]
    planned_trials: int
    precision: PrecisionRecord | None


def parse_run(content: object, *, file: str) -> RunRecord:
    """Check the content of a ``run.json``. Raises FormatError naming ``file`` and the key."""
    run = typing.cast("RunRecord", shaped(RunRecord, content, file, ""))
    # These stay as they were stored, to be shown; only their shape is checked.
    shaped(EnvironmentRecord, run.environment, file, "environment")
    for when in ("before", "after") if run.floor else ():
        shaped(FloorSideRecord | None, getattr(run.floor, when), file, f"floor.{when}")
    return run


def parse_trial(content: object, *, file: str) -> TrialRecord:
    """Check the content of a ``trial.json``. Raises FormatError naming ``file`` and the key."""
    trial = typing.cast("TrialRecord", shaped(TrialRecord, content, file, ""))
    shaped(BareHopRecord | None, trial.floor, file, "floor")
    return trial


def parse(kind: type[T], content: object, *, file: str) -> T:
    """Check content as a record of any kind. Raises FormatError naming ``file`` and the key."""
    return typing.cast("T", shaped(kind, content, file, ""))
