"""The platform: flows with drafts, versions and states, run on a launcher and a broker.

Each operation is one row of the history, written before it begins and after it has ended. One at a
time has a flow; operations on different flows run side by side. All methods are safe from any
thread.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from runtime.broker import Counting, QueueDepth, Route, connect
from runtime.control import left, recovery, retention, retrying
from runtime.control.broker_end import explaining
from runtime.control.crew import StepStatus
from runtime.control.legal import Record, check, recorded, refusal
from runtime.control.plan import Place, Plan, outline, prepare
from runtime.control.runner import Ending, Runner
from runtime.errors import HopbenchError, StateError
from runtime.flows import Definition, Draft, FlowEntry, Operation, Version
from runtime.model import FlowState, FlowType
from runtime.scheduler import Scheduler, TickCount
from runtime.store import Store
from runtime.store.actions import ActionRecord
from runtime.store.failures import MOST_LISTED, FailureEntry
from runtime.store.revisions import RevisionEntry

PATIENCE_S = 60.0
_UP = frozenset({FlowState.RUNNING, FlowState.SLEEPING})
_PASSING = frozenset({FlowState.STARTING, FlowState.STOPPING})


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """A flow as it is now. ``steps`` is empty where no container of it can live."""

    entry: FlowEntry
    steps: tuple[StepStatus, ...] = ()


@dataclass(slots=True)
class _Control:
    """What the platform holds of one flow. ``runner`` is there once a thread has run it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    runner: Runner | None = None
    was_started: bool = False


