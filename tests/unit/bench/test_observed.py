"""What the messages say: fields of bodies, with the instants of the spans."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from bench.observed import Outlet
from runtime.broker import Broker, Delivery, Message
from runtime.errors import MeasurementError
from runtime.spans import EMIT, PROCESS
from runtime.spool import DTYPE


class Queue:
    """As much of a broker as an outlet needs."""

    def __init__(self, *bodies: bytes) -> None:
        self._deliveries = [
            Delivery(
                Message(body, {"threadId": "07", "messageId": f"{number:02x}"}), None, 0, False
            )
            for number, body in enumerate(bodies, start=1)
        ]

    def get(self, queue: str) -> Delivery | None:
        """The next one."""
        assert queue == "q"
        return self._deliveries.pop(0) if self._deliveries else None


def test_fields_are_kept_as_text_with_the_instant_of_the_emit() -> None:
    """Strings stay, other values are JSON, what is not there is empty; one row a field."""
    outlet = Outlet(("revision", "name"), "q")
    queue = Queue(b'{"body": {"revision": 2, "name": "x"}}', b'{"body": {"revision": [1]}}')
    assert outlet.drain(cast("Broker", queue)) == 2
    records = np.zeros(2, dtype=DTYPE)
    records["kind"], records["message"], records["t1_ns"] = (EMIT, PROCESS), (1, 2), (55, 66)
    table = outlet.table(records)
    assert table["field"].to_pylist() == ["revision", "name"] * 2
    assert table["value"].to_pylist() == ["2", "x", "[1]", ""]
    assert table["message"].tolist() == [1, 1, 2, 2]
    assert table["trace"].tolist() == [7] * 4
    # No EMIT record of the second message: its instant is not known.
    assert table["at_ns"].tolist() == [55, 55, 0, 0]


def test_a_body_that_is_no_object_has_no_field() -> None:
    """It is a message all the same."""
    outlet = Outlet(("revision",), "q")
    outlet.drain(cast("Broker", Queue(b'{"body": [1, 2]}')))
    assert outlet.table(np.zeros(0, dtype=DTYPE))["value"].to_pylist() == [""]


def test_what_is_no_message_is_an_error_that_names_the_queue() -> None:
    """A step's messages are JSON objects with ids; anything else was put there by another."""
    with pytest.raises(MeasurementError, match=r"^q: a message that the last step emitted"):
        Outlet(("revision",), "q").drain(cast("Broker", Queue(b"no JSON")))


def test_without_fields_nothing_is_taken() -> None:
    """The queue does not even exist then."""
    assert Outlet((), "q").drain(cast("Broker", Queue(b"{}"))) == 0
