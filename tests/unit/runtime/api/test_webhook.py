"""What the webhook hands in, and what it answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from runtime.api.entrance import Call
from runtime.api.webhook import MOST_WAITING
from runtime.broker import Route
from runtime.errors import BrokerUnavailable
from runtime.message import SIZE_LIMIT_BYTES, decode_body, decode_ids
from runtime.store import Store
from tests.fakes.control import FakeControl, FakeDoors
from tests.unit.runtime.api.conftest import ACCESS, DEFINITION, basic

HOOK = "/hook/greet"


def test_the_message_is_what_a_trigger_expects(
    client: FlaskClient, doors: FakeDoors, flow: str
) -> None:
    """JSON and headers are the message's, credentials are not; the answer names its execution."""
    response = client.post(HOOK, json={"name": "Ada"}, headers={"X-Order": "7"})
    (call,) = doors.calls
    assert flow == call.route.exchange.removeprefix("hopbench.")
    message = decode_body(call.message.body)
    assert message["body"] == {"name": "Ada"}
    assert message["headers"]["x-order"] == "7"
    assert "authorization" not in message["headers"]
    ids = decode_ids(call.message.headers)
    assert ids.trace == int(response.json["trace"], 16)  # type: ignore[index]
    assert ids.parent == 0
    assert "reply_to" not in call.message.headers
    assert call.message.persistent


def test_each_call_is_an_execution_of_its_own(
    client: FlaskClient, doors: FakeDoors, flow: str
) -> None:
    """No two calls have an id in common."""
    for _ in range(20):
        assert client.post(f"/hook/{flow}", json={}).status_code == 202
    assert len({decode_ids(call.message.headers).trace for call in doors.calls}) == 20


def test_a_first_step_may_have_messages_that_are_not_persistent(
    client: FlaskClient, doors: FakeDoors, control: FakeControl, flow: str
) -> None:
    """What the first step says of its messages holds for those of the webhook."""
    control.stop(flow)
    steps = [{**DEFINITION["steps"][0], "persistent": False}]
    control.save_draft(flow, {**DEFINITION, "steps": steps})
    control.publish(flow)
    control.start(flow)
    assert client.post(HOOK, json={}).status_code == 202
    assert not doors.calls[-1].message.persistent


def test_over_the_quota(client: FlaskClient, control: FakeControl, flow: str) -> None:
    """A call over the quota is refused, says when to come again, and reaches no queue."""
    control.stop(flow)
    control.save_draft(flow, {**DEFINITION, "trigger": {"kind": "webhook", "quota": "0.01/s"}})
    control.publish(flow)
    control.start(flow)
    assert client.post(HOOK, json={}).status_code == 202
    refused = client.post(HOOK, json={})
    assert refused.status_code == 429
    assert 98 <= int(refused.headers["Retry-After"]) <= 100
    assert "quota" in refused.text


def test_a_full_queue(client: FlaskClient, doors: FakeDoors, flow: str) -> None:
    """A refused message is a 429 with Retry-After."""
    doors.accepts = False
    refused = client.post(f"/hook/{flow}", json={})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert "full" in refused.text


def test_a_flow_that_went_meanwhile(
    client: FlaskClient, doors: FakeDoors, control: FakeControl, flow: str
) -> None:
    """Where the queue is gone because the flow was stopped, that is what the answer says."""

    class Going(FakeDoors):
        def submit(self, call: Any) -> None:
            control.stop(flow)
            doors.error = BrokerUnavailable("no exchange")
            FakeDoors.submit(doors, call)

    doors.submit = Going().submit  # type: ignore[method-assign]
    response = client.post(HOOK, json={})
    assert response.status_code == 409
    assert "stopped" in response.text


