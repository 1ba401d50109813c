"""What to say when the broker that a platform had started itself has ended under it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.control.plan import Place
from runtime.errors import BrokerUnavailable, HopbenchError

ENDED = "the broker that this platform had started has ended"
REMEDY = (
    "End `flow serve` and start it again, the same way: its data is in the store, and what "
    "waited is then among the errors of its flow"
)
_NOTICED_WITHIN_S = 10.0
_POLL_S = 0.02


def explained(place: Place, error: HopbenchError) -> HopbenchError:
    """The error, or, where the platform's own broker has ended, what that calls for."""
    if not isinstance(error, BrokerUnavailable) or place.own_broker is None:
        return error
    # A connection breaks a moment before all of the broker's processes are gone.
    deadline = time.monotonic() + _NOTICED_WITHIN_S
    while place.own_broker.is_alive():
        if time.monotonic() > deadline:
            return error
        time.sleep(_POLL_S)
    return BrokerUnavailable(ENDED, where=error.where, remedy=REMEDY)


@contextmanager
def explaining(place: Place) -> Iterator[None]:
    """Raise what is raised within as :func:`explained` has it."""
    try:
        yield
    except BrokerUnavailable as error:
        better = explained(place, error)
        if better is error:
            raise
        raise better from error
