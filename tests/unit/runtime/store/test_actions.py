"""The platform's history: begun, ended, and what was cut short."""

from __future__ import annotations

import pytest

from runtime.errors import InputError, StateError
from runtime.store import Store
from runtime.store.actions import ActionRecord, Outcome


def test_an_action_has_a_beginning_and_an_end(store: Store) -> None:
    """Written before and after, with instants, outcome and error."""
    number = store.actions.begin("flow", "start", "version 2")
    begun = "2026-11-24T12:00:01.000000+00:00"
    record = ActionRecord(number, "flow", "start", "version 2", begun, None, None, None)
    assert store.actions.unfinished() == (record,)
    ended = store.actions.end(number, Outcome.FAILED, "no engine")
    assert (ended.outcome, ended.error) == (Outcome.FAILED, "no engine")
    assert ended.ended_at == "2026-11-24T12:00:02.000000+00:00"
    assert store.actions.unfinished() == ()
    assert store.actions.history() == (ended,)


def test_an_action_ends_once(store: Store) -> None:
    """A second end is refused, and so is the end of what never began."""
    number = store.actions.begin(None, "deploy", "mapper")
    ended = store.actions.end(number, Outcome.DONE)
    with pytest.raises(StateError, match=f"action {number} ended already: done"):
        store.actions.end(number, Outcome.INTERRUPTED)
    assert store.actions.history() == (ended,)
    with pytest.raises(InputError, match="there is no action 99"):
        store.actions.end(99, Outcome.DONE)


def test_the_history_is_newest_first_and_can_be_of_one_flow(store: Store) -> None:
    """With a limit; actions about no flow are in the whole history only."""
    for flow, operation in (("a", "draft"), ("b", "draft"), (None, "deploy"), ("a", "publish")):
        store.actions.begin(flow, operation)
    assert [action.operation for action in store.actions.history(limit=2)] == ["publish", "deploy"]
    assert [action.operation for action in store.actions.history("a")] == ["publish", "draft"]
    assert store.actions.history("c") == ()


def test_any_text_can_be_an_error(store: Store) -> None:
    """File names that are not UTF-8 come into error texts as halves of characters."""
    number = store.actions.begin("\udce9", "deploy", "caf\udce9\0")
    ended = store.actions.end(number, Outcome.FAILED, "caf\udce9: no such file")
    assert ended.error == "caf\\udce9: no such file"
    assert ended.detail == "caf\\udce9\0"
    assert store.actions.history("\udce9") == (ended,)
