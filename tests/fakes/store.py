"""A clock for stores, and all that a store holds, to compare two of them by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from runtime.definitions import definition_document
from runtime.flows import Draft, Version
from runtime.store import Store

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    """A clock that moves by a second when it is asked."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """The next instant."""
        self.now += timedelta(seconds=1)
        return self.now


def everything(store: Store) -> dict[str, Any]:
    """All that a store holds, without instants; content is read and held against its digest."""
    flows = store.flows
    return {
        "revisions": {
            name: [
                (entry.number, store.revisions.get(name, entry.number).digest)
                for entry in store.revisions.entries(name)
            ]
            for name in store.revisions.components()
        },
        "flows": [
            {
                "entry": entry,
                "draft": _definition(flows.draft(entry.name)),
                "versions": [_definition(version) for version in flows.versions(entry.name)],
                "snapshots": {
                    step: store.snapshots.load(entry.name, step) for step in ("first", "second")
                },
            }
            for entry in flows.entries()
        ],
        "actions": [
            (action.operation, action.outcome, action.error)
            for action in store.actions.history(limit=1000)
        ],
    }


def _definition(held: Draft | Version | None) -> object:
    if held is None:
        return None
    return definition_document(held.definition), held.pins
