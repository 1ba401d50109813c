"""Messages that go wrong, and what a component may do: real workers on RabbitMQ and on NATS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.broker import Binding, Queue, Topology
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import InputError, PublishRefused
from runtime.message import decode_body
from runtime.retry import publish_again, read_failure, read_snapshot
from runtime.spans import EMIT, LATE, OK, PROCESS, REBOUND
from tests.fakes.line import Line, wait_for

Open = Callable[..., Line]
KINDS = [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), pytest.param("nats")]
ECHO = "def process(msg, cfg, snapshot):\n    return {'body': msg['body']}\n"


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of each kind that the tests share."""
    kind: str = request.param
    server = (RabbitNode if kind == "rabbitmq" else NatsServer).start(
        "messages", tmp_path_factory.mktemp(kind)
    )
    with server as running:
        yield running.url


@pytest.fixture
def line(url: str, tmp_path: Path) -> Iterator[Open]:
    """Makes one flow on that broker."""
    opened: list[Line] = []

    def make(*codes: str, **steps: dict[str, Any]) -> Line:
        opened.append(Line(url, tmp_path, *codes, steps=steps))
        return opened[0]

    yield make
    for one in opened:
        one.__exit__(None, None, None)


# -- bounded queues (D9) -------------------------------------------------------------------------


@pytest.mark.requirement("D9")
def test_d9_a_full_queue_holds_back_its_publisher(line: Open) -> None:
    """A refused message is sent again until there is room; its input waits, nothing is lost."""
    flow = line(ECHO, ECHO, b={"max_length": 1})
    worker = flow.start("a", ELASTICIO_AMQP_PUBLISH_RETRY_DELAY="20")
    for number in range(3):
        flow.send(number)
    wait_for(lambda: worker.said().count("is sent again in") >= 3, "a few refusals")
    assert (flow.ready("b"), flow.ready("a")) == (1, 1)
    assert "sent again in 80 ms" in worker.said()
    assert [flow.body(flow.queue("b")) for _ in range(3)] == [0, 1, 2]
    wait_for(lambda: len(worker.records(EMIT)) == 3, "all are recorded")
    assert worker.end() == 0
    assert worker.records(EMIT)["outcome"].tolist() == [OK] * 3
    assert flow.broker.get(flow.wiring.error_queue) is None
    waited_ns = worker.records(EMIT)["t3_ns"] - worker.records(EMIT)["t1_ns"]
    assert waited_ns[1] > 20_000_000


@pytest.mark.requirement("D9")
def test_d9_a_queue_full_of_bytes_holds_back_too(line: Open) -> None:
    """The bound on bytes does what the one on messages does."""
    flow = line(ECHO, ECHO, b={"max_bytes": 3000})
    worker = flow.start("a", ELASTICIO_AMQP_PUBLISH_RETRY_DELAY="20")
    for number in range(8):
        flow.send(f"{number}{'x' * 1000}")
    wait_for(lambda: "is sent again in" in worker.said(), "a refusal")
    assert [flow.body(flow.queue("b"))[0] for _ in range(8)] == list("01234567")


@pytest.mark.requirement("D9")
def test_d9_an_end_while_the_queue_is_full_returns_the_input(line: Open) -> None:
    """A worker that is stopped while it waits ends at once, and its input goes to the next one."""
    flow = line(ECHO, ECHO, b={"max_length": 1})
    worker = flow.start("a")
    flow.send("fills it")
    flow.send("waits")
    wait_for(lambda: "is sent again in" in worker.said(), "a refusal")
    assert worker.end() == 0
    wait_for(lambda: flow.ready("a") == 1, "the input is back")
    assert flow.body(flow.queue("b")) == "fills it"
    flow.start("a")
    assert flow.body(flow.queue("b")) == "waits"


@pytest.mark.requirement("D9")
def test_d9_a_one_shot_worker_ends_when_its_message_is_taken(line: Open) -> None:
    """The container of an ordinary flow waits for room, and then ends with its one message done."""
    flow = line(ECHO, ECHO, b={"max_length": 1})
    for name in ("first", "second", "third"):
        flow.send(name)
    assert flow.begin("a", HOPBENCH_ONE_SHOT="1").wait() == 0
    worker = flow.begin("a", HOPBENCH_ONE_SHOT="1", ELASTICIO_AMQP_PUBLISH_RETRY_DELAY="20")
    wait_for(lambda: "is sent again in" in worker.said(), "a refusal")
    assert worker.process.poll() is None
    assert [flow.body(flow.queue("b")) for _ in range(2)] == ["first", "second"]
    assert worker.wait() == 0
    wait_for(lambda: flow.ready("a") == 1, "the third one is back, or was never taken")


