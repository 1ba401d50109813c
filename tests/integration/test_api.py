"""The HTTP API on a real platform: real workers, RabbitMQ and NATS, calls over real sockets."""

from __future__ import annotations

import itertools
import json
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from runtime.api.access import OPERATOR, Access
from runtime.api.app import create_app
from runtime.api.entrance import Entrances
from runtime.api.server import Server
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.control.plan import Place
from runtime.launch.process import ProcessLauncher
from runtime.platform import Platform
from runtime.store import Store
from scenarios.files import COMPONENTS

ROOT = Path(__file__).parents[2]
KINDS = [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), pytest.param("nats")]
PASS_ON = "def process(msg, cfg, snapshot):\n    return {'body': msg['body']}\n"
REPLY = """
def process(msg, cfg, snapshot, context):
    greeting = "Hello " + msg["body"]["name"].upper()
    if msg["body"].get("reply", True):
        context.emit("httpReply", {"body": {"greeting": greeting}, "statusCode": 201})
"""
SLOW = """
import time
def process(msg, cfg, snapshot):
    time.sleep(600)
"""
WEBHOOK = {"kind": "webhook"}


class Api:
    """Calls a platform as its operator."""

    def __init__(self, url: str, access: Access, folder: Path, broker: str) -> None:
        self.url, self.access, self.folder, self.broker = url, access, folder, broker
        self.session = requests.Session()
        self.session.auth = (OPERATOR, access.password)

    def call(self, method: str, path: str, **given: Any) -> requests.Response:
        """Any call."""
        return self.session.request(method, self.url + path, timeout=60, **given)

    def do(self, method: str, path: str, **given: Any) -> Any:
        """A call that must succeed; its answer."""
        response = self.call(method, path, **given)
        assert response.ok, response.text
        return response.json() if response.content else None

    def deploy(self, name: str, code: str) -> None:
        """Deploy a component of one file, both trigger and action."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        functions = {"run": {"main": "main.py"}}
        manifest = {"title": name, "triggers": {"tick": functions["run"]}, "actions": functions}
        (folder / "component.json").write_text(json.dumps(manifest))
        (folder / "main.py").write_text(code)
        self.do("POST", "/v1/components", json={"folder": str(folder)})

    def start(
        self, flow: str, *codes: str, trigger: object = None, kind: str = "realtime", **first: Any
    ) -> None:
        """Make a flow of so many steps, and start it; ``first`` is of its first step."""
        steps = []
        for index, code in enumerate(codes):
            name = f"{flow}-{index}"
            self.deploy(name, code)
            function = "run" if index else "tick"
            steps.append({"id": f"s{index}", "component": name, "function": function})
        steps[0] |= first
        definition = {"steps": steps, "trigger": trigger or WEBHOOK}
        self.do("PUT", f"/v1/flows/{flow}/draft?type={kind}", json=definition)
        self.do("POST", f"/v1/flows/{flow}/publish")
        self.do("POST", f"/v1/flows/{flow}/start")


@pytest.fixture(scope="module", params=KINDS)
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A platform on a broker of each kind, which the tests share."""
    folder = tmp_path_factory.mktemp("api")
    kind = RabbitNode if request.param == "rabbitmq" else NatsServer
    with ExitStack() as stack:
        broker = kind.start("api", folder)
        stack.callback(broker.stop)
        store = stack.enter_context(Store.open(folder / "store"))
        launcher = ProcessLauncher("api")
        stack.callback(launcher.close)
        # Some components never return: their containers are ended whatever they are given.
        place = Place(launcher, broker.url, broker.url, folder / "spans", grace_s=1.0)
        platform = stack.enter_context(Platform(store, place))
        entrances, access = Entrances(broker.url), Access.new()
        app = create_app(
            platform,
            store,
            entrances,
            access,
            spans=place.folder,
            census=broker.census if isinstance(broker, RabbitNode) else None,
        )
        http = Server(app)
        stack.callback(http.close)
        stack.callback(entrances.close)
        yield Api(http.url, access, folder, request.param)


