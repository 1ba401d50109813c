"""Puts in order what a platform left that ended without closing: a crash, a kill, a power cut.

And, within one that goes on, a flow whose thread has ended when the store could not be written.
"""

from __future__ import annotations

from collections.abc import Iterable

from runtime.control import left
from runtime.control.plan import Place, Plan, outline
from runtime.errors import BrokerError, HopbenchError
from runtime.flows import FlowEntry, Operation
from runtime.launch import leftovers
from runtime.model import FlowState
from runtime.store import Store
from runtime.store.actions import Outcome

REASON = "the platform ended while the flow was"
CLEARING = "the platform ended before it had deleted the stopped flow's queues"
BROKER_ENDED = "the platform's broker ended while the flow was up"
UNWRITTEN = "the store could not be written when the flow ended, which was"
GONE = "the broker does not have its queues, so what waited in them is gone with the one that had"


def recover(store: Store, place: Place) -> tuple[str, ...]:
    """Stop every flow that is not, and end every action that was cut short; say what was found.

    Containers of a dead owner are removed. Where the broker, or its data, outlived the platform,
    what waits in the flows' queues is kept as errors, and the queues are removed.
    """
    unfinished = store.actions.unfinished()
    entries = store.flows.entries()
    flows = [entry for entry in entries if entry.state is not FlowState.STOPPED]
    has_earlier = place.own_broker is not None and place.own_broker.has_earlier
    if not unfinished and not flows and not has_earlier:
        return ()
    said = [str(one) for one in leftovers.clean().leftovers]
    stops = {action.flow for action in unfinished if action.operation == Operation.STOP}
    for entry in entries:
        if entry.state is FlowState.STOPPED and entry.name in stops:
            said += _recover_stopped(store, place, entry, CLEARING)
        elif entry.state is FlowState.STOPPED and has_earlier:
            # Its broker ended first: the flow was stopped, and nobody could look at what waited.
            said += _recover_stopped(store, place, entry, BROKER_ENDED)
    for entry in flows:
        reason = _stop(store, place, entry, f"{REASON} {entry.state}", gone=GONE)
        said.append(f"flow {entry.name}: {reason}")
    for action in unfinished:
        store.actions.end(action.id, Outcome.INTERRUPTED, "the platform ended first")
        said.append(f"{action.operation} of {action.flow or 'no flow'}: interrupted")
    return tuple(said)


def settle(store: Store, place: Place, entry: FlowEntry) -> None:
    """Stop a flow that nothing runs any more. What waits for it is kept as errors."""
    _stop(store, place, entry, f"{UNWRITTEN} {entry.state}", gone="")


def has_rest(store: Store, place: Place) -> bool:
    """Whether the broker still has queues of a flow, or cannot be asked."""
    plans = [plan for entry in store.flows.entries() for plan in _all_plans(store, entry)]
    try:
        return any(left.are_there(place.broker_url, plans))
    except BrokerError:
        return True


def _stop(store: Store, place: Place, entry: FlowEntry, reason: str, *, gone: str) -> str:
    """Keep what waits, and say that the flow is stopped; why. ``gone`` is for lost queues."""
    try:
        count = _save_messages(store, place, _plans(store, entry), reason)
    except HopbenchError as error:
        reason = f"{reason}; what waited for it could not be looked at: {error}"
    else:
        if count is None and gone:
            reason = f"{reason}; {gone}"
        elif count:
            reason = f"{reason}; {count} messages that waited are among its errors"
    store.flows.set_state(entry.name, entry.state, FlowState.STOPPED, reason=reason)
    return reason


def _recover_stopped(store: Store, place: Place, entry: FlowEntry, reason: str) -> list[str]:
    """Keep what still waits for a flow that is stopped already; what there is to say of it."""
    try:
        count = _save_messages(store, place, _all_plans(store, entry), reason)
    except HopbenchError as error:
        return [f"flow {entry.name}: what waited for it could not be looked at: {error}"]
    if not count:
        return []
    reason = f"{reason}; {count} messages that waited are among its errors"
    store.flows.set_state(entry.name, FlowState.STOPPED, FlowState.STOPPED, reason=reason)
    return [f"flow {entry.name}: {reason}"]


def _save_messages(store: Store, place: Place, plans: Iterable[Plan], reason: str) -> int | None:
    """Keep what waits as failures; how many, None where the broker has none of the queues."""
    url = place.broker_url
    plans = list(plans)
    there = left.are_there(url, plans)
    count = 0
    for plan in plans:
        count += left.report(url, plan, store, reason)
        left.remove(url, plan)
    return count if any(there) else None


def _plans(store: Store, entry: FlowEntry) -> list[Plan]:
    """Whose queues a flow may have that was up."""
    # A publish that was cut short may have made the queues of the version after the one that runs.
    numbers = sorted(filter(None, {entry.running, entry.published}))
    return _distinct(
        outline(store, entry.flow_type, store.flows.version(entry.name, number))
        for number in numbers
    )


def _all_plans(store: Store, entry: FlowEntry) -> list[Plan]:
    """Whose queues a flow may have had at any time."""
    return _distinct(
        outline(store, entry.flow_type, version) for version in store.flows.versions(entry.name)
    )


def _distinct(plans: Iterable[Plan]) -> list[Plan]:
    return list({plan.name: plan for plan in plans}.values())
