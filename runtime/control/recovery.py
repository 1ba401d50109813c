"""Puts in order what a platform left that ended without closing: a crash, a kill, a power cut."""

from __future__ import annotations

from runtime.control import left
from runtime.control.plan import Place, outline
from runtime.errors import HopbenchError
from runtime.flows import FlowEntry
from runtime.launch import leftovers
from runtime.model import FlowState
from runtime.store import Store
from runtime.store.actions import Outcome

REASON = "the platform ended while the flow was"
GONE = "the broker does not have its queues, so what waited in them is gone with the one that had"


def recover(store: Store, place: Place) -> tuple[str, ...]:
    """Stop every flow that is not, and end every action that was cut short; say what was found.

    Containers of a dead owner are removed. Where the broker outlived the platform, what waits in
    the flows' queues is kept as errors, and the queues are removed.
    """
    unfinished = store.actions.unfinished()
    flows = [entry for entry in store.flows.entries() if entry.state is not FlowState.STOPPED]
    if not unfinished and not flows:
        return ()
    said = [str(one) for one in leftovers.clean().leftovers]
    for entry in flows:
        reason = f"{REASON} {entry.state}"
        try:
            count = _save_messages(store, place, entry, reason)
        except HopbenchError as error:
            reason = f"{reason}; what waited for it could not be looked at: {error}"
        else:
            if count is None:
                reason = f"{reason}; {GONE}"
            elif count:
                reason = f"{reason}; {count} messages that waited are among its errors"
        store.flows.set_state(entry.name, entry.state, FlowState.STOPPED, reason=reason)
        said.append(f"flow {entry.name}: {reason}")
    for action in unfinished:
        store.actions.end(action.id, Outcome.INTERRUPTED, "the platform ended first")
        said.append(f"{action.operation} of {action.flow or 'no flow'}: interrupted")
    return tuple(said)


def _save_messages(store: Store, place: Place, entry: FlowEntry, reason: str) -> int | None:
    """Keep what waits as failures; how many, None where the broker has none of the queues."""
    # A publish that was cut short may have made the queues of the version after the one that runs.
    numbers = {entry.running, entry.published} - {None}
    count = 0
    is_there = False
    seen = set()
    for number in sorted(filter(None, numbers)):
        plan = outline(store, entry.flow_type, store.flows.version(entry.name, number))
        if plan.name not in seen:
            seen.add(plan.name)
            is_there |= left.is_there(place.broker_url, plan)
            count += left.report(place.broker_url, plan, store, reason)
            left.remove(place.broker_url, plan)
    return count if is_there else None
