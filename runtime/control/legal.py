"""What may be done to a flow in which state, and the record of what was done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from runtime.errors import StateError
from runtime.flows import LEGAL, FlowEntry, Operation
from runtime.model import FlowState
from runtime.store.actions import Actions, Outcome

_DONE: Mapping[Operation, str] = {
    Operation.DRAFT: "edited",
    Operation.REVERT: "reverted",
    Operation.PUBLISH: "published",
    Operation.START: "started",
    Operation.STOP: "stopped",
    Operation.SUSPEND: "suspended",
    Operation.RESUME: "resumed",
    Operation.SWITCH: "switched",
}
_INSTEAD: Mapping[FlowState, str] = {
    FlowState.STOPPED: "Start it first",
    FlowState.STARTING: "Wait until it runs",
    FlowState.RUNNING: "Stop it first",
    FlowState.SLEEPING: "Stop it first",
    FlowState.SUSPENDED: "Resume or stop it first",
    FlowState.STOPPING: "Wait until it is stopped",
}
_INSTEAD_OF: Mapping[tuple[Operation, FlowState], str] = {
    (Operation.STOP, FlowState.STOPPED): "There is nothing to stop",
    (Operation.START, FlowState.RUNNING): "It runs already; stop it first to start it anew",
    (Operation.START, FlowState.SLEEPING): "It waits for messages; stop it first to start it anew",
    (Operation.START, FlowState.SUSPENDED): "Resume it",
    (Operation.RESUME, FlowState.STOPPED): "Start it",
    (Operation.RESUME, FlowState.RUNNING): "It runs already",
    (Operation.RESUME, FlowState.SLEEPING): "It waits for messages already",
    (Operation.SUSPEND, FlowState.SUSPENDED): "It is suspended already",
}


def check(entry: FlowEntry, operation: Operation) -> None:
    """Raise StateError, which says what to do instead, for what the flow's state forbids."""
    if entry.state not in LEGAL[operation]:
        raise refusal(
            entry, f"cannot be {_DONE[operation]}", _INSTEAD_OF.get((operation, entry.state))
        )
    if operation in {Operation.START, Operation.SWITCH} and entry.published is None:
        raise StateError(
            f"flow {entry.name!r} has no published version and cannot be {_DONE[operation]}",
            remedy="Publish its draft first" if entry.has_draft else "Save a draft, and publish it",
        )


def refusal(entry: FlowEntry, what: str, remedy: str | None = None) -> StateError:
    """The error for what a flow's state forbids."""
    return StateError(
        f"flow {entry.name!r} is {entry.state} and {what}",
        remedy=remedy or _INSTEAD[entry.state],
    )


class Record:
    """The row of an operation under way, which is ended once."""

    def __init__(self, actions: Actions, action: int) -> None:
        self._actions = actions
        self._action = action
        self._lock = threading.Lock()
        self._is_ended = False
        self.is_handed_over = False
        """Somebody else ends it, when what the operation has left to do is done."""

    def end(self, outcome: Outcome = Outcome.DONE, error: str | None = None) -> None:
        """Write how the operation ended; nothing when that is written already."""
        with self._lock:
            if not self._is_ended:
                self._actions.end(self._action, outcome, error)
                self._is_ended = True


@contextmanager
def recorded(actions: Actions, flow: str | None, operation: str, detail: str) -> Iterator[Record]:
    """A row of the history, written before what is done inside and after it."""
    record = Record(actions, actions.begin(flow, operation, detail))
    try:
        yield record
    except BaseException as error:
        record.end(Outcome.FAILED, str(error) or type(error).__name__)
        raise
    if not record.is_handed_over:
        record.end()