@pytest.mark.requirement("D9")
@pytest.mark.rabbitmq
def test_d9_heartbeats_are_answered_while_the_queue_is_full(tmp_path: Path) -> None:
    """A publisher that waits longer than the heartbeat allows keeps its connection."""
    with (
        RabbitNode.start("messages", tmp_path / "node") as node,
        Line(node.url, tmp_path, ECHO, ECHO, steps={"b": {"max_length": 1}}) as flow,
    ):
        worker = flow.start("a", url=f"{node.url}?heartbeat=1")
        flow.send("fills it")
        flow.send("waits")
        wait_for(lambda: "is sent again in 3200 ms" in worker.said(), "a long wait")
        assert [flow.body(flow.queue("b")) for _ in range(2)] == ["fills it", "waits"]
        assert worker.end() == 0


# -- what a step is given (D10) ------------------------------------------------------------------

TALKS = """
def process(msg, cfg, snapshot, context):
    context.logger.debug("every detail")
    context.logger.info("as much as asked for")
    return {"body": msg["body"]}
"""
SLOW = """
import time
def process(msg, cfg, snapshot):
    time.sleep(600)
"""


@pytest.mark.requirement("D10")
def test_d10_persistence_and_log_level(line: Open) -> None:
    """Messages are persistent where their step says so; its log has what its level lets through."""
    flow = line(TALKS, TALKS, ECHO, a={"persistent": True, "log_level": "INFO"})
    first, second = flow.start("a"), flow.start("b")
    flow.send(1)
    assert flow.take(flow.queue("c")).message.persistent is False
    second.end()
    flow.send(2)
    assert flow.take(flow.queue("b")).message.persistent is True
    assert ("as much as asked for" in first.said(), "every detail" in first.said()) == (True, False)
    assert "as much as asked for" not in second.said()


@pytest.mark.requirement("D10")
def test_d10_prefetch(line: Open) -> None:
    """A busy worker holds as many messages as its prefetch, and no more."""
    flow = line(SLOW, a={"prefetch": 3})
    flow.start("a")
    for number in range(5):
        flow.send(number)
    wait_for(lambda: flow.ready("a") == 2, "three are in hand")
    time.sleep(0.2)
    assert flow.ready("a") == 2


@pytest.mark.requirement("D10")
def test_d10_prefetch_is_one_where_none_is_given(line: Open) -> None:
    """A busy worker has the one message that it is at."""
    flow = line(SLOW)
    flow.start("a")
    for number in range(3):
        flow.send(number)
    wait_for(lambda: flow.ready("a") == 2, "one is in hand")
    time.sleep(0.2)
    assert flow.ready("a") == 2


# -- errors and rebounds (D11) -------------------------------------------------------------------

FRAGILE = """
import os
def process(msg, cfg, snapshot):
    if not os.path.exists(os.path.join(os.path.dirname(__file__), "mended")):
        raise ValueError("not mended yet")
    return {"body": msg["body"]}
"""


@pytest.mark.requirement("D11")
def test_d11_an_error_can_be_tried_again(line: Open) -> None:
    """The error has text, trace, step and the whole input; tried again, it goes through."""
    flow = line(FRAGILE, ECHO)
    worker = flow.start("a")
    flow.send({"n": "x" * 9_000_000}, **{"x-eio-meta-a": "kept"})
    message = flow.take(flow.wiring.error_queue).message
    failure = read_failure(message)
    assert (failure.step, failure.error) == ("a", "ValueError: not mended yet")
    assert "in process" in failure.trace
    assert flow.ready("a") == 0
    (flow.folder / "a" / "mended").touch()
    exchange = flow.wiring.topology.exchange
    assert publish_again(flow.broker, exchange, failure.cause) == flow.wiring.keys[0]
    passed = flow.take(flow.queue("b")).message
    assert decode_body(passed.body)["body"] == {"n": "x" * 9_000_000}
    assert (int(str(passed.headers["threadId"]), 16), passed.headers["x-eio-meta-a"]) == (1, "kept")
    assert worker.end() == 0