def wait_for(look: Callable[[], object], what: str) -> Any:
    """What ``look`` returns when it is true, or fail."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)
    return found


@pytest.mark.requirement("D7", "D11")
def test_a_call_goes_through_the_flow(api: Api) -> None:
    """What is posted arrives at the last step, with the execution's id that was answered."""
    fails = "def process(msg, cfg, snapshot):\n    raise ValueError(msg['body']['name'])\n"
    api.start("through", PASS_ON, fails)
    response = api.call("POST", "/hook/through", json={"name": "Ada"})
    assert response.status_code == 202
    (failure,) = wait_for(lambda: api.do("GET", "/v1/flows/through/errors"), "the last step's word")
    assert failure["error"] == "ValueError: Ada"
    assert failure["step"] == "s1"
    assert api.do("POST", f"/v1/flows/through/errors/{failure['id']}/retry") == {"retried": 1}
    (again,) = wait_for(lambda: api.do("GET", "/v1/flows/through/errors"), "its word again")
    assert again["error"] == failure["error"]
    assert again["id"] != failure["id"]
    api.do("POST", "/v1/flows/through/stop")
    assert api.call("POST", "/hook/through", json={}).status_code == 409


@pytest.mark.requirement("D8")
def test_d8_a_full_queue_is_a_429(api: Api) -> None:
    """With a first queue of one message, a call that finds it full is told to come again."""
    api.start("full", SLOW, max_length=1)
    assert api.call("POST", "/hook/full", json=1).status_code == 202

    def is_taken() -> bool:
        (queue,) = api.do("GET", "/v1/flows/full/queues")
        return bool(queue["ready"] == 0)

    wait_for(is_taken, "the step has the first message")
    answers = [api.call("POST", "/hook/full", json=number) for number in range(4)]
    statuses = [answer.status_code for answer in answers]
    # NATS counts what a container has, too, so that there even the first one may be refused.
    assert set(statuses) <= {202, 429}
    assert statuses[-1] == 429, statuses
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert "full" in answers[-1].text
    api.do("POST", "/v1/flows/full/stop")


@pytest.mark.requirement("D8")
def test_d8_over_the_quota_is_a_429(api: Api) -> None:
    """Calls over the quota are refused with the time to wait, those within it are taken."""
    api.start("quota", PASS_ON, trigger={"kind": "webhook", "quota": "0.1/s"})
    first, second = (api.call("POST", "/hook/quota", json=1) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 429)
    assert 1 <= int(second.headers["Retry-After"]) <= 10
    api.do("POST", "/v1/flows/quota/stop")


@pytest.mark.requirement("D12")
def test_d12_a_call_of_up_to_10_mib(api: Api) -> None:
    """A call's message is limited with its envelope; one that just fits goes through the flow."""
    limit = 10 * 1024 * 1024
    tells = "def process(msg, cfg, snapshot):\n    raise ValueError(len(msg['body']))\n"
    api.start("large", PASS_ON, tells)
    refused = api.call("POST", "/hook/large", data=b'"' + b"x" * (limit - 2) + b'"')
    assert refused.status_code == 413
    assert f"over the limit of {limit}" in refused.json()["error"]
    fits = limit - 2000
    taken = api.call("POST", "/hook/large", data=b'"' + b"x" * fits + b'"')
    assert taken.status_code == 202, taken.text
    (error,) = wait_for(lambda: api.do("GET", "/v1/flows/large/errors"), "it has come through")
    assert (error["error"], error["is_whole"]) == (f"ValueError: {fits}", True)
    api.do("POST", "/v1/flows/large/stop")


@pytest.mark.requirement("D17")
def test_d17_what_queues_hold(api: Api) -> None:
    """What waits, what the container has, and what a step has sent back, by step."""
    rebounds = """
def process(msg, cfg, snapshot, context):
    context.emit("rebound", "not now")
"""
    api.start("held", SLOW)
    for number in range(4):
        assert api.call("POST", "/hook/held", json=number).status_code == 202

    def look() -> Any:
        (queue,) = api.do("GET", "/v1/flows/held/queues")
        return queue if queue["ready"] == 3 else None

    queue = wait_for(look, "the step has the first message")
    assert (queue["unacknowledged"], queue["total"]) == (1, 4)
    assert (queue["step"], queue["consumers"], queue["rebounds"]) == ("s0", 1, 0)
    api.do("POST", "/v1/flows/held/stop")
    assert api.do("GET", "/v1/flows/held/queues") == []

    api.start("back", PASS_ON, rebounds)
    assert api.call("POST", "/hook/back", json=1).status_code == 202

    def sent_back() -> list[int]:
        return [queue["rebounds"] for queue in api.do("GET", "/v1/flows/back/queues")]

    wait_for(lambda: sent_back() == [0, 1], "a rebound is counted for its step")
    api.do("POST", "/v1/flows/back/stop")


