"""The components that trigger, decide, split, collect, and use up what there is."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from types import ModuleType
from typing import Any

import psutil
import pytest

from runtime.scheduler import Tick
from scenarios.files import COMPONENTS

Load = Callable[[str, str], ModuleType]


class Emitted:
    """A context that keeps what is emitted."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def emit(self, event: str, payload: Any = None) -> None:
        """Keep it."""
        self.events.append((event, payload))

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the messages."""
        return [payload["body"] for event, payload in self.events if event == "data"]


def message(body: Any, **more: Any) -> dict[str, Any]:
    """A message as the worker hands it over."""
    whole = {"id": "1", "body": body, "headers": {}, "attachments": {}, "passthrough": {}}
    return {**whole, **more}


def test_the_timer_passes_a_tick_on(component: Load) -> None:
    """The message has the tick's own sequence and time."""
    due = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
    tick = Tick(sequence=7, due=due, due_ns=1, at_ns=2, missed=3)
    assert component("timer", "tick").process(message(tick.body()), {}, {}) == {
        "body": {"sequence": 7, "time": "2026-01-01T12:00:00.000+00:00", "missed": 3}
    }


def test_the_reply_answers_and_passes_on(component: Load) -> None:
    """Who waits gets the body with the status that is configured; the next step gets it, too."""
    reply, context = component("reply", "answer"), Emitted()
    assert reply.process(message({"n": 1}), {"status": 201}, {}, context)["body"] == {"n": 1}
    reply.process(message([]), {}, {}, context)
    assert context.events == [
        ("httpReply", {"body": {"n": 1}, "statusCode": 201}),
        ("httpReply", {"body": [], "statusCode": 200}),
    ]
    with pytest.raises(ValueError, match="give a number from 200 to 599"):
        reply.process(message({}), {"status": "OK"}, {}, context)


def test_the_timer_counts_where_nobody_else_does(component: Load) -> None:
    """Called with an empty body, it numbers its calls and says when they were."""
    timer = component("timer", "tick")
    given: tuple[Any, ...] = (None, {})
    bodies = [timer.process(message(body), {}, {})["body"] for body in given]
    assert [body["sequence"] for body in bodies] == [1, 2]
    first, second = (datetime.fromisoformat(body["time"]) for body in bodies)
    assert first <= second


@pytest.mark.parametrize("body", [{"a": 1}, [1, 2], "text", None, 0])
def test_the_webhook_passes_on_what_was_posted(component: Load, body: Any) -> None:
    """Any JSON, with the headers that came with it."""
    given = message(body, headers={"content-type": "application/json"})
    assert component("webhook", "receive").process(given, {}, {}) == {
        "body": body,
        "headers": {"content-type": "application/json"},
        "attachments": {},
    }


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("total > 10", True),
        ("total > 20", False),
        ("missing > 10", False),
        ("missing", False),
        ("$exists(total) and country in ['DE', 'FR']", True),
        ("$passthrough.source.body.limit < total", True),
        ("$passthrough.other.body.limit < total", False),
    ],
)
def test_the_router_decides_by_its_expression(
    component: Load, expression: str, passes: bool
) -> None:
    """A message passes as it came, or is dropped; earlier steps' outputs may decide."""
    given = message(
        {"total": 12, "country": "DE"},
        headers={"h": "1"},
        passthrough={"source": {"body": {"limit": 5}}},
    )
    found = component("router", "filter").process(given, {"expression": expression}, {})
    kept = {name: given[name] for name in ("body", "headers", "attachments")}
    assert found == (kept if passes else None)


def test_the_router_decides_each_message_anew(component: Load) -> None:
    """What an earlier message was passed does not stay for the next one."""
    router = component("router", "filter")
    config = {"expression": "$exists($passthrough.source)"}
    assert router.process(message({}, passthrough={"source": {"body": 1}}), config, {}) is not None
    assert router.process(message({}), config, {}) is None
    # A step that was not given passthrough has messages without any.
    without: dict[str, Any] = {"body": {}, "headers": {}, "attachments": {}}
    assert router.process(without, config, {}) is None


@pytest.mark.parametrize("expression", ["total", "country", "[1]", "{}"])
def test_the_router_wants_true_or_false(component: Load, expression: str) -> None:
    """A number that happens to be there is no decision."""
    given = message({"total": 12, "country": "DE"})
    with pytest.raises(ValueError, match="not true or false"):
        component("router", "filter").process(given, {"expression": expression}, {})


def test_the_router_compiles_before_the_first_message(component: Load) -> None:
    """A broken expression ends the step before it consumes."""
    with pytest.raises(RuntimeError, match="Unexpected end"):
        component("router", "filter").init({"expression": "total >"})


CSV = 'name,price\r\n"Bolt, long",2.5\r\nNut,1\r\n\r\n"Two\nlines",3\r\n'
ROWS = [
    {"name": "Bolt, long", "price": "2.5"},
    {"name": "Nut", "price": "1"},
    {"name": "Two\nlines", "price": "3"},
]


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 1, 1]), (2, [2, 1]), (10, [3])])
def test_the_splitter_makes_parts(component: Load, size: int, expected: list[int]) -> None:
    """Every row is in one part, in order; what else the body has goes along with each."""
    context = Emitted()
    splitter = component("splitter", "split")
    given = message({"csv": CSV, "sequence": 7, "data": ""})
    splitter.process(given, {"rows": size}, {}, context)
    assert [len(body["rows"]) for body in context.bodies] == expected
    assert [row for body in context.bodies for row in body["rows"]] == ROWS
    assert [body["part"] for body in context.bodies] == list(range(1, len(expected) + 1))
    for body in context.bodies:
        assert {name: body[name] for name in set(body) - {"rows", "part"}} == {
            "parts": len(expected),
            "sequence": 7,
            "data": "",
        }