@pytest.mark.requirement("D11")
def test_d11_trying_again_what_cannot_be(line: Open) -> None:
    """A full queue, a step that is gone, a message that was not kept: each is said."""
    flow = line(FRAGILE, ECHO, a={"max_length": 1})
    worker = flow.start("a")
    flow.send(1)
    failure = read_failure(flow.take(flow.wiring.error_queue).message)
    assert failure.cause is not None
    worker.end()
    flow.send(2)
    exchange = flow.wiring.topology.exchange
    with pytest.raises(PublishRefused, match="full"):
        publish_again(flow.broker, exchange, failure.cause)
    with pytest.raises(PublishRefused, match="not there"):
        publish_again(flow.broker, exchange, {**failure.cause, "key": "9.gone"})
    with pytest.raises(InputError, match="not kept whole"):
        publish_again(flow.broker, exchange, {**failure.cause, "cut": True})
    assert flow.ready("a") == 1


REBOUNDS = """
import json, time
def process(msg, cfg, snapshot, context):
    with open(__file__ + ".calls", "a") as file:
        file.write(f"{time.monotonic_ns()}\\n")
        file.flush()
    times = msg["body"]
    with open(__file__ + ".calls") as file:
        if len(file.readlines()) <= times:
            context.emit("rebound", "the other side is busy")
            return None
    return {"body": "through"}
"""


@pytest.mark.requirement("D11")
def test_d11_a_rebound_returns_after_a_delay_that_doubles(line: Open) -> None:
    """Sent back twice: 300 ms, then 600 ms; other messages go on; then it goes through."""
    flow = line(REBOUNDS, ECHO)
    worker = flow.start("a")
    flow.send(2)
    assert flow.body(flow.queue("b")) == "through"
    calls = (flow.folder / "a" / "main.py.calls").read_text().split()
    first, second, third = (int(one) for one in calls)
    assert (second - first >= 300_000_000, third - second >= 600_000_000) == (True, True)
    wait_for(lambda: len(worker.records(PROCESS)) == 3, "all are recorded")
    assert worker.records(PROCESS)["outcome"].tolist() == [REBOUND, REBOUND, OK]
    assert set(worker.records(PROCESS)["message"].tolist()) == {1001}
    assert flow.broker.get(flow.wiring.error_queue) is None


@pytest.mark.requirement("D11")
def test_d11_rebounds_have_a_limit(line: Open) -> None:
    """One time more than the limit allows it is an error, with the input; retrying begins anew."""
    flow = line(REBOUNDS, ECHO)
    flow.start("a")
    flow.send(99)
    failure = read_failure(flow.take(flow.wiring.error_queue).message)
    assert failure.error.startswith("it was sent back 3 times, the limit; last: the other side")
    assert failure.cause is not None
    assert failure.cause["headers"]["reboundIteration"] == 3


@pytest.mark.requirement("D11")
def test_d11_a_rebound_survives_its_worker(line: Open) -> None:
    """Sent back and then killed: the broker has the message, the next worker gets it."""
    flow = line(REBOUNDS, ECHO)
    worker = flow.start("a")
    flow.send(1)
    wait_for(lambda: len(worker.records(PROCESS)) == 1, "it is sent back")
    worker.kill()
    flow.start("a")
    assert flow.body(flow.queue("b")) == "through"


# -- limits (D12) --------------------------------------------------------------------------------

LARGE = """
import threading
def process(msg, cfg, snapshot, context):
    large = {"body": "x" * (10 * 1024 * 1024)}
    if msg["body"] == "error":
        context.emit("error", "e" * (11 * 1024 * 1024))
    elif msg["body"] == "late":
        threading.Timer(0.1, context.emit, ("data", large)).start()
    elif msg["body"] == "fits":
        return {"body": "x" * (10 * 1024 * 1024 - 100)}
    else:
        context.emit("data", large)
"""


@pytest.mark.requirement("D12")
def test_d12_no_message_over_10_mib(line: Open) -> None:
    """Emitted, emitted late, as an error: refused or cut, reported; what just fits goes through."""
    flow = line(LARGE, ECHO)
    worker = flow.start("a")
    errors = flow.wiring.error_queue
    flow.send("emit")
    failure = read_failure(flow.take(errors).message)
    assert ("MessageTooLarge" in failure.error, "10485760" in failure.error) == (True, True)
    flow.send("late")
    failure = read_failure(flow.take(errors).message)
    assert "a thread of the component ended: MessageTooLarge" in failure.error
    assert failure.cause is None
    flow.send("error")
    message = flow.take(errors).message
    assert (len(message.body) < 100_000, read_failure(message).error[:3]) == (True, "eee")
    assert flow.ready("b") == 0
    flow.send("fits")
    assert len(flow.take(flow.queue("b")).message.body) > 10 * 1024 * 1024 - 100
    assert worker.end() == 0


