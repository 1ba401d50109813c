"""Errors and snapshots as workers leave them, and what is made of them again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.broker import Message
from runtime.errors import InputError
from runtime.retry import message_again, read_failure, read_snapshot
from runtime.worker.failures import error_input

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    body=st.binary(max_size=300),
    headers=st.dictionaries(names, st.text(st.characters(codec="utf-8")) | st.integers()),
    persistent=st.booleans(),
)
def test_an_input_goes_through_its_error_and_back(
    body: bytes, headers: dict[str, str | int], persistent: bool
) -> None:
    """Body, headers and persistence are what they were; only the message's id is a new one."""
    cause = json.loads(json.dumps(error_input(Message(body, headers, persistent), "k", whole=True)))
    key, again = message_again(cause)
    forgotten = {"messageId", "reboundIteration", "reboundReason"}
    kept = {name: value for name, value in headers.items() if name not in forgotten}
    new_id = again.headers["messageId"]
    assert (key, again) == ("k", Message(body, {**kept, "messageId": new_id}, persistent))
    assert new_id != headers.get("messageId")


def test_rebounds_are_forgotten() -> None:
    """A message that is tried again may be sent back as often as a new one."""
    came = Message(b"{}", {"messageId": "1", "reboundIteration": 20, "reboundReason": "x"})
    _, again = message_again(error_input(came, "k", whole=True))
    assert set(again.headers) == {"messageId"}


def test_what_cannot_be_tried_again_says_why() -> None:
    """No message; a message that was cut, with its size; a damaged one."""
    with pytest.raises(InputError, match="no message"):
        message_again(None)
    cut = error_input(Message(bytes(200_000), {}), "k", whole=False)
    with pytest.raises(InputError, match=r"200000 bytes.*not kept whole"):
        message_again(cut)
    with pytest.raises(InputError, match="damaged"):
        message_again({**error_input(Message(b"x", {}), "k", whole=True), "body": "!"})


@pytest.mark.parametrize(
    ("body", "error", "step"),
    [
        (b'{"error": "E", "trace": "T", "step": "s", "errorInput": null}', "E", "s"),
        (b'{"error": "E", "errorInput": "encrypted by another runtime"}', "E", "mapper"),
        (b"\xff\xfe", "an error report that cannot be read", "mapper"),
        (b"[1]", "an error report that cannot be read: [1]", "mapper"),
    ],
)
def test_every_error_message_says_something(body: bytes, error: str, step: str) -> None:
    """Our own reports, the official runtime's, and nonsense: none stops who reads them."""
    failure = read_failure(Message(body, {"stepId": "mapper"}))
    assert failure.error.startswith(error)
    assert (failure.step, failure.cause) == (step, None)


def test_snapshots_are_read() -> None:
    """The step and the whole snapshot."""
    assert read_snapshot(Message(b'{"step": "s", "snapshot": {"a": 1}}', {})) == ("s", {"a": 1})


@pytest.mark.parametrize("found", ["x", 1, {"step": "s"}, {"step": "s", "snapshot": 1}])
def test_what_is_no_snapshot(found: Any) -> None:
    """Something else on the snapshot queue is named, and not stored."""
    with pytest.raises(InputError, match="snapshot"):
        read_snapshot(Message(json.dumps(found).encode(), {}))