def test_the_splitter_takes_its_field_and_delimiter(component: Load) -> None:
    """Both can be chosen."""
    context = Emitted()
    config = {"field": "text", "delimiter": ";"}
    component("splitter", "split").process(message({"text": "a;b\n1;2"}), config, {}, context)
    assert context.bodies == [{"rows": [{"a": "1", "b": "2"}], "part": 1, "parts": 1}]


@pytest.mark.parametrize("text", ["", "a,b", "a,b\n\n"])
def test_the_splitter_emits_nothing_for_no_rows(component: Load, text: str) -> None:
    """A batch of nothing is no message."""
    context = Emitted()
    component("splitter", "split").process(message({"csv": text}), {}, {}, context)
    assert context.events == []


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("a,b\n1,2\n1,2,3", ValueError, "line 3 has 3 values, the first 2"),
        ("a,b\n1", ValueError, "line 2 has 1 values, the first 2"),
        ('a,b\n1,"2', csv.Error, "unexpected end of data"),
        ('a,b\n1,"2"x', csv.Error, "expected after"),
    ],
)
def test_the_splitter_emits_nothing_of_broken_csv(
    component: Load, text: str, error: type[Exception], said: str
) -> None:
    """Rows before the broken one are not emitted: the batch fails as a whole."""
    context = Emitted()
    with pytest.raises(error, match=said):
        component("splitter", "split").process(message({"csv": text}), {}, {}, context)
    assert context.events == []


def test_the_splitter_takes_large_values(component: Load) -> None:
    """A value of 1 MiB is over the csv module's own limit, not over ours."""
    context = Emitted()
    text = "a\n" + "x" * 1024 * 1024
    component("splitter", "split").process(message({"csv": text}), {}, {}, context)
    assert len(context.bodies[0]["rows"][0]["a"]) == 1024 * 1024


def test_the_aggregator_makes_one_of_so_many(component: Load) -> None:
    """Two of three are kept in the snapshot, in order; the third gives all of them on."""
    aggregator = component("aggregator", "collect")
    context = Emitted()
    snapshot: dict[str, Any] = {}
    given = []
    for number in range(7):
        given.append(aggregator.process(message({"n": number}), {"size": 3}, snapshot, context))
        event, snapshot = context.events[-1]
        assert event == "snapshot"
    three, six = given[2], given[5]
    assert three == {"body": {"count": 3, "bodies": [{"n": 0}, {"n": 1}, {"n": 2}]}}
    assert six == {"body": {"count": 3, "bodies": [{"n": 3}, {"n": 4}, {"n": 5}]}}
    assert [found for found in given if found is not None] == [three, six]
    assert snapshot == {"bodies": [{"n": 6}]}


def test_busy_uses_processor_time(component: Load) -> None:
    """Its thread's CPU clock has moved on by what was asked for."""
    busy = component("busy", "work")
    before_ns = time.thread_time_ns()
    assert busy.process(message({"a": 1}), {"cpu_ms": 20}, {}) == {"body": {"a": 1}}
    assert time.thread_time_ns() - before_ns >= 20_000_000


def test_busy_goes_by_the_cpu_clock_alone(component: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the first reading that has reached what was asked for."""
    busy = component("busy", "work")
    readings = iter([5_000_000, 9_000_000, 24_999_999, 25_000_000, 99_000_000])
    monkeypatch.setattr(time, "thread_time_ns", lambda: next(readings))
    busy.process(message({}), {"cpu_ms": 20}, {})
    assert next(readings) == 99_000_000


def test_the_memory_hog_takes_memory_that_is_there() -> None:
    """Resident memory grows by what was asked for, call by call, and stays."""
    code = (
        "import hog, sys\n"
        "for size in (0, 40_000_000, 40_000_000):\n"
        "    body = hog.process({'body': {}}, {'bytes': size}, {})['body']\n"
        "    print(body['held_bytes'], flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=COMPONENTS / "memory-hog",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        resident = []
        for held in (0, 40_000_000, 80_000_000):
            assert process.stdout.readline() == f"{held}\n"
            resident.append(psutil.Process(process.pid).memory_info().rss)
            process.stdin.write("\n")
    assert resident[1] - resident[0] >= 38_000_000
    assert resident[2] - resident[1] >= 38_000_000


@pytest.mark.parametrize(
    ("name", "function", "config"),
    [
        ("splitter", "split", {"rows": 0}),
        ("splitter", "split", {"rows": "2"}),
        ("splitter", "split", {"rows": True}),
        ("splitter", "split", {"delimiter": ";;"}),
        ("aggregator", "collect", {"size": 0}),
        ("aggregator", "collect", {"size": 2.5}),
        ("aggregator", "collect", {}),
        ("busy", "work", {"cpu_ms": -1}),
        ("busy", "work", {"cpu_ms": "5"}),
        ("busy", "work", {"cpu_ms": float("nan")}),
        ("memory-hog", "take", {"bytes": -1}),
        ("memory-hog", "take", {"bytes": 1.5}),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    component: Load, name: str, function: str, config: dict[str, Any]
) -> None:
    """Before the first message, when a worker runs the init hook."""
    with pytest.raises((ValueError, TypeError, KeyError)):
        component(name, function).init(config)