# -- snapshots (D13) -----------------------------------------------------------------------------

COUNTS = """
def process(msg, cfg, snapshot, context):
    count = snapshot.get("count", 0) + 1
    first = {} if snapshot else {"of": "a"}
    context.emit("updateSnapshot", {**first, "count": count})
    return {"body": count}
"""
GROWS = """
def process(msg, cfg, snapshot, context):
    before = len(snapshot.get("text", ""))
    context.emit("snapshot", {"text": "x" * msg["body"]})
    return {"body": before}
"""


@pytest.mark.requirement("D13")
def test_d13_a_snapshot_is_kept_between_calls_and_starts(line: Open, tmp_path: Path) -> None:
    """Each call sees what the last one left; the platform gets it; the next start goes on there.

    An update leaves alone what it does not name.
    """
    flow = line(COUNTS, ECHO)
    worker = flow.start("a")
    for _ in range(3):
        flow.send(None)
    assert [flow.body(flow.queue("b")) for _ in range(3)] == [1, 2, 3]
    kept = [read_snapshot(flow.take(flow.wiring.snapshot_queue).message) for _ in range(3)]
    assert kept == [("a", {"of": "a", "count": count}) for count in (1, 2, 3)]
    assert worker.end() == 0
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(kept[-1][1]))
    flow.start("a", snapshot_file=str(path))
    flow.send(None)
    assert flow.body(flow.queue("b")) == 4


@pytest.mark.requirement("D13")
def test_d13_a_snapshot_is_small(line: Open) -> None:
    """One over 1 MiB is refused with an error; the one before stays what it was."""
    flow = line(GROWS, ECHO)
    worker = flow.start("a")
    for length in (10, 2 * 1024 * 1024, 0):
        flow.send(length)
    failure = read_failure(flow.take(flow.wiring.error_queue).message)
    assert ("MessageTooLarge" in failure.error, "1048576" in failure.error) == (True, True)
    assert [flow.body(flow.queue("b")) for _ in range(2)] == [0, 10]
    kept = [read_snapshot(flow.take(flow.wiring.snapshot_queue).message) for _ in range(2)]
    assert kept == [("a", {"text": "x" * 10}), ("a", {"text": ""})]
    assert worker.end() == 0


# -- passthrough and replies (D15) ---------------------------------------------------------------

ADDS = "def process(msg, cfg, snapshot):\n    return {'body': msg['body'] + 1}\n"
READS = """
def process(msg, cfg, snapshot, context):
    earlier = {step: one["body"] for step, one in msg["passthrough"].items()}
    context.emit("data", {"body": earlier})
    context.emit("httpReply", {"body": earlier})
"""


@pytest.mark.requirement("D15")
def test_d15_a_step_reads_earlier_outputs_and_answers_who_asked(line: Open) -> None:
    """Each earlier output is under its step's id; the reply goes to the value of reply_to."""
    flow = line(ADDS, ADDS, READS, ECHO, c={"passthrough": True})
    for step in "abc":
        flow.start(step)
    exchange = flow.wiring.topology.exchange
    reply = Queue(f"{exchange}.reply")
    flow.broker.declare(Topology(exchange, (reply,), (Binding("reply.1", reply.name),)))
    flow.send(1, reply_to="reply.1")
    message = decode_body(flow.take(flow.queue("d")).message.body)
    assert (message["body"], "passthrough" in message) == ({"a": 2, "b": 3}, False)
    answer = flow.take(reply.name).message
    assert decode_body(answer.body)["body"] == {"a": 2, "b": 3}
    flow.broker.delete(Topology("", (reply,), ()))
    flow.send(5, reply_to="reply.1")
    assert flow.body(flow.queue("d")) == {"a": 6, "b": 7}
    assert flow.broker.get(flow.wiring.error_queue) is None


# -- hooks (D16) ---------------------------------------------------------------------------------

HOOKS = """
import json
def note(*what):
    with open(__file__ + ".calls", "a") as file:
        file.write(json.dumps(what) + "\\n")
def startup(cfg):
    note("startup", cfg)
    return {"registered": 7}
def init(cfg):
    note("init", cfg)
def shutdown(cfg, state):
    note("shutdown", state)
def process(msg, cfg, snapshot):
    note("process", msg["body"])
"""
HANGS = """
import time
def {hook}(*given):
    time.sleep(600)
def process(msg, cfg, snapshot):
    pass
"""