class Platform:
    """Runs the flows of a store. Making one puts in order what an earlier one left unfinished.

    ``patience_s`` is how long an operation waits for another one on the same flow.
    """

    def __init__(self, store: Store, place: Place, *, patience_s: float = PATIENCE_S) -> None:
        self._store = store
        self._place = place
        self._patience_s = patience_s
        self._controls: dict[str, _Control] = {}
        self._guard = threading.Lock()
        self._starts = itertools.count(1)
        self._made = f"{time.time_ns():x}"
        self._scheduler = Scheduler()
        self._is_closed = False
        self.recovered = recovery.recover(store, place)
        """What an earlier platform had left, a line each; empty where it was closed."""

    # -- what changes nothing that runs ----------------------------------------------------------

    def deploy(self, folder: Path) -> RevisionEntry:
        """Keep a component folder as a revision. Raises ComponentError for what is none."""
        with self._action(None, "deploy", str(folder)):
            return self._store.revisions.deploy(folder)

    def save_draft(
        self, flow: str, document: object, flow_type: FlowType | None = None, *, where: str = ""
    ) -> Draft:
        """Check a definition, a document, and make it the flow's draft; a new flow is made.

        Raises DefinitionError with every problem found.
        """
        with self._action(flow, Operation.DRAFT):
            if isinstance(document, Definition):
                definition = document
            else:
                definition = self._store.definition(document, where=where)
            return self._store.flows.save_draft(flow, definition, flow_type)

    def revert(self, flow: str, number: int) -> Draft:
        """Make a version's definition, with its pins, the draft."""
        with self._action(flow, Operation.REVERT, f"version {number}"):
            return self._store.flows.revert(flow, number)

    # -- the life of a flow ----------------------------------------------------------------------

    def publish(self, flow: str) -> Version:
        """Make the draft the next version; where the flow is up, let that one take over.

        Nothing that was accepted is lost: what waits for a step goes to that step's new container,
        what waits for a step that is no more becomes an error. Raises StateError without a draft;
        what keeps the new version from running stops the flow, and is raised.
        """
        with self._operation(flow, Operation.PUBLISH) as (control, entry, _):
            if entry.state is FlowState.STOPPED:
                return self._store.flows.publish(flow)
            assert entry.running is not None
            draft = self._store.flows.draft(flow)
            # An image that cannot be built stops nothing.
            plan = None if draft is None else self._prepare(entry.flow_type, draft)
            version = self._store.flows.publish(flow)
            if plan is None:
                plan = self._prepare(entry.flow_type, version)
            old = outline(
                self._store, entry.flow_type, self._store.flows.version(flow, entry.running)
            )
            self._end(control, flow, _UP, Ending.KEEP)
            self._set(flow, FlowState.STOPPING, FlowState.STARTING, version.number)
            self._begin(control, plan, moved_from=None if old.name == plan.name else old)
            return version

    def start(self, flow: str) -> None:
        """Start the published version. Returns when it consumes, or is ready to."""
        with self._operation(flow, Operation.START) as (control, entry, _):
            assert entry.published is not None
            if control.runner is not None:
                control.runner.ensure_cleared()
            version = self._store.flows.version(flow, entry.published)
            control.was_started = True
            self._set(flow, FlowState.STOPPED, FlowState.STARTING, version.number)
            try:
                plan = self._prepare(entry.flow_type, version)
            except HopbenchError as error:
                self._set(flow, FlowState.STARTING, FlowState.STOPPED, reason=str(error))
                raise
            self._begin(control, plan)

    def stop(self, flow: str) -> None:
        """End all containers and drop what is unprocessed. What had gone wrong is kept.

        Returns when no container is left. To collect the last errors and to delete the queues takes
        the broker a tenth of the containers' own time to end, and nobody needs to wait for that: it
        is done a moment later, and before the flow's errors or its history are read, or it starts.
        """
        with self._operation(flow, Operation.STOP) as (control, entry, record):
            if entry.state is FlowState.SUSPENDED:
                self._set(flow, FlowState.SUSPENDED, FlowState.STOPPING)
                plan = self._running(entry)
                left.collect(self._place.broker_url, plan, self._store)
                left.remove(self._place.broker_url, plan)
                self._set(flow, FlowState.STOPPING, FlowState.STOPPED)
            else:
                assert control.runner is not None
                self._store.flows.set_state(flow, _UP, FlowState.STOPPING)
                control.runner.stop(record.end)
                record.is_handed_over = True

    def suspend(self, flow: str) -> None:
        """End all containers and keep what is unprocessed."""
        with self._operation(flow, Operation.SUSPEND) as (control, _, _):
            self._end(control, flow, _UP, Ending.KEEP)
            self._set(flow, FlowState.STOPPING, FlowState.SUSPENDED)

    def resume(self, flow: str) -> None:
        """Go on with the version that was suspended."""
        with self._operation(flow, Operation.RESUME) as (control, entry, _):
            assert entry.running is not None
            plan = self._prepare(entry.flow_type, self._store.flows.version(flow, entry.running))
            self._set(flow, FlowState.SUSPENDED, FlowState.STARTING)
            self._begin(control, plan)

    def switch(self, flow: str, to: FlowType | None = None) -> FlowEntry:
        """Change the flow's type, to the other one where none is given."""
        with self._operation(flow, Operation.SWITCH) as (_, entry, _):
            other = {
                FlowType.ORDINARY: FlowType.REALTIME,
                FlowType.REALTIME: FlowType.ORDINARY,
            }[entry.flow_type]
            return self._store.flows.set_type(flow, to or other)

    def retry(self, flow: str, number: int | None = None) -> int:
        """Send the message of an error, or of all, to its step again; return how many.

        Raises StateError for a flow that is stopped: it has no queues.
        """
        detail = "all" if number is None else f"error {number}"
        with self._operation(flow, "retry", detail) as (_, entry, _):
            return retrying.retry(self._place.broker_url, self._running(entry), self._store, number)

    # -- looking at it ---------------------------------------------------------------------------

    def status(self, flow: str) -> FlowStatus:
        """One flow as it is now."""
        return self._status(self._store.flows.entry(flow))

    def statuses(self) -> tuple[FlowStatus, ...]:
        """All flows as they are now, in order of name."""
        return tuple(map(self._status, self._store.flows.entries()))

    def logs(self, flow: str, step: str, last: int = 20) -> str:
        """The last lines that a step's containers wrote, since the flow's last start."""
        entry = self._store.flows.entry(flow)
        runner = self._control(entry.name).runner
        return "" if runner is None else runner.logs(step, last)

    def errors(
        self, flow: str, limit: int = MOST_LISTED, after: int = 0
    ) -> tuple[FailureEntry, ...]:
        """What went wrong and was not tried again, the oldest first: a page of it.

        It has at most ``limit`` of those whose number is over ``after``, the last one of a page
        before.
        """
        self._await_cleared(flow)
        return self._store.failures.entries(self._store.flows.entry(flow).name, limit, after)

    def history(self, flow: str | None = None, limit: int = 100) -> tuple[ActionRecord, ...]:
        """What was done to a flow, or to all, the newest first."""
        self._await_cleared(flow)
        return self._store.actions.history(flow, limit)

    def ticks(self, flow: str) -> TickCount | None:
        """What became of the calls by clock since the flow's start; None where there are none."""
        return self._scheduler.count(self._store.flows.entry(flow).name)

    def queues(self, flow: str) -> dict[str, QueueDepth]:
        """Step id -> its queue, as the broker says it; empty for a flow that is stopped."""
        entry = self._store.flows.entry(flow)
        if entry.running is None or entry.state in _PASSING:
            return {}
        plan = self._running(entry)
        url = self._place.broker_url
        with explaining(self._place), closing(connect(url, name="hopbench queues")) as broker:
            look = broker.count if isinstance(broker, Counting) else broker.depth
            return {
                step.id: look(queue)
                for step, queue in zip(plan.definition.steps, plan.wiring.queues, strict=True)
            }

    def entry_route(self, flow: str) -> Route:
        """Where the messages of a flow's first step are published now.

        It changes when a version with other queues is published. Raises StateError for a flow that
        takes no messages.
        """
        entry = self._store.flows.entry(flow)
        if entry.running is None or entry.state is FlowState.STOPPING:
            raise refusal(entry, "takes no messages")
        return self._running(entry).wiring.entry

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """End all flows; they are stopped, and what waited for them is kept as errors. Idempotent.

        Raises the first error, when every flow has been seen to.
        """
        self._is_closed = True
        self._scheduler.close()
        with self._guard:
            flows = list(self._controls.items())
        if not flows:
            return
        with ThreadPoolExecutor(min(16, len(flows)), thread_name_prefix="close") as pool:
            futures = [pool.submit(self._close_one, flow, control) for flow, control in flows]
        for future in futures:
            future.result()

    def __enter__(self) -> Platform:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _close_one(self, flow: str, control: _Control) -> None:
        reason = "the platform was closed"
        with self._held(control, flow):
            entry = self._settled(control, flow)
            if entry.state is FlowState.STOPPED:
                if control.runner is not None:
                    control.runner.ensure_cleared()
                return
            with self._action(flow, "close"):
                if entry.state is FlowState.SUSPENDED:
                    self._set(flow, FlowState.SUSPENDED, FlowState.STOPPING)
                    plan = self._running(entry)
                    left.report(self._place.broker_url, plan, self._store, reason)
                    left.remove(self._place.broker_url, plan)
                else:
                    self._end(control, flow, _UP, Ending.REPORT, reason)
                self._set(flow, FlowState.STOPPING, FlowState.STOPPED, reason=reason)

    def _begin(self, control: _Control, plan: Plan, *, moved_from: Plan | None = None) -> None:
        folder = self._place.folder / plan.flow / f"{self._made}-{next(self._starts)}"
        if self._place.kept is not None:
            # With the one that begins, so many.
            retention.forget_starts(folder.parent, self._place.kept - 1)
        control.runner = Runner(
            plan, self._place, self._store, folder, self._scheduler, moved_from=moved_from
        )
        control.runner.start()

    def _end(
        self,
        control: _Control,
        flow: str,
        expected: frozenset[FlowState],
        ending: Ending,
        reason: str | None = None,
    ) -> str | None:
        assert control.runner is not None
        self._store.flows.set_state(flow, expected, FlowState.STOPPING)
        return control.runner.end(ending, reason)

    def _set(
        self,
        flow: str,
        expected: FlowState,
        to: FlowState,
        running: int | None = None,
        *,
        reason: str | None = None,
    ) -> None:
        self._store.flows.set_state(flow, expected, to, running=running, reason=reason)

    def _prepare(self, flow_type: FlowType, version: Version | Draft) -> Plan:
        return prepare(self._store, self._place, flow_type, version)

    def _running(self, entry: FlowEntry) -> Plan:
        """The queues of the version that runs, or is suspended."""
        if entry.running is None:
            raise refusal(entry, "has no queues")
        version = self._store.flows.version(entry.name, entry.running)
        return outline(self._store, entry.flow_type, version)

    def _status(self, entry: FlowEntry) -> FlowStatus:
        control = self._controls.get(entry.name)
        if entry.running is None or control is None or control.runner is None:
            return FlowStatus(entry)
        return FlowStatus(entry, control.runner.status())

    def _await_cleared(self, flow: str | None) -> None:
        """Let the last work of a stop be done, of one flow or of all."""
        with self._guard:
            controls = [one for name, one in self._controls.items() if flow in {None, name}]
        for control in controls:
            if control.runner is not None:
                control.runner.await_cleared()

    def _control(self, flow: str) -> _Control:
        with self._guard:
            return self._controls.setdefault(flow, _Control())

    def _action(
        self, flow: str | None, operation: str, detail: str = ""
    ) -> AbstractContextManager[Record]:
        if self._is_closed and operation != "close":
            raise StateError("the platform has been closed", remedy="Start another one")
        return recorded(self._store.actions, flow, operation, detail)

    @contextmanager
    def _operation(
        self, flow: str, operation: Operation | str, detail: str = ""
    ) -> Iterator[tuple[_Control, FlowEntry, Record]]:
        """Have a flow to oneself, in a state in which the operation is legal."""
        with self._action(flow, operation, detail) as record, explaining(self._place):
            control = self._control(self._store.flows.entry(flow).name)
            with self._held(control, flow):
                entry = self._settled(control, flow)
                if isinstance(operation, Operation):
                    check(entry, operation)
                yield control, entry, record

    @contextmanager
    def _held(self, control: _Control, flow: str) -> Iterator[None]:
        if not control.lock.acquire(timeout=self._patience_s):
            entry = self._store.flows.entry(flow)
            raise StateError(
                f"flow {flow!r} is {entry.state}, and another operation has had it for more than "
                f"{self._patience_s:g} s",
                remedy="Look at its history, and try again",
            )
        try:
            yield
        finally:
            control.lock.release()

    def _settled(self, control: _Control, flow: str) -> FlowEntry:
        """The flow's entry, when no state is being passed through any more."""
        entry = self._store.flows.entry(flow)
        if entry.state in _PASSING and control.runner is not None:
            # It failed, and is being stopped by its own thread.
            control.runner.join()
            entry = self._store.flows.entry(flow)
        is_run = control.runner is not None and control.runner.is_alive()
        if control.was_started and not is_run:
            # By now its thread has written how it ended, or could not: the store was locked, say.
            entry = self._store.flows.entry(flow)
            if entry.state in _PASSING | _UP:
                recovery.settle(self._store, self._place, entry)
                entry = self._store.flows.entry(flow)
        return entry
