"""What the HTTP API needs of the control plane, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from runtime.flows import Definition, Draft, Version
from runtime.model import FlowType
from runtime.store.actions import ActionRecord
from runtime.store.revisions import RevisionEntry


class Control(Protocol):
    """The operations of a platform; each returns when it is done.

    Raises StateError where the flow's state does not allow it. What is shown to people (states,
    errors, queues) comes as frozen dataclasses whose fields go into the answer as they are named.
    """

    def deploy(self, folder: Path) -> RevisionEntry:
        """Keep a component folder as the component's next revision."""

    def save_draft(
        self, flow: str, definition: Definition, flow_type: FlowType | None = None
    ) -> Draft:
        """Replace the flow's draft; a new flow is made."""

    def publish(self, flow: str) -> Version:
        """Make the draft the next version; what runs is replaced by it."""

    def revert(self, flow: str, number: int) -> Draft:
        """Make an older version the draft."""

    def start(self, flow: str) -> object:
        """Start a stopped flow."""

    def stop(self, flow: str) -> object:
        """Stop it, and drop what is unprocessed."""

    def suspend(self, flow: str) -> object:
        """Stop its containers, and keep what is unprocessed."""

    def resume(self, flow: str) -> object:
        """Go on with a suspended flow."""

    def switch(self, flow: str, to: FlowType) -> object:
        """Change the type of a stopped flow."""

    def status(self, flow: str | None = None) -> Any:
        """One flow with its steps; all flows without a name."""

    def logs(self, flow: str, step: str, last: int = 20) -> str:
        """The last lines that a step's containers wrote."""

    def errors(self, flow: str) -> Sequence[Any]:
        """What went wrong with messages, oldest first, each with its number."""

    def retry(self, flow: str, number: int | None = None) -> int:
        """Publish the input of one error, or of all, again; how many."""

    def queues(self, flow: str) -> Sequence[Any]:
        """How full each step's queue is."""

    def history(self, flow: str | None = None) -> Sequence[ActionRecord]:
        """The newest actions, newest first."""