@pytest.mark.requirement("D16")
def test_d16_hooks_are_called_in_their_order(line: Open) -> None:
    """startup, init, then messages, then shutdown with what startup returned."""
    flow = line(HOOKS, a={"config": {"x": 1}})
    worker = flow.start("a", ELASTICIO_STARTUP_REQUIRED="true")
    flow.send("first")
    calls = flow.folder / "a" / "main.py.calls"
    wait_for(lambda: len(worker.records(PROCESS)) == 1, "the message is handled")
    assert worker.end() == 0
    assert [json.loads(one) for one in calls.read_text().splitlines()] == [
        ["startup", {"x": 1}], ["init", {"x": 1}], ["process", "first"],
        ["shutdown", {"registered": 7}],
    ]  # fmt: skip


@pytest.mark.requirement("D16")
def test_d16_the_shutdown_hook_can_have_a_process_of_its_own(line: Open, tmp_path: Path) -> None:
    """A platform keeps what startup returned; shutdown gets it, whenever the flow is stopped."""
    flow = line(HOOKS)
    state = {"HOPBENCH_STARTUP_STATE": str(tmp_path / "startup.json")}
    assert flow.start("a", ELASTICIO_STARTUP_REQUIRED="true", **state).end() == 0
    assert json.loads((tmp_path / "startup.json").read_text()) == {"registered": 7}
    assert flow.begin("a", ELASTICIO_HOOK_SHUTDOWN="true", **state).wait() == 0
    calls = (flow.folder / "a" / "main.py.calls").read_text().splitlines()
    assert [json.loads(one)[0] for one in calls] == ["startup", "init", "shutdown"]
    assert json.loads(calls[-1]) == ["shutdown", {"registered": 7}]


@pytest.mark.requirement("D16")
@pytest.mark.parametrize("hook", ["startup", "init", "shutdown"])
def test_d16_a_hook_that_hangs_is_ended(line: Open, hook: str) -> None:
    """After its limit the worker ends with a code of its own, and says which hook of which step."""
    flow = line(HANGS.format(hook=hook))
    told = {"HOPBENCH_HOOK_TIMEOUT_S": "1", "ELASTICIO_STARTUP_REQUIRED": "true"}
    if hook == "shutdown":
        worker = flow.start("a", **told)
        assert worker.end() == 6
    else:
        worker = flow.begin("a", **told)
        assert worker.wait() == 6
    assert f"step a: the component's {hook} hook has not returned within 1 s" in worker.said()


# -- late emits ----------------------------------------------------------------------------------

LISTENS = """
import threading
def process(msg, cfg, snapshot, context):
    def listen():
        for number in range(msg["body"]):
            context.emit("data", {"body": number})
        with open(__file__ + ".done", "w"):
            pass
    threading.Timer(0.1, listen).start()
"""


def test_late_emits_are_sent_and_none_is_lost_at_the_end(line: Open) -> None:
    """A listener emits after process() has returned; all of it arrives, though the worker ends."""
    flow = line(LISTENS, ECHO)
    worker = flow.start("a")
    flow.send(500)
    wait_for((flow.folder / "a" / "main.py.done").exists, "all is emitted")
    assert worker.end() == 0
    assert flow.ready("b") == 500
    emitted = worker.records(EMIT)
    assert emitted["outcome"].tolist() == [OK] * 500
    assert set(emitted["parent"].tolist()) == {1001}
    assert (emitted["flags"] & LATE != 0).all()
    (processed,) = worker.records(PROCESS)
    assert (emitted["t1_ns"] > processed["t3_ns"]).all()
    message = flow.take(flow.queue("b")).message
    assert message.headers["parentMessageId"] == f"{1001:016x}"


def test_late_emits_into_a_full_queue_are_kept_with_an_error(line: Open) -> None:
    """What cannot be sent to the end is on the error queue, and can be sent to the next step."""
    flow = line(LISTENS, ECHO, b={"max_length": 2})
    worker = flow.start("a")
    flow.send(3)
    wait_for(lambda: "is sent again in" in worker.said(), "a refusal")
    assert worker.end() == 0
    failure = read_failure(flow.take(flow.wiring.error_queue).message)
    assert "refused a message for '1.b'" in failure.error
    assert [flow.body(flow.queue("b")) for _ in range(2)] == [0, 1]
    publish_again(flow.broker, flow.wiring.topology.exchange, failure.cause)
    assert flow.body(flow.queue("b")) == 2
