"""What a node's answer about its queues is read as."""

from __future__ import annotations

import pytest

from runtime.broker.census import Held, read_census
from runtime.errors import BrokerError


def test_reads_every_queue() -> None:
    """Each line of the answer is a queue: what waits, and what consumers have."""
    answer = '{ok, "hopbench.a.0.first 3 2\\nhopbench.a.errors 0 0\\n"}'
    assert read_census(answer) == {
        "hopbench.a.0.first": Held(3, 2),
        "hopbench.a.errors": Held(0, 0),
    }


def test_a_broker_without_queues() -> None:
    """An empty list is no queue, and no error."""
    assert read_census("{ok, []}\n") == {}


@pytest.mark.parametrize("answer", ["", "{error, undef}", "erl_call: failed to connect to node"])
def test_what_is_no_answer(answer: str) -> None:
    """Anything else is an error that quotes it."""
    with pytest.raises(BrokerError, match=answer or "nothing"):
        read_census(answer)
