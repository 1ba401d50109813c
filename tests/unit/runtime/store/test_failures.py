"""Failures: what went wrong, with the message, until it was tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import InputError
from runtime.flows import Definition
from runtime.store import Store
from runtime.store.failures import MOST_BYTES, Failure

WHOLE: dict[str, Any] = {
    "key": "0.first",
    "body": "e30=",
    "headers": {"n": 1},
    "persistent": False,
    "bytes": 2,
    "cut": False,
}


@pytest.fixture
def flow(store: Store, two_steps: Definition) -> str:
    """A flow that has failures."""
    store.flows.save_draft("flow", two_steps)
    store.failures.add(
        "flow",
        [
            Failure("first", "ValueError: no", "line 1", WHOLE),
            Failure("first", "too large", cause={**WHOLE, "cut": True, "bytes": 9}),
            Failure("second", "a thread of its own died"),
        ],
    )
    return "flow"


def test_failures_are_listed_with_what_can_be_tried_again(store: Store, flow: str) -> None:
    """In order, with the message's size; only a whole message can be tried again."""
    found = [
        (one.id, one.step, one.error, one.trace, one.message_bytes, one.is_whole)
        for one in store.failures.entries(flow)
    ]
    assert found == [
        (1, "first", "ValueError: no", "line 1", 2, True),
        (2, "first", "too large", "", 9, False),
        (3, "second", "a thread of its own died", "", None, False),
    ]
    assert store.failures.entries("other") == ()
    assert [one.id for one in store.failures.entries(flow, limit=1)] == [1]
    assert [one.id for one in store.failures.entries(flow, limit=1, after=1)] == [2]


def test_a_failures_message_is_what_was_kept(store: Store, flow: str) -> None:
    """The message comes back as it was reported; an id that is none is an error."""
    assert store.failures.cause(flow, 1) == WHOLE
    assert store.failures.cause(flow, 3) is None
    with pytest.raises(InputError, match="has no error 9"):
        store.failures.cause(flow, 9)
    with pytest.raises(InputError, match="has no error 1"):
        store.failures.cause("other", 1)


def test_numbers_are_never_used_again(store: Store, flow: str) -> None:
    """What was removed leaves its number: an id that somebody noted stays about that message."""
    assert store.failures.remove(flow, [2, 3, 77]) == 2
    store.failures.add(flow, [Failure("second", "again")])
    assert [one.id for one in store.failures.entries(flow)] == [1, 4]
    assert store.failures.count(flow) == 2


def test_failures_outlive_the_platform(store: Store, flow: str, tmp_path: Path) -> None:
    """They are there when the store is opened again."""
    store.close()
    with Store.open(tmp_path / "store") as again:
        assert [one.id for one in again.failures.entries(flow)] == [1, 2, 3]
        assert again.failures.cause(flow, 1) == WHOLE


def test_what_cannot_be_kept_changes_nothing(store: Store, flow: str) -> None:
    """One cause that is too large: none of the failures beside it is kept either."""
    large = {"body": "x" * MOST_BYTES}
    with pytest.raises(InputError, match="too large to be kept"):
        store.failures.add(flow, [Failure("first", "fine"), Failure("first", "large", cause=large)])
    assert store.failures.count(flow) == 3
