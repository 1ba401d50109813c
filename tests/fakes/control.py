"""A control plane without containers, and a broker's door without a broker."""

from __future__ import annotations

from pathlib import Path

from runtime.api.entrance import Call
from runtime.broker import Message, QueueDepth, Route
from runtime.control.crew import StepStatus
from runtime.errors import HopbenchError
from runtime.flows import LEGAL, Draft, FlowEntry, Operation, Version
from runtime.message import encode_body, encode_headers
from runtime.model import FlowState, FlowType, StepState
from runtime.platform import FlowStatus
from runtime.scheduler import TickCount
from runtime.store import Store
from runtime.store.actions import ActionRecord, Outcome
from runtime.store.failures import MOST_LISTED, FailureEntry
from runtime.store.revisions import RevisionEntry

UP = frozenset({FlowState.RUNNING, FlowState.SLEEPING})


class FakeControl:
    """Changes states in a store, and nothing else. ``error`` is raised by the next operation."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.error: HopbenchError | None = None

    def _begin(self, flow: str | None, operation: str) -> None:
        action = self.store.actions.begin(flow, operation)
        self.store.actions.end(action, Outcome.DONE)
        self.check()

    def check(self) -> None:
        """Raise what was asked for, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def deploy(self, folder: Path) -> RevisionEntry:
        """Really deploys."""
        self._begin(None, "deploy")
        return self.store.revisions.deploy(folder)

    def save_draft(
        self, flow: str, document: object, flow_type: FlowType | None = None, *, where: str = ""
    ) -> Draft:
        """Really saves."""
        self._begin(flow, "draft")
        definition = self.store.definition(document, where=where)
        return self.store.flows.save_draft(flow, definition, flow_type)

    def revert(self, flow: str, number: int) -> Draft:
        """Really reverts."""
        self._begin(flow, "revert")
        return self.store.flows.revert(flow, number)

    def publish(self, flow: str) -> Version:
        """Really publishes."""
        self._begin(flow, "publish")
        return self.store.flows.publish(flow)

    def start(self, flow: str) -> None:
        """Say that it runs."""
        self._begin(flow, "start")
        newest = self.store.flows.entry(flow).published
        to = LEGAL[Operation.START]
        self.store.flows.set_state(flow, to, FlowState.STARTING, running=newest)
        self.store.flows.set_state(flow, {FlowState.STARTING}, FlowState.RUNNING)

    def stop(self, flow: str) -> None:
        """Say that it is stopped."""
        self._end(flow, Operation.STOP, FlowState.STOPPED)

    def suspend(self, flow: str) -> None:
        """Say that it is suspended."""
        self._end(flow, Operation.SUSPEND, FlowState.SUSPENDED)

    def _end(self, flow: str, operation: Operation, to: FlowState) -> None:
        self._begin(flow, operation)
        self.store.flows.set_state(flow, LEGAL[operation], FlowState.STOPPING)
        self.store.flows.set_state(flow, {FlowState.STOPPING}, to)

    def resume(self, flow: str) -> None:
        """Say that it runs again."""
        self._begin(flow, "resume")
        self.store.flows.set_state(flow, LEGAL[Operation.RESUME], FlowState.STARTING)
        self.store.flows.set_state(flow, {FlowState.STARTING}, FlowState.RUNNING)

    def switch(self, flow: str, to: FlowType | None = None) -> FlowEntry:
        """Really switch."""
        self._begin(flow, "switch")
        assert to is not None
        return self.store.flows.set_type(flow, to)

    def retry(self, flow: str, number: int | None = None) -> int:
        """Forget failures."""
        self._begin(flow, "retry")
        numbers = [one.id for one in self.errors(flow)] if number is None else [number]
        for each in numbers:
            self.store.failures.cause(flow, each)
        return self.store.failures.remove(flow, numbers)

    def status(self, flow: str) -> FlowStatus:
        """A step with one container, while the flow is up."""
        self.check()
        entry = self.store.flows.entry(flow)
        step = StepStatus("first", "echo", "abc", StepState.RUNNING, ("echo-1",), 1, "it fell")
        return FlowStatus(entry, (step,) if entry.state in UP else ())

    def statuses(self) -> tuple[FlowStatus, ...]:
        """Of all flows."""
        self.check()
        return tuple(self.status(entry.name) for entry in self.store.flows.entries())

    def logs(self, flow: str, step: str, last: int = 20) -> str:
        """As many lines as are asked for."""
        self.check()
        return "\n".join(f"{flow} {step} {line}" for line in range(last))

    def errors(
        self, flow: str, limit: int = MOST_LISTED, after: int = 0
    ) -> tuple[FailureEntry, ...]:
        """Those that the store has."""
        self.check()
        return self.store.failures.entries(flow, limit, after)

    def history(self, flow: str | None = None, limit: int = 100) -> tuple[ActionRecord, ...]:
        """What was done until now."""
        self.check()
        return self.store.actions.history(flow, limit)

    def queues(self, flow: str) -> dict[str, QueueDepth]:
        """One queue, with a message."""
        self.check()
        return {"first": QueueDepth(1, 1)}

    def ticks(self, flow: str) -> TickCount | None:
        """Some, while the flow is up."""
        self.check()
        is_up = self.store.flows.entry(flow).state in UP
        return TickCount(7, 2, 1, "it was full", (1_000, 3_000_000)) if is_up else None

    def entry_route(self, flow: str) -> Route:
        """A route to nowhere."""
        return Route(f"hopbench.{flow}", "0.first")


class FakeDoors:
    """Settles calls at once. ``answer`` is what the flow replies; None: it does not."""

    def __init__(self) -> None:
        self.accepts = True
        self.error: HopbenchError | None = None
        self.answer: dict[str, object] | None = None
        self.answer_headers: dict[str, str | int] = {}
        self.calls: list[Call] = []
        self.forgotten: list[Call] = []

    def submit(self, call: Call) -> None:
        """Take a call."""
        self.calls.append(call)
        if self.error is not None:
            call.accepted.set_exception(self.error)
            return
        call.accepted.set_result(self.accepts)
        if call.wants_reply and self.answer is not None:
            headers = encode_headers(call.ids, self.answer_headers)
            call.reply.set_result(Message(encode_body(self.answer), headers))

    def forget(self, call: Call) -> None:
        """Nobody waits for it any more."""
        self.forgotten.append(call)
