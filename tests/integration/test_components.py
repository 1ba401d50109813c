"""The catalogue's components in real workers: what goes in at a queue, what comes out at one."""

from __future__ import annotations

import http.client
import json
import queue
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from runtime.broker.nats_server import NatsServer
from runtime.flows import Trigger, TriggerKind
from runtime.scheduler import Scheduler, Tick
from runtime.spans import EMIT, OK, PROCESS
from runtime.worker.__main__ import EXIT_COMPONENT
from scenarios.files import COMPONENTS
from tests.fakes.line import Line, wait_for

LOAD: Mapping[str, Any] = {"sequence": 7, "delay_ms": None, "data": "xxxx"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker."""
    with NatsServer.start("test-components", tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def events() -> Iterator[int]:
    """The source of events as a process of its own; gives its port."""
    argv = [sys.executable, "server.py", "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(
        argv, cwd=COMPONENTS / "events", stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def line(broker: str, folder: Path, component: str, main: str, **config: Any) -> Line:
    """A component of the catalogue as the first step, and a queue for what it emits."""
    code = (COMPONENTS / component / main).read_text()
    return Line(
        broker,
        folder,
        code,
        "def process(msg, cfg, snapshot): pass",
        steps={"a": {"config": config}},
    )


def stats(port: int) -> dict[str, Any]:
    """What the source of events says of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/stats")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


@pytest.mark.parametrize(
    ("component", "main", "copies"),
    [("listen-careless", "careless.py", 3), ("listen-guarded", "guarded.py", 1)],
)
def test_how_often_an_event_is_handled(
    url: str, tmp_path: Path, events: int, component: str, main: str, copies: int
) -> None:
    """After three calls, the careless trigger handles every event three times, the other once."""
    where = f"http://127.0.0.1:{events}/events?rate_hz=20&count=40"
    with line(url, tmp_path, component, main, url=where) as flow:
        worker = flow.start("a")
        for _ in range(3):
            flow.send(dict(LOAD))
        wait_for(lambda: stats(events)["events"] == 40, "all events are pushed")
        wait_for(lambda: flow.ready("b") == stats(events)["copies"], "all copies are emitted")
        assert stats(events)["connections"] == copies
        handled = Counter(flow.body(flow.queue("b"))["event"] for _ in range(flow.ready("b")))
        assert sorted(handled) == list(range(1, 41))
        assert handled[40] == copies
        assert worker.end() == 0, worker.said()
        assert worker.records(PROCESS)["outcome"].tolist() == [OK] * 3
        assert len(worker.records(EMIT)) == sum(handled.values())


def test_a_listener_does_not_hold_up_the_end(url: str, tmp_path: Path, events: int) -> None:
    """Told to stop amid events, the worker ends well, and all that it emitted has arrived."""
    where = f"http://127.0.0.1:{events}/events?rate_hz=500"
    with line(url, tmp_path, "listen-careless", "careless.py", url=where) as flow:
        worker = flow.start("a")
        for _ in range(3):
            flow.send(dict(LOAD))
        wait_for(lambda: flow.ready("b") > 100, "events are handled")
        assert worker.end() == 0
        assert "Traceback" not in worker.said()
        assert flow.broker.depth(flow.wiring.error_queue).ready == 0
        assert flow.ready("b") == len(worker.records(EMIT))


def test_a_message_says_which_revision_handled_it(url: str, tmp_path: Path) -> None:
    """The number of the code that ran is in the body that the next step gets."""
    with line(url, tmp_path, "revision", "revision.py") as flow:
        flow.start("a")
        flow.send(dict(LOAD))
        assert flow.body(flow.queue("b")) == {**LOAD, "revision": 1}


def source(name: str, main: str) -> str:
    """The code of a component of the catalogue."""
    return (COMPONENTS / name / main).read_text()


def test_a_tick_becomes_a_message(url: str, tmp_path: Path) -> None:
    """What the scheduler hands over arrives behind the timer, numbered and timed."""
    ticks: queue.SimpleQueue[Tick] = queue.SimpleQueue()
    scheduler = Scheduler()
    with line(url, tmp_path, "timer", "timer.py") as flow:
        flow.start("a")
        scheduler.add("line", Trigger(TriggerKind.INTERVAL, every_s=0.05), ticks.put)
        bodies = []
        for _ in range(3):
            flow.send(ticks.get(timeout=10).body())
            bodies.append(flow.body(flow.queue("b")))
        scheduler.close()
    assert [body["sequence"] for body in bodies] == [1, 2, 3]
    times = [datetime.fromisoformat(body["time"]) for body in bodies]
    assert times == sorted(set(times))


def test_what_was_posted_passes_the_webhook(url: str, tmp_path: Path) -> None:
    """A body that is no object arrives as it was."""
    with line(url, tmp_path, "webhook", "webhook.py") as flow:
        flow.start("a")
        flow.send(["any", {"json": None}])
        assert flow.body(flow.queue("b")) == ["any", {"json": None}]


def test_the_router_sees_what_earlier_steps_emitted(url: str, tmp_path: Path) -> None:
    """Of four messages the two above the first step's limit reach the third."""
    codes = (
        "def process(msg, cfg, snapshot): return {'limit': 2, 'n': msg['body']['n']}",
        "def process(msg, cfg, snapshot): return {'n': msg['body']['n']}",
        source("router", "router.py"),
        "def process(msg, cfg, snapshot): pass",
    )
    config = {"expression": "n > $passthrough.a.body.limit"}
    with Line(url, tmp_path, *codes, steps={"c": {"passthrough": True, "config": config}}) as flow:
        workers = [flow.start(step) for step in ("a", "b", "c")]
        for number in range(1, 5):
            flow.send({"n": number})
        assert [flow.body(flow.queue("d")) for _ in range(2)] == [{"n": 3}, {"n": 4}]
        assert [worker.end() for worker in workers] == [0, 0, 0]
        assert len(workers[2].records(PROCESS)) == 4
        assert len(workers[2].records(EMIT)) == 2
        assert flow.ready("d") == 0


def test_a_batch_is_split_and_collected(url: str, tmp_path: Path) -> None:
    """Five rows in parts of two are three messages, and one again behind the aggregator."""
    codes = (
        source("splitter", "splitter.py"),
        source("aggregator", "aggregator.py"),
        "def process(msg, cfg, snapshot): pass",
    )
    steps = {"a": {"config": {"rows": 2}}, "b": {"config": {"size": 3}}}
    with Line(url, tmp_path, *codes, steps=steps) as flow:
        workers = [flow.start(step) for step in ("a", "b")]
        flow.send({"csv": "n\n1\n2\n3\n4\n5\n", "batch": "x"})
        found = flow.body(flow.queue("c"))
        assert found["count"] == 3
        assert [body["part"] for body in found["bodies"]] == [1, 2, 3]
        rows = [row["n"] for body in found["bodies"] for row in body["rows"]]
        assert rows == ["1", "2", "3", "4", "5"]
        assert [worker.end() for worker in workers] == [0, 0]
        assert workers[0].records(PROCESS)["aux"].tolist() == [3]


def test_what_was_collected_outlives_the_worker(url: str, tmp_path: Path) -> None:
    """Two of three are in the snapshot that the platform keeps: the next worker needs one more."""
    with line(url, tmp_path, "aggregator", "aggregator.py", size=3) as flow:
        first = flow.start("a")
        flow.send({"n": 1})
        flow.send({"n": 2})
        flow.take(flow.wiring.snapshot_queue)
        kept = json.loads(flow.take(flow.wiring.snapshot_queue).message.body)
        assert first.end() == 0
        path = tmp_path / "snapshot.json"
        path.write_text(json.dumps(kept["snapshot"]))
        flow.start("a", snapshot_file=str(path))
        flow.send({"n": 3})
        found = flow.body(flow.queue("b"))
        assert found == {"count": 3, "bodies": [{"n": 1}, {"n": 2}, {"n": 3}]}


def test_busy_costs_the_worker_what_it_says(url: str, tmp_path: Path) -> None:
    """Ten messages of 20 ms each are at least 200 ms of the worker's CPU clock."""
    with line(url, tmp_path, "busy", "busy.py", cpu_ms=20) as flow:
        worker = flow.start("a")
        before = psutil.Process(worker.process.pid).cpu_times()
        for number in range(10):
            flow.send({"n": number})
        assert [flow.body(flow.queue("b"))["n"] for _ in range(10)] == list(range(10))
        after = psutil.Process(worker.process.pid).cpu_times()
        # The kernel counts in hundredths of a second.
        assert (after.user + after.system) - (before.user + before.system) >= 0.19


def test_the_memory_hog_fills_the_worker(url: str, tmp_path: Path) -> None:
    """Three messages of 20 MB each are 60 MB more in the worker's memory."""
    with line(url, tmp_path, "memory-hog", "hog.py", bytes=20_000_000) as flow:
        worker = flow.start("a")
        before = psutil.Process(worker.process.pid).memory_info().rss
        for number in range(3):
            flow.send({"n": number})
        assert [flow.body(flow.queue("b"))["held_bytes"] for _ in range(3)][-1] == 60_000_000
        assert psutil.Process(worker.process.pid).memory_info().rss - before >= 57_000_000


@pytest.mark.parametrize(
    ("component", "main", "config", "said"),
    [
        ("router", "router.py", {"expression": "n >"}, "Unexpected end"),
        ("mapper", "mapper.py", {"expression": "{"}, "Expected"),
        ("splitter", "splitter.py", {"rows": 0}, "rows is 0"),
        ("aggregator", "aggregator.py", {"size": 0}, "size is 0"),
        ("busy", "busy.py", {"cpu_ms": -1}, "cpu_ms is -1"),
        ("memory-hog", "hog.py", {"bytes": -1}, "bytes is -1"),
    ],
)
def test_a_configuration_that_makes_no_sense_ends_the_worker(
    url: str, tmp_path: Path, component: str, main: str, config: dict[str, Any], said: str
) -> None:
    """Before it takes a message, with the component's exit code and the step's name."""
    with line(url, tmp_path, component, main, **config) as flow:
        worker = flow.begin("a")
        assert worker.wait() == EXIT_COMPONENT
        assert "step a: the component's init hook failed" in worker.said()
        assert said in worker.said()
