"""The source of events, and the two triggers that listen to it: the careless one and the other."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from scenarios.files import COMPONENTS

Load = Callable[[str, str], ModuleType]
MESSAGE: dict[str, Any] = {"body": {"sequence": 0, "delay_ms": None, "data": ""}}


class Heard:
    """A context that keeps what is emitted, by whatever thread."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def emit(self, event: str, payload: dict[str, Any]) -> None:
        """Keep a body."""
        assert event == "data"
        self.bodies.append(payload["body"])

    def copies(self) -> Counter[int]:
        """How often each event has been emitted."""
        return Counter(body["event"] for body in list(self.bodies))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what other threads and processes do in their own time."""
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.01)


class Server:
    """The source of events as a process, with a client of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline().rpartition(":")[2])

    def get(self, target: str, method: str = "GET") -> tuple[int, str]:
        """Status and text of one exchange."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, target)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def stats(self) -> dict[str, Any]:
        """What the server says of itself."""
        found: dict[str, Any] = json.loads(self.get("/stats")[1])
        return found

    def url(self, query: str) -> str:
        """Where a trigger listens."""
        return f"http://127.0.0.1:{self.port}/events?{query}"


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What listeners end with; a worker reports it as an error of the step."""
    found: list[BaseException] = []

    def note(ended: threading.ExceptHookArgs) -> None:
        assert ended.exc_value is not None
        found.append(ended.exc_value)

    monkeypatch.setattr(threading, "excepthook", note)
    return found


@pytest.fixture
def server(ends: list[BaseException]) -> Iterator[Server]:
    """The source, ended as a launcher ends it: listeners that are still there do not hold it up."""
    before = set(threading.enumerate())
    argv = [sys.executable, "server.py", "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(
        argv, cwd=COMPONENTS / "events", stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    for listener in set(threading.enumerate()) - before:
        listener.join(10)
        assert not listener.is_alive()


def test_the_source_says_what_it_is(server: Server) -> None:
    """Health, statistics, and clear refusals of what it does not have."""
    assert server.get("/healthz") == (200, "ok\n")
    assert server.stats() == {
        "events": 0,
        "copies": 0,
        "listeners": 0,
        "connections": 0,
        "disconnected": 0,
        "rate_hz": 10.0,
        "count": 10_000_000,
    }
    assert server.get("/nowhere")[0] == 404
    assert server.get("/healthz", "POST")[0] == 405


@pytest.mark.parametrize(
    "query", ["rate_hz=0", "rate_hz=x", "rate_hz=1e9", "count=-1", "count=nan"]
)
def test_the_source_refuses_a_pace_it_cannot_keep(server: Server, query: str) -> None:
    """A wrong pace is a bad request that opens no stream."""
    status, text = server.get(f"/events?{query}")
    assert status == 400
    assert query.partition("=")[0] in text
    assert server.stats()["connections"] == 0


def test_the_source_pushes_each_event_to_everyone_once(
    server: Server, component: Load, ends: list[BaseException]
) -> None:
    """Two that listen from the start have events 1 to 5, in order, and no sixth comes."""
    guarded = [component("listen-guarded", "listen") for _ in range(2)]
    heard = [Heard(), Heard()]
    # Slow enough that both listen before the first.
    for module, context in zip(guarded, heard, strict=True):
        module.process(MESSAGE, {"url": server.url("rate_hz=2&count=5")}, {}, context)
    wait_for(lambda: server.stats()["events"] == 5)
    wait_for(lambda: all(len(context.bodies) == 5 for context in heard))
    for context in heard:
        assert [body["event"] for body in context.bodies] == [1, 2, 3, 4, 5]
        pushed = [body["pushed_ns"] for body in context.bodies]
        assert pushed == sorted(pushed)
    stats = server.stats()
    assert (stats["copies"], stats["connections"], stats["disconnected"]) == (10, 2, 0)
    assert ends == []


def test_the_careless_trigger_handles_an_event_once_per_call(
    server: Server, component: Load
) -> None:
    """After four calls four connections are open, and every further event is emitted four times."""
    careless = component("listen-careless", "listen")
    heard = Heard()
    for _ in range(4):
        assert careless.process(MESSAGE, {"url": server.url("rate_hz=50")}, {}, heard) is None
    after = server.stats()["events"]
    wait_for(lambda: heard.copies()[after + 3] == 4)
    assert {heard.copies()[event] for event in range(after + 1, after + 4)} == {4}
    assert server.stats()["listeners"] == 4
    assert {body["listener"] for body in heard.bodies} == {1, 2, 3, 4}


def test_the_guarded_trigger_handles_an_event_once(server: Server, component: Load) -> None:
    """After four calls one connection is open, and every event was emitted once."""
    guarded = component("listen-guarded", "listen")
    heard = Heard()
    for _ in range(4):
        assert (
            guarded.process(MESSAGE, {"url": server.url("rate_hz=50&count=20")}, {}, heard) is None
        )
    wait_for(lambda: len(heard.bodies) == 20)
    assert heard.copies() == dict.fromkeys(range(1, 21), 1)
    assert server.stats()["connections"] == 1


def test_what_is_heard_is_a_body_for_any_action(server: Server, component: Load) -> None:
    """The catalogue's last action takes an event as it takes a message of the load."""
    heard = Heard()
    component("listen-guarded", "listen").process(
        MESSAGE, {"url": server.url("rate_hz=100&count=1")}, {}, heard
    )
    wait_for(lambda: len(heard.bodies) == 1)
    assert heard.bodies[0] | {"pushed_ns": 0} == {
        "event": 1,
        "pushed_ns": 0,
        "listener": 1,
        "sequence": 1,
        "delay_ms": None,
        "data": "",
    }
    component("action", "consume").process({"body": heard.bodies[0]}, {}, {})


@pytest.mark.parametrize("name", ["listen-careless", "listen-guarded"])
def test_no_source_is_an_error_of_the_call(server: Server, component: Load, name: str) -> None:
    """A trigger that cannot listen says so at once, and says with which status."""
    module = component(name, "listen")
    url = f"http://127.0.0.1:{server.port}/nowhere"
    with pytest.raises(RuntimeError, match="status 404"):
        module.process(MESSAGE, {"url": url}, {}, Heard())
    with pytest.raises(OSError, match="refused"):
        module.process(MESSAGE, {"url": "http://127.0.0.1:1/events"}, {}, Heard())
    assert server.stats()["connections"] == 0


def test_a_listener_that_ended_is_replaced(
    server: Server, component: Load, ends: list[BaseException]
) -> None:
    """The end of the stream is an error that somebody sees; the next call listens anew."""
    guarded = component("listen-guarded", "listen")
    heard = Heard()
    guarded.process(MESSAGE, {"url": server.url("rate_hz=50")}, {}, heard)
    assert ends == []
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    wait_for(lambda: len(ends) == 1)
    assert isinstance(ends[0], ConnectionError)
    with pytest.raises(OSError, match="refused"):
        guarded.process(MESSAGE, {"url": server.url("")}, {}, heard)
