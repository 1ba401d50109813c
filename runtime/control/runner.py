"""One running flow: a thread that owns its broker connection, its containers and its end.

Whatever happens, the thread ends the containers it started and leaves the flow in a state that says
what it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from runtime.broker import Broker, connect
from runtime.control import left
from runtime.control.broker_end import explained
from runtime.control.collector import Collector
from runtime.control.crew import Crew, StepStatus
from runtime.control.lifecycle import Lifecycle, OneByOne, Realtime, Warm
from runtime.control.plan import Place, Plan
from runtime.control.ticking import Ticker
from runtime.errors import FlowError, HopbenchError, StateError, StoreError
from runtime.model import FlowState, FlowType, StepState
from runtime.modes import Deployment
from runtime.scheduler import Scheduler
from runtime.store import Store

_UP = frozenset({FlowState.RUNNING, FlowState.SLEEPING})
_END_TIMEOUT_S = 120.0


class Ending(StrEnum):
    """What becomes of the messages that wait when a flow ends."""

    DROP = "drop"
    """They are gone, with the queues: an explicit stop."""
    KEEP = "keep"
    """They stay where they are: a suspend, or a publish."""
    REPORT = "report"
    """They are kept as failures, to be tried again: nobody asked for the end."""


class Runner:
    """Runs one flow from :meth:`start` to :meth:`end`, or to a failure that it records itself."""

    def __init__(
        self,
        plan: Plan,
        place: Place,
        store: Store,
        folder: Path,
        scheduler: Scheduler,
        *,
        moved_from: Plan | None,
    ) -> None:
        self.plan = plan
        self._place = place
        self._store = store
        self._folder = folder
        self._scheduler = scheduler
        self._moved_from = moved_from
        self._begun = threading.Event()
        self._down = threading.Event()
        self._on_cleared: Callable[[], None] | None = None
        self._ending: Ending | None = None
        self._reason: str | None = None
        self._failure: HopbenchError | None = None
        self._broker: Broker | None = None
        self._crew: Crew | None = None
        self._is_busy = False
        self._told = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"flow-{plan.flow}", daemon=True)

    # -- for the platform ------------------------------------------------------------------------

    def start(self) -> None:
        """Return when the flow runs. Raises what kept it from it; it is stopped by then."""
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            self.join()
            raise self._failure

    def end(self, ending: Ending, reason: str | None = None) -> str | None:
        """End it, and return when no container is left; what went wrong with its shutdown hook.

        The flow's state is the caller's to set, except where this raises: then it is stopped.
        """
        self._reason = reason
        self._ending = ending
        with self._told:
            if self._broker is not None:
                self._broker.wake()
        if not self._down.wait(_END_TIMEOUT_S):
            raise self._endless()
        if self._failure is not None:
            self._on_cleared = None
            raise self._failure
        return self._reason

    def stop(self, on_cleared: Callable[[], None]) -> None:
        """End it, and return when no container is left and the flow is stopped.

        What its steps had left for the platform is collected, and its queues are deleted, while
        nobody waits; then ``on_cleared`` is called, by another thread.
        """
        self._on_cleared = on_cleared
        self.end(Ending.DROP)

    def await_cleared(self) -> None:
        """Return when a stop's last work is done; at once where there is none under way."""
        if self._down.is_set():
            self.join()

    def ensure_cleared(self) -> None:
        """Do the last work of a stop where it could not be done. Raises what keeps it from it."""
        self.join()
        if self._on_cleared is not None:
            left.collect(self._place.broker_url, self.plan, self._store)
            left.remove(self._place.broker_url, self.plan)
            self._on_cleared()
            self._on_cleared = None

    def join(self) -> None:
        """Wait for the thread's end. Raises FlowError when it takes too long."""
        self._thread.join(_END_TIMEOUT_S)
        if self._thread.is_alive():
            raise self._endless()

    def is_alive(self) -> bool:
        """Whether its thread still runs, or sees to the flow's end."""
        return self._thread.is_alive()

    def status(self) -> tuple[StepStatus, ...]:
        """Each step as it is now."""
        if self._crew is not None:
            return self._crew.status()
        return tuple(
            StepStatus(step.id, step.component, revision.digest, StepState.SLEEPING)
            for step, revision in zip(self.plan.definition.steps, self.plan.revisions, strict=True)
        )

    def logs(self, step: str, last: int) -> str:
        """The last lines of a step's containers, also after their end."""
        return "" if self._crew is None else self._crew.logs(step, last)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._live()
        except HopbenchError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # a thread has nobody who would see it
            unexpected = FlowError(
                f"an error within the platform: {type(error).__name__}: {error}",
                where=f"flow {self.plan.flow!r}",
                remedy="Report it",
            )
            unexpected.__cause__ = error
            self._fail(unexpected)
        finally:
            self._begun.set()
            self._down.set()

    def _live(self) -> None:
        flow = self.plan.flow
        with closing(connect(self._place.broker_url, name=f"hopbench {flow}")) as broker:
            deployment = self.plan.deployment(self._place, broker, self._store, self._folder)
            deployment.declare()
            if self._moved_from is not None:
                left.move(self._place.broker_url, self._moved_from, self.plan, self._store)
                left.remove(self._place.broker_url, self._moved_from)
            collector = Collector(broker, self._store, flow, deployment.wiring)
            collector.subscribe()
            definition, wiring = self.plan.definition, deployment.wiring
            ticker = Ticker(self._scheduler, broker, flow, definition, wiring)
            crew = self._crew = Crew(
                deployment, self._store, grace_s=self._place.grace_s, kept=self._place.kept
            )
            try:
                lifecycle = self._lifecycle(deployment, crew, collector, ticker)
                lifecycle.begin(self._place.start_timeout_s)
                is_realtime = self.plan.flow_type is FlowType.REALTIME
                self._set_state(
                    {FlowState.STARTING}, FlowState.RUNNING if is_realtime else FlowState.SLEEPING
                )
                with self._told:
                    self._broker = broker
                ticker.begin()
                self._begun.set()
                while self._ending is None:
                    ticker.turn()
                    collector.turn(lifecycle.turn())
                ticker.flush()
            finally:
                ticker.end()
                with self._told:
                    self._broker = None
                crew.end()
            if self._ending is Ending.DROP:
                self._reason = crew.run_shutdown_hook(lambda: collector.turn(0.0))
                # After a power cut a flow that was stopping is stopped, too: no need to wait for
                # the disk, which the engine keeps busy now.
                self._store.flows.set_state(
                    flow,
                    FlowState.STOPPING,
                    FlowState.STOPPED,
                    reason=self._reason,
                    is_synced=False,
                )
                self._down.set()
                self._clear(deployment, collector)
            else:
                collector.finish()
        if self._ending is Ending.REPORT:
            self._report()

    def _lifecycle(
        self, deployment: Deployment, crew: Crew, collector: Collector, ticker: Ticker
    ) -> Lifecycle:
        def meanwhile() -> None:
            ticker.turn()
            collector.turn(0.0)

        if self.plan.flow_type is FlowType.REALTIME:
            return Realtime(deployment, crew, meanwhile)
        idle_s = self.plan.definition.shutdown_timeout_s
        if idle_s > 0:
            return Warm(deployment, crew, idle_s, self._tell, meanwhile)
        return OneByOne(deployment, crew, self._tell, meanwhile, lambda: self._ending is not None)

    def _report(self) -> None:
        """Keep what waits in the queues as failures, and remove them."""
        url = self._place.broker_url
        left.report(url, self.plan, self._store, self._reason or "the flow was stopped")
        left.remove(url, self.plan)

    def _clear(self, deployment: Deployment, collector: Collector) -> None:
        """Keep what had gone wrong in a flow that is stopped by now, and delete its queues."""
        try:
            collector.finish()
            deployment.remove()
            if self._on_cleared is not None:
                self._on_cleared()
                self._on_cleared = None
        except HopbenchError as error:
            why = explained(self._place, error)
            reason = f"what its stop has left is cleared away at its next start: {why}"
            with contextlib.suppress(StoreError):
                self._set_state({FlowState.STOPPED}, FlowState.STOPPED, reason=reason)

    def _endless(self) -> FlowError:
        return FlowError(
            f"has not ended within {_END_TIMEOUT_S:g} s",
            where=f"flow {self.plan.flow!r}",
            remedy="See the log of its steps; ending the platform ends them, too",
        )

    def _fail(self, error: HopbenchError) -> None:
        """Record a failure, keep what waits, and stop the flow."""
        # First, so that who waits for us learns of it whatever comes next.
        error = self._failure = explained(self._place, error)
        reason = str(error)
        try:
            self._set_state(_UP | {FlowState.STARTING}, FlowState.STOPPING)
            self._reason = reason
            self._report()
        except HopbenchError as second:
            reason = f"{reason}; what waits in its queues could not be looked at: {second}"
        with contextlib.suppress(StoreError):
            # What the store does not know, the next operation finds: a flow that nothing runs.
            self._set_state(set(FlowState) - {FlowState.STOPPED}, FlowState.STOPPED, reason=reason)

    def _tell(self, is_busy: bool) -> None:
        """An ordinary flow runs, or sleeps. Not told to who waits for its end."""
        if is_busy != self._is_busy:
            self._is_busy = is_busy
            states = (FlowState.SLEEPING, FlowState.RUNNING)
            self._set_state({states[not is_busy]}, states[is_busy])

    def _set_state(
        self, expected: Collection[FlowState], to: FlowState, *, reason: str | None = None
    ) -> None:
        """Change the state if it is an expected one: an operation may be under way by now."""
        entry = self._store.flows.entry(self.plan.flow)
        if entry.state not in expected:
            return
        try:
            self._store.flows.set_state(self.plan.flow, expected, to, reason=reason)
        except StateError:
            # It changed since we looked: whoever changed it knows what comes next.
            return