@pytest.mark.requirement("D15")
@pytest.mark.parametrize("kind", ["realtime", "ordinary"])
def test_d15_the_reply_of_a_later_step(api: Api, kind: str) -> None:
    """Who waits gets what the last step replied, whatever else is under way."""
    flow = f"reply-{kind}"
    api.start(flow, PASS_ON, REPLY, kind=kind)
    answers: dict[str, requests.Response] = {}

    def ask(name: str) -> None:
        url = f"{api.url}/hook/{flow}?reply=1"
        auth = (OPERATOR, api.access.password)
        answers[name] = requests.post(url, json={"name": name}, auth=auth, timeout=60)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("ada", "grace", "joan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: answer.json() for name, answer in answers.items()} == {
        name: {"greeting": f"Hello {name.upper()}"} for name in ("ada", "grace", "joan")
    }
    assert {answer.status_code for answer in answers.values()} == {201}
    api.do("POST", f"/v1/flows/{flow}/stop")
    # Queues and bindings were new with the start: a reply finds its way again.
    api.do("POST", f"/v1/flows/{flow}/start")
    assert api.call("POST", f"/hook/{flow}?reply=1", json={"name": "x"}).status_code == 201
    api.do("POST", f"/v1/flows/{flow}/stop")


@pytest.mark.requirement("D15")
def test_d15_the_catalogues_own_components_reply(api: Api) -> None:
    """The document's flow of webhook, mapper and reply answers what it is asked."""
    for name in ("webhook", "mapper", "reply"):
        api.do("POST", "/v1/components", json={"folder": str(COMPONENTS / name)})
    definition = tomllib.loads((ROOT / "docs" / "answer.toml").read_text())
    api.do("PUT", "/v1/flows/answer/draft?type=realtime", json=definition)
    api.do("POST", "/v1/flows/answer/publish")
    api.do("POST", "/v1/flows/answer/start")
    answer = api.call("POST", "/hook/answer?reply=1", json={"name": "Ada"})
    assert (answer.status_code, answer.json()) == (200, {"greeting": "Hello ADA"})
    # Who does not wait is not answered: an error says so.
    assert api.call("POST", "/hook/answer", json={"name": "Ada"}).status_code == 202
    (error,) = wait_for(lambda: api.do("GET", "/v1/flows/answer/errors"), "nobody waits")
    assert error["step"] == "reply"
    assert "nobody waits for a reply" in error["error"]
    api.do("POST", "/v1/flows/answer/stop")


@pytest.mark.requirement("D7")
def test_ticks_are_counted(api: Api) -> None:
    """Calls by clock are counted while the flow is up, and are null where there are none."""
    api.start("ticked", PASS_ON, trigger={"kind": "interval", "every": "0.2 s"})
    wait_for(lambda: api.do("GET", "/v1/flows/ticked/ticks")["ticks"] >= 2, "two ticks")
    counted = api.do("GET", "/v1/flows/ticked/ticks")
    assert (counted["failed"], counted["error"]) == (0, None)
    assert min(counted["late_ns"]) >= 0
    api.do("POST", "/v1/flows/ticked/stop")
    assert api.do("GET", "/v1/flows/ticked/ticks") is None
    assert api.call("GET", "/v1/flows/nobody/ticks").status_code == 404


@pytest.mark.requirement("D15")
def test_d15_no_reply_and_an_error_instead(api: Api) -> None:
    """Without a reply in time it is a 504; where a step failed, a 500 that says how."""
    api.start("late", PASS_ON, REPLY)
    path = "/hook/late?reply=1&within=0.3"
    assert api.call("POST", path, json={"name": "Ada", "reply": False}).status_code == 504
    failed = api.call("POST", "/hook/late?reply=1", json={"name": 7})
    assert failed.status_code == 500
    assert "AttributeError" in failed.json()["error"]
    assert "s1" in failed.json()["where"]
    api.do("POST", "/v1/flows/late/stop")


