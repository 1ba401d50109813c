"""The app and its OpenAPI document say the same: routes, methods, statuses, and every body."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_core import OpenAPI
from openapi_core.contrib.werkzeug import WerkzeugOpenAPIRequest, WerkzeugOpenAPIResponse
from openapi_spec_validator import validate
from werkzeug.test import EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from runtime.api.access import OPERATOR
from runtime.api.app import openapi
from runtime.errors import BrokerUnavailable, LaunchError, PublishRefused, StateError, StoreError
from runtime.message import SIZE_LIMIT_BYTES
from runtime.store import Store
from runtime.store.failures import Failure
from tests.fakes.control import FakeControl, FakeDoors
from tests.unit.runtime.api.conftest import ACCESS, DEFINITION, basic

TOO_LARGE = b" " * (SIZE_LIMIT_BYTES + 1)
METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Stage:
    """What a case may put in order before it asks."""

    client: FlaskClient
    store: Store
    control: FakeControl
    doors: FakeDoors
    echo: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and the status it is to have. ``valid``: by the document, too."""

    method: str
    path: str
    status: int
    prepare: Callable[[Stage], object] = lambda _stage: None
    body: object = None
    data: bytes | None = None
    valid: bool = True


def fail(error: type[Exception]) -> Callable[[Stage], None]:
    """Let the control plane fail."""

    def prepare(stage: Stage) -> None:
        stage.control.error = error("it fell", where="here", remedy="Lift it")  # type: ignore[assignment, call-arg]

    return prepare


def save_draft(stage: Stage) -> None:
    """Let the flow have a draft."""
    stage.control.save_draft("greet", DEFINITION)


def stop(stage: Stage) -> None:
    """Let the flow be stopped."""
    stage.control.stop("greet")


def suspend(stage: Stage) -> None:
    """Let the flow be suspended."""
    stage.control.suspend("greet")


def add_failure(stage: Stage) -> None:
    """Let something have gone wrong with a message."""
    cause = {"key": "0.first", "body": "", "headers": {}, "bytes": 0, "cut": False}
    stage.store.failures.add("greet", [Failure("first", "it fell", "trace", cause)])


def refuse_calls(stage: Stage) -> None:
    """Let the first queue be full."""
    stage.doors.accepts = False


def lose_broker(stage: Stage) -> None:
    """Let the broker be gone."""
    stage.doors.error = BrokerUnavailable("it is gone")


def reply(stage: Stage) -> None:
    """Let the flow reply."""
    stage.doors.answer = {"body": {"greeting": "Hello"}, "statusCode": 200}


def keep_startup(stage: Stage) -> None:
    """Let the startup hook have left something."""
    stage.store.startup.put("greet", {"listener": 1})


def new_component(stage: Stage) -> dict[str, str]:
    """A folder with new content."""
    (stage.echo / "echo.py").write_text("def process(msg, cfg, snapshot):\n    return None\n")
    return {"folder": str(stage.echo)}


def same_component(stage: Stage) -> dict[str, str]:
    """A folder that was deployed."""
    return {"folder": str(stage.echo)}


def no_component(stage: Stage) -> dict[str, str]:
    """A folder that is not there."""
    return {"folder": str(stage.echo / "nowhere")}