def test_queues_that_changed_meanwhile(
    client: FlaskClient,
    doors: FakeDoors,
    control: FakeControl,
    flow: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a publish has taken the queue away, the call goes to the one that took its place."""
    new = Route("hopbench.new", "0.first")

    def submit(call: Call) -> None:
        doors.accepts = call.route == new
        monkeypatch.setattr(control, "entry_route", lambda _flow: new)
        FakeDoors.submit(doors, call)

    monkeypatch.setattr(doors, "submit", submit)
    doors.answer = {"body": "Hello"}
    response = client.post(f"/hook/{flow}?reply=1", json={})
    assert (response.status_code, response.json) == (200, "Hello")
    old, moved = doors.calls
    assert old.message == moved.message


@pytest.mark.parametrize("kind", ["none", "interval"])
def test_a_flow_without_a_webhook(
    client: FlaskClient, control: FakeControl, flow: str, kind: str
) -> None:
    """Only a flow whose trigger is a webhook can be called."""
    control.stop(flow)
    trigger = {"kind": kind} | ({"every": "1 s"} if kind == "interval" else {})
    control.save_draft(flow, {**DEFINITION, "trigger": trigger})
    control.publish(flow)
    control.start(flow)
    response = client.post(HOOK, json={})
    assert response.status_code == 409
    assert repr(kind) in response.text


def test_the_reply_is_the_answer(client: FlaskClient, doors: FakeDoors, flow: str) -> None:
    """Body and status are the component's; the message said where to reply to."""
    doors.answer = {"body": {"greeting": "Hello"}, "statusCode": 201}
    response = client.post(f"/hook/{flow}?reply=1", json={})
    assert (response.status_code, response.json) == (201, {"greeting": "Hello"})
    assert doors.calls[0].message.headers["reply_to"] == "replies"


@pytest.mark.parametrize("status", [100, 600, "200", None, 200.0])
def test_a_status_that_is_none(
    client: FlaskClient, doors: FakeDoors, flow: str, status: object
) -> None:
    """What is no status of an answer does not become one."""
    doors.answer = {"body": 1, "statusCode": status}
    assert client.post(f"/hook/{flow}?reply=1", json={}).status_code == 200


def test_an_error_is_a_reply_too(client: FlaskClient, doors: FakeDoors, flow: str) -> None:
    """Where a step failed, who waits is told of the error and the step."""
    doors.answer = {"body": {"error": "ValueError: no", "step": "first"}}
    doors.answer_headers = {"x-eio-error-response": "true"}
    response = client.post(f"/hook/{flow}?reply=1", json={})
    assert response.status_code == 500
    assert response.json is not None
    assert response.json["error"] == "ValueError: no"
    assert response.json["where"] == f"flow {flow}, step first"


def test_no_reply(client: FlaskClient, doors: FakeDoors, flow: str) -> None:
    """Without a reply in time it is a 504, and nobody waits for it any more."""
    response = client.post(f"/hook/{flow}?reply=1&within=0.01", json={})
    assert response.status_code == 504
    assert doors.forgotten == doors.calls


def test_those_who_wait_are_limited(
    client: FlaskClient, doors: FakeDoors, flow: str, app: Flask
) -> None:
    """A request that ends, however it ends, lets another one wait."""
    for _ in range(MOST_WAITING + 1):
        assert client.post(f"/hook/{flow}?reply=1&within=0.01", json={}).status_code == 504
    doors.error = BrokerUnavailable("gone")
    for _ in range(MOST_WAITING + 1):
        assert client.post(f"/hook/{flow}?reply=1", json={}).status_code == 503
    assert app is not None


def test_an_envelope_over_the_limit(client: FlaskClient, doors: FakeDoors, flow: str) -> None:
    """A body that is within the limit alone, and over it as a message, is refused."""
    response = client.post(f"/hook/{flow}", data=b'"' + b"a" * (SIZE_LIMIT_BYTES - 2) + b'"')
    assert response.status_code == 413
    assert doors.calls == []


@pytest.mark.parametrize(
    "body", [b"name=Ada", b"{", b"NaN", b"\xff", b'{"a": 1} x', b"[" * 100_000]
)
def test_what_is_no_json(client: FlaskClient, doors: FakeDoors, flow: str, body: bytes) -> None:
    """A body that is no JSON is refused, says so, and reaches no queue."""
    response = client.post(f"/hook/{flow}", data=body)
    assert response.status_code == 400
    assert "JSON" in response.text
    assert doors.calls == []


def test_a_flows_credentials_open_its_own(app: Flask, store: Store, flow: str) -> None:
    """A flow's components may call its webhook and look their step up, and do nothing else."""
    own = {"Authorization": basic(*ACCESS.of_flow(flow))}
    client = app.test_client()
    assert client.post(HOOK, json={}, headers=own).status_code == 202
    assert client.get(f"/v1/tasks/{flow}/steps/first", headers=own).status_code == 200
    assert client.get(f"/v1/flows/{flow}", headers=own).status_code == 401
    assert client.post(f"/v1/flows/{flow}/stop", headers=own).status_code == 401
    assert store.flows.entry(flow).state == "running"


def test_a_defect_is_a_500_in_json(
    client: FlaskClient,
    doors: FakeDoors,
    flow: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of our own is JSON without its traceback, which goes to the log."""

    def broken(_call: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(doors, "submit", broken)
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    with caplog.at_level(logging.ERROR):
        response = client.post(f"/hook/{flow}", json={})
    assert response.status_code == 500
    assert "a defect" not in response.text
    assert response.json is not None
    assert "a defect" in caplog.text