def test_a_stop_under_load_is_told(api: Api) -> None:
    """Calls while a flow is being stopped are taken, or refused as what they are; none hangs."""
    api.start("going", PASS_ON)
    statuses: list[int] = []
    is_over = threading.Event()

    def post() -> None:
        while not is_over.is_set():
            url, auth = f"{api.url}/hook/going", (OPERATOR, api.access.password)
            statuses.append(requests.post(url, json=1, auth=auth, timeout=60).status_code)

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(statuses) > 20, "some calls")
    api.do("POST", "/v1/flows/going/stop")
    before = len(statuses)
    wait_for(lambda: len(statuses) > before + 10, "some more")
    is_over.set()
    for thread in threads:
        thread.join()
    assert {202, 409} <= set(statuses) <= {202, 409, 503}
    assert api.call("POST", "/hook/going", json=1).status_code == 409
    api.do("POST", "/v1/flows/going/start")
    assert api.call("POST", "/hook/going", json=1).status_code == 202
    api.do("POST", "/v1/flows/going/stop")


def test_a_publish_under_load_loses_nothing(api: Api) -> None:
    """What a call was told is accepted comes through, also while other queues take over."""
    tells = "def process(msg, cfg, snapshot):\n    raise ValueError(msg['body'])\n"
    api.start("moves", PASS_ON, tells)
    accepted: set[int] = set()
    statuses: set[int] = set()
    numbers = itertools.count()
    is_over = threading.Event()

    def post() -> None:
        auth = (OPERATOR, api.access.password)
        while not is_over.is_set():
            number = next(numbers)
            answer = requests.post(f"{api.url}/hook/moves", json=number, auth=auth, timeout=60)
            statuses.add(answer.status_code)
            if answer.status_code == 202:
                accepted.add(number)
            # Errors are kept in a database: that is what this load has to leave room for.
            time.sleep(0.02)

    def reached(count: int) -> bool:
        return len(accepted) > count

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(partial(reached, 10), "some calls")
    definition = api.do("GET", "/v1/flows/moves/versions")[0]["definition"]
    for max_length in (5000, 6000):
        definition["steps"][0]["max_length"] = max_length
        api.do("PUT", "/v1/flows/moves/draft", json=definition)
        api.do("POST", "/v1/flows/moves/publish")
        enough = len(accepted) + 5
        wait_for(partial(reached, enough), "calls after it")
    is_over.set()
    for thread in threads:
        thread.join()
    assert statuses <= {202, 409, 503}

    def told() -> set[int]:
        errors, after = [], 0
        while page := api.do("GET", f"/v1/flows/moves/errors?after={after}"):
            errors += page
            after = page[-1]["id"]
        return {int(one["error"].removeprefix("ValueError: ")) for one in errors}

    wait_for(lambda: told() >= accepted, "all that was accepted has come through")
    api.do("POST", "/v1/flows/moves/stop")


def test_a_component_asks_as_the_official_runtime_does(api: Api) -> None:
    """Look-up, then startup: 409 where there is a state, DELETE, POST; at the end GET, DELETE."""
    api.start("official", PASS_ON, config={"colour": "red"})
    auth = api.access.of_flow("official")
    startup = f"{api.url}/sailor-support/hooks/task/official/startup/data"
    step = requests.get(f"{api.url}/v1/tasks/official/steps/s0", auth=auth, timeout=60).json()
    assert step["config"] == {"colour": "red"}
    assert (step["snapshot"], step["is_passthrough"]) == ({}, False)
    assert requests.post(startup, json={"id": 1}, auth=auth, timeout=60).status_code == 201
    assert requests.post(startup, json={"id": 2}, auth=auth, timeout=60).status_code == 409
    assert requests.delete(startup, auth=auth, timeout=60).status_code == 204
    assert requests.post(startup, json={"id": 2}, auth=auth, timeout=60).status_code == 201
    assert requests.get(startup, auth=auth, timeout=60).json() == {"id": 2}
    assert requests.delete(startup, auth=auth, timeout=60).status_code == 204
    api.do("POST", "/v1/flows/official/stop")


def test_nothing_half_done(api: Api) -> None:
    """A definition with mistakes names them all, and makes no flow."""
    steps = [
        {"id": "same", "component": "nobody", "function": "tick"},
        {"id": "same", "component": "nobody", "function": "run", "prefetch": 0},
    ]
    trigger = {"kind": "cron", "schedule": "every day"}
    response = api.call("PUT", "/v1/flows/half/draft", json={"steps": steps, "trigger": trigger})
    assert response.status_code == 400
    problems = " ".join(response.json()["problems"])
    for part in ("same", "nobody", "prefetch", "every day"):
        assert part in problems
    assert api.call("GET", "/v1/flows/half").status_code == 404