F, HOOK = "/v1/flows/greet", "/hook/greet"
STARTUP = "/sailor-support/hooks/task/greet/startup/data"
BAD_DRAFT = {"steps": [{"id": "first", "component": "nobody", "function": "tick"}]}
CASES = [
    Case("get", "/healthz", 200),
    Case("get", "/openapi.json", 200),
    Case("get", "/v1/components", 200),
    Case("post", "/v1/components", 201, body=new_component),
    Case("post", "/v1/components", 200, body=same_component),
    Case("post", "/v1/components", 400, body=no_component),
    Case("post", "/v1/components", 400, body={"folder": "relative"}),
    Case("post", "/v1/components", 400, body={"folder": 1}, valid=False),
    Case("post", "/v1/components", 413, data=TOO_LARGE, valid=False),
    Case("post", "/v1/components", 500, fail(StoreError), body=same_component),
    Case("get", "/v1/components/echo", 200),
    Case("get", "/v1/components/nobody", 404),
    Case("get", "/v1/flows", 200),
    Case("get", "/v1/flows", 500, fail(StoreError)),
    Case("get", F, 200),
    Case("get", F, 200, stop),
    Case("get", "/v1/flows/nobody", 404),
    Case("get", F, 500, fail(StoreError)),
    Case("put", f"{F}/draft", 200, body=DEFINITION),
    Case("put", "/v1/flows/another/draft?type=realtime", 200, body=DEFINITION),
    Case("put", f"{F}/draft", 400, body=BAD_DRAFT),
    Case("put", f"{F}/draft", 400, data=b"{", valid=False),
    Case("put", f"{F}/draft?type=slow", 400, body=DEFINITION, valid=False),
    Case("put", f"{F}/draft?type=realtime", 409, body=DEFINITION),
    Case("put", f"{F}/draft", 413, data=TOO_LARGE, valid=False),
    Case("put", f"{F}/draft", 500, fail(StoreError), body=DEFINITION),
    Case("get", f"{F}/draft", 200, save_draft),
    Case("get", f"{F}/draft", 404),
    Case("get", f"{F}/versions", 200),
    Case("get", "/v1/flows/nobody/versions", 404),
    Case("post", f"{F}/publish", 200, save_draft),
    Case("post", f"{F}/publish", 409),
    Case("post", "/v1/flows/nobody/publish", 404),
    Case("post", f"{F}/publish", 502, fail(LaunchError)),
    Case("post", f"{F}/revert", 200, body={"version": 1}),
    Case("post", f"{F}/revert", 400, body={"version": 7}),
    Case("post", f"{F}/revert", 400, body={"version": True}, valid=False),
    Case("post", f"{F}/revert", 409, fail(StateError), body={"version": 1}),
    Case("post", f"{F}/revert", 413, data=TOO_LARGE, valid=False),
    Case("post", "/v1/flows/nobody/revert", 404, body={"version": 1}),
    Case("post", f"{F}/revert", 500, fail(StoreError), body={"version": 1}),
    Case("post", f"{F}/start", 200, stop),
    Case("post", f"{F}/start", 409),
    Case("post", f"{F}/stop", 200),
    Case("post", f"{F}/stop", 409, stop),
    Case("post", f"{F}/suspend", 200),
    Case("post", f"{F}/suspend", 409, stop),
    Case("post", f"{F}/resume", 200, suspend),
    Case("post", f"{F}/resume", 409),
    *(
        case
        for name in ("start", "stop", "suspend", "resume")
        for case in (
            Case("post", f"/v1/flows/nobody/{name}", 404),
            Case("post", f"{F}/{name}", 502, fail(LaunchError)),
        )
    ),
    Case("post", f"{F}/switch", 200, stop, body={"type": "realtime"}),
    Case("post", f"{F}/switch", 400, stop, body={"type": "slow"}, valid=False),
    Case("post", f"{F}/switch", 409, body={"type": "realtime"}),
    Case("post", f"{F}/switch", 413, data=TOO_LARGE, valid=False),
    Case("post", "/v1/flows/nobody/switch", 404, body={"type": "realtime"}),
    Case("post", f"{F}/switch", 500, fail(StoreError), body={"type": "realtime"}),
    Case("get", f"{F}/steps/first/logs?last=3", 200),
    Case("get", f"{F}/steps/first/logs?last=many", 400, valid=False),
    Case("get", "/v1/flows/nobody/steps/first/logs", 404),
    Case("get", f"{F}/steps/first/logs", 500, fail(StoreError)),
    Case("get", f"{F}/errors", 200, add_failure),
    Case("get", f"{F}/errors?limit=1&after=7", 200, add_failure),
    Case("get", f"{F}/errors?limit=1001", 400, valid=False),
    Case("get", f"{F}/errors?after=last", 400, valid=False),
    Case("get", "/v1/flows/nobody/errors", 404),
    Case("get", f"{F}/errors", 500, fail(StoreError)),
    Case("post", f"{F}/errors/1/retry", 200, add_failure),
    Case("post", f"{F}/errors/1/retry", 400),
    Case("post", "/v1/flows/nobody/errors/1/retry", 404),
    Case("post", f"{F}/errors/1/retry", 409, fail(StateError)),
    Case("post", f"{F}/errors/1/retry", 429, fail(PublishRefused)),
    Case("post", f"{F}/errors/1/retry", 503, fail(BrokerUnavailable)),
    Case("post", f"{F}/errors/retry", 200, add_failure),
    Case("post", "/v1/flows/nobody/errors/retry", 404),
    Case("post", f"{F}/errors/retry", 409, fail(StateError)),
    Case("post", f"{F}/errors/retry", 429, fail(PublishRefused)),
    Case("post", f"{F}/errors/retry", 503, fail(BrokerUnavailable)),
    Case("get", f"{F}/queues", 200),
    Case("get", "/v1/flows/nobody/queues", 404),
    Case("get", f"{F}/queues", 503, fail(BrokerUnavailable)),
    Case("get", f"{F}/ticks", 200),
    Case("get", f"{F}/ticks", 200, stop),
    Case("get", "/v1/flows/nobody/ticks", 404),
    Case("get", f"{F}/ticks", 500, fail(StoreError)),
    Case("get", f"{F}/history", 200),
    Case("get", "/v1/flows/nobody/history", 404),
    Case("get", f"{F}/history", 500, fail(StoreError)),
    Case("get", "/v1/history", 200),
    Case("get", "/v1/history", 500, fail(StoreError)),
    Case("post", HOOK, 202, body={"name": "Ada"}),
    Case("post", f"{HOOK}?reply=1", 200, reply, body={"name": "Ada"}),
    Case("post", HOOK, 400, data=b"name=Ada", valid=False),
    Case("post", HOOK, 400, data=b"", valid=False),
    Case("post", f"{HOOK}?within=soon", 400, body={}, valid=False),
    Case("post", f"{HOOK}?reply=yes", 400, body={}, valid=False),
    Case("post", "/hook/nobody", 404, body={}),
    Case("post", HOOK, 409, stop, body={}),
    Case("post", HOOK, 413, data=TOO_LARGE, valid=False),
    Case("post", HOOK, 429, refuse_calls, body={}),
    Case("post", HOOK, 503, lose_broker, body={}),
    Case("post", f"{HOOK}?reply=1&within=0.01", 504, body={}),
    Case("get", "/v1/tasks/greet/steps/first", 200),
    Case("get", "/v1/tasks/greet/steps/nobody", 404),
    Case("post", STARTUP, 201, body={"listener": 1}),
    Case("post", STARTUP, 201),
    Case("post", STARTUP, 400, data=b"{", valid=False),
    Case("post", STARTUP, 409, keep_startup, body={"listener": 1}),
    Case("post", STARTUP, 413, data=TOO_LARGE, valid=False),
    Case("post", STARTUP.replace("greet", "nobody"), 404, body={}),
    Case("get", STARTUP, 200, keep_startup),
    Case("get", STARTUP, 404),
    Case("delete", STARTUP, 204, keep_startup),
    Case("delete", STARTUP.replace("greet", "nobody"), 404),
]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each path, method and description in the document."""
    for path, item in openapi()["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def operation_of(case: Case) -> tuple[str, str]:
    """The documented path and method of a case."""
    path = case.path.partition("?")[0]
    # Where a fixed part and a parameter both fit, the fixed one is meant.
    for documented in sorted(openapi()["paths"], key=lambda one: one.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", documented), path):
            return documented, case.method
    raise AssertionError(f"{case.path} is in no documented path")


def ask(case: Case, stage: Stage) -> tuple[Request, TestResponse]:
    """Make the request of a case; the request is one that was not read."""
    data, kind = case.data, "application/json"
    if data is None:
        body = case.body(stage) if callable(case.body) else case.body
        data, kind = (b"", "") if body is None else (json.dumps(body).encode(), kind)
    case.prepare(stage)
    given = {"method": case.method, "data": data, "content_type": kind or None}
    headers = {"Authorization": basic(OPERATOR, ACCESS.password)}
    request = EnvironBuilder(case.path, **given, headers=headers).get_request()  # type: ignore[arg-type]
    return request, stage.client.open(case.path, **given)  # type: ignore[arg-type]


@cache
def document() -> OpenAPI:
    """The document, ready to check with."""
    return OpenAPI.from_dict(dict(openapi()))


@pytest.fixture
def stage(
    client: FlaskClient,
    store: Store,
    control: FakeControl,
    doors: FakeDoors,
    echo: Path,
    flow: str,
) -> Stage:
    """An API with a flow that runs."""
    assert flow == "greet"
    return Stage(client, store, control, doors, echo)


def test_document_is_openapi() -> None:
    """The document itself is valid OpenAPI 3.1."""
    validate(openapi())


def test_routes_are_documented_and_there(app: Flask) -> None:
    """Each route and method is documented, and each documented one is there."""
    there = set()
    for rule in app.url_map.iter_rules():
        alternatives = re.search(r"<any\(([^)]*)\):\w+>", rule.rule)
        paths = [rule.rule]
        if alternatives:
            names = alternatives.group(1).split(", ")
            paths = [rule.rule.replace(alternatives.group(0), name) for name in names]
        for path in paths:
            documented = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
            there |= {
                (documented, method.lower())
                for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            }
    assert {(path, method) for path, method, _ in operations()} == there


def test_each_documented_answer_is_tried() -> None:
    """Each status of each operation has a case here; 401 is tried of all at once."""
    documented = {
        (path, method, status)
        for path, method, operation in operations()
        for status in operation["responses"]
        if status != "401"
    }
    tried = set()
    for case in CASES:
        path, method = operation_of(case)
        known = openapi()["paths"][path][method]["responses"]
        status = str(case.status) if str(case.status) in known else "default"
        tried.add((path, method, status))
    reachable = {one for one in documented if one[2] != "default" or one in tried}
    assert tried == reachable
    # What only reads the store fails as every other one does when the store does.
    assert len(documented - tried) <= 10


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path} {case.status}")
def test_answers_are_as_documented(case: Case, stage: Stage) -> None:
    """The status is the expected one; request and answer are as the document says."""
    asked, response = ask(case, stage)
    assert response.status_code == case.status, response.text
    request = WerkzeugOpenAPIRequest(asked)
    if case.valid:
        document().validate_request(request)
    document().validate_response(request, WerkzeugOpenAPIResponse(response))
    if case.status >= 400:
        assert response.json is not None
        assert set(response.json) == {"error", "where", "remedy", "problems"}


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, method, operation in operations() if path != "/healthz"],
)
def test_nothing_is_open(app: Flask, path: str, method: str) -> None:
    """Without credentials, and with wrong ones, every operation is refused as documented."""
    concrete = re.sub(r"\{\w+\}", "1", path)
    client = app.test_client()
    for headers in (
        {},
        {"Authorization": basic(OPERATOR, "wrong")},
        {"Authorization": basic(*ACCESS.of_flow("another"))},
        {"Authorization": "Bearer secret"},
    ):
        response = client.open(concrete, method=method, headers=headers)
        assert response.status_code == 401
        request = WerkzeugOpenAPIRequest(response.request)
        document().validate_response(request, WerkzeugOpenAPIResponse(response))


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    [one for one in operations() if one[0] != "/healthz"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_parameter_that_nobody_reads(
    stage: Stage, path: str, method: str, operation: dict[str, Any]
) -> None:
    """One that is misspelt is refused as documented, and the answer names those there are."""
    concrete = re.sub(r"\{\w+\}", "greet", path).replace("errors/greet", "errors/1")
    response = stage.client.open(f"{concrete}?colour=red", method=method, json={})
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"] == "there is no parameter 'colour'"
    named = sorted(one["name"] for one in operation.get("parameters", ()) if one["in"] == "query")
    assert response.json["remedy"] == f"Its parameters: {', '.join(named) or 'none'}"
    request = WerkzeugOpenAPIRequest(response.request)
    document().validate_response(request, WerkzeugOpenAPIResponse(response))


def test_the_document_is_served(client: FlaskClient) -> None:
    """What is served is what is kept."""
    assert json.loads(client.get("/openapi.json").data) == openapi()
