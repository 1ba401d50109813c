"""What the HTTP API needs of the control plane, and nothing else.

:class:`runtime.platform.Platform` has it; tests bring a smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runtime.broker import QueueDepth, Route
from runtime.flows import Draft, FlowEntry, Version
from runtime.model import FlowType
from runtime.platform import FlowStatus
from runtime.scheduler import TickCount
from runtime.store.actions import ActionRecord
from runtime.store.failures import MOST_LISTED, FailureEntry
from runtime.store.revisions import RevisionEntry


class Control(Protocol):
    """The operations of a platform; each returns when it is done.

    Raises StateError where the flow's state does not allow it.
    """

    def deploy(self, folder: Path) -> RevisionEntry:
        """Keep a component folder as the component's next revision."""

    def save_draft(
        self, flow: str, document: object, flow_type: FlowType | None = None, *, where: str = ""
    ) -> Draft:
        """Replace the flow's draft; a new flow is made. Raises DefinitionError."""

    def revert(self, flow: str, number: int) -> Draft:
        """Make an older version the draft."""

    def publish(self, flow: str) -> Version:
        """Make the draft the next version; what runs is replaced by it."""

    def start(self, flow: str) -> None:
        """Start a stopped flow."""

    def stop(self, flow: str) -> None:
        """Stop it, and drop what is unprocessed."""

    def suspend(self, flow: str) -> None:
        """Stop its containers, and keep what is unprocessed."""

    def resume(self, flow: str) -> None:
        """Go on with a suspended flow."""

    def switch(self, flow: str, to: FlowType | None = None) -> FlowEntry:
        """Change the type of a stopped flow."""

    def retry(self, flow: str, number: int | None = None) -> int:
        """Publish the input of one error, or of all, again; how many."""

    def status(self, flow: str) -> FlowStatus:
        """One flow with its steps."""

    def statuses(self) -> Sequence[FlowStatus]:
        """All flows, in order of name."""

    def logs(self, flow: str, step: str, last: int = 20) -> str:
        """The last lines that a step's containers wrote."""

    def errors(self, flow: str, limit: int = MOST_LISTED, after: int = 0) -> Sequence[FailureEntry]:
        """A page of what went wrong with messages, oldest first: numbers over ``after``."""

    def history(self, flow: str | None = None, limit: int = 100) -> Sequence[ActionRecord]:
        """The newest actions, newest first."""

    def queues(self, flow: str) -> Mapping[str, QueueDepth]:
        """Each step's queue, by the step's id."""

    def ticks(self, flow: str) -> TickCount | None:
        """What became of the calls by clock since the flow's start; None where there are none."""

    def entry_route(self, flow: str) -> Route:
        """Where the first step's messages are published now. Raises StateError."""
