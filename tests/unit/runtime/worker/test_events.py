"""What a worker does that is rare: refusals, errors, rebounds, snapshots, replies, late emits."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.broker import Message, Route
from runtime.errors import (
    ComponentError,
    HopbenchError,
    InputError,
    MessageTooLarge,
    PublishRefused,
)
from runtime.message import decode_body, encode_body, rebound_delay_ms
from runtime.spans import EMIT, ERROR, LATE, OK, PROCESS, REBOUND, REFUSED, UNSETTLED
from runtime.worker import snapshots
from runtime.worker.component import Context
from runtime.worker.failures import error_input
from tests.fakes.worker import Bench

QUICK: dict[str, Any] = {"ELASTICIO_AMQP_PUBLISH_RETRY_DELAY": "1"}


def echo(msg: dict[str, Any], _cfg: Any, _snapshot: Any, _context: Context) -> dict[str, Any]:
    """A component that emits what it gets."""
    return {"body": msg["body"]}


def emitting(event: str, payload: Any) -> Callable[..., None]:
    """A component that emits one thing."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        context.emit(event, payload)

    return process


def run_due(bench: Bench) -> None:
    """Wait until what was refused is due, and let it be sent again."""
    time.sleep(bench.handler.patience_s())
    bench.handler.run_errands()


def keeping(contexts: list[Context]) -> Callable[..., None]:
    """A component that gives its context to a listener, and returns."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        contexts.append(context)

    return process


def in_thread(action: Callable[[], object]) -> list[BaseException]:
    """Do something in a thread of its own; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except HopbenchError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


# -- refused -------------------------------------------------------------------------------------


def test_refused_output_is_sent_again_until_it_is_taken(tmp_path: Path) -> None:
    """The same message, as often as needed; the input stays unacknowledged meanwhile."""
    bench = Bench(tmp_path, echo, **QUICK)
    bench.give({"n": 1})
    sent = bench.broker.published[0][1]
    for number in range(1, 4):
        bench.broker.settle_all(accepted=False)
        assert (bench.broker.acked, bench.broker.published) == ([], [])
        assert bench.broker.woken == number
        run_due(bench)
        assert [message for _, message, _ in bench.broker.published] == [sent]
    bench.broker.settle_all()
    assert (bench.broker.acked, bench.broker.rejected) == ([1], [])
    assert bench.records(EMIT)["outcome"].tolist() == [OK]
    assert bench.records(PROCESS)["outcome"].tolist() == [OK]


def test_delay_doubles_up_to_its_bound(tmp_path: Path) -> None:
    """Each refusal waits twice as long as the one before, and none longer than the bound."""
    delays: dict[str, Any] = {
        "ELASTICIO_AMQP_PUBLISH_RETRY_DELAY": "20",
        "ELASTICIO_AMQP_PUBLISH_MAX_RETRY_DELAY": "50",
    }
    bench = Bench(tmp_path, echo, **delays)
    bench.give(1)
    waited_s = []
    for _ in range(4):
        bench.broker.settle_all(accepted=False)
        waited_s.append(bench.handler.patience_s())
        run_due(bench)
    bounds_s = (0.020, 0.040, 0.050, 0.050)
    # Some of each has passed when we look; the next shorter one would be over by then.
    assert [low < waited <= high for low, waited, high in zip(
        (0.0, 0.020, 0.040, 0.040), waited_s, bounds_s, strict=True
    )] == [True] * 4  # fmt: skip


def test_a_thousand_refusals_are_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages that are refused together do not fill the log."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        for number in range(1000):
            context.emit("data", number)

    bench = Bench(tmp_path, process, **QUICK)
    bench.give(1)
    bench.broker.settle_all(accepted=False)
    assert len(caplog.records) == 1
    run_due(bench)
    time.sleep(0.002)
    bench.handler.run_errands()
    numbers = [decode_body(message.body)["body"] for _, message, _ in bench.broker.published]
    assert numbers == list(range(1000))


def test_attempts_may_be_bounded(tmp_path: Path) -> None:
    """After so many attempts the message is given up: a REFUSED record, and an error."""
    bench = Bench(tmp_path, echo, **QUICK, ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS="2")
    bench.give(1)
    for _ in range(2):
        bench.broker.settle_all(accepted=False)
        run_due(bench)
    bench.broker.settle_all(accepted=False)
    assert [route.key for route, _, _ in bench.broker.published] == ["errors"]
    bench.broker.settle_all()
    assert bench.broker.rejected == [1]
    assert bench.records(EMIT)["outcome"].tolist() == [REFUSED]


def test_an_end_while_the_next_queue_is_full_settles_nothing(tmp_path: Path) -> None:
    """A worker that is stopped meanwhile leaves its input unacknowledged: it returns."""
    bench = Bench(tmp_path, echo)
    bench.give(1)
    bench.broker.settle_all(accepted=False)
    bench.handler.give_up()
    assert (bench.broker.acked, bench.broker.rejected) == ([], [])
    assert bench.records(PROCESS)["outcome"].tolist() == [UNSETTLED]
    assert bench.records(EMIT)["outcome"].tolist() == [UNSETTLED]


def test_a_full_error_queue_keeps_the_input(tmp_path: Path) -> None:
    """An error report that is refused is sent again; the input is rejected only then."""
    bench = Bench(tmp_path, emitting("error", "no"), **QUICK)
    bench.give(1)
    bench.broker.settle_all(accepted=False)
    assert bench.broker.rejected == []
    run_due(bench)
    bench.broker.settle_all()
    assert bench.broker.rejected == [1]


# -- errors --------------------------------------------------------------------------------------


def test_error_input_is_whole_or_says_that_it_is_cut() -> None:
    """All bytes and headers of a message; of one that is too large its size, and that it is cut."""
    cause = Message(bytes(range(256)) * 1000, {"messageId": "a", "n": 1}, True)
    whole = error_input(cause, "own", whole=True)
    assert b64decode(whole["body"]) == cause.body
    assert (whole["headers"], whole["persistent"], whole["cut"]) == (cause.headers, True, False)
    cut = error_input(cause, "own", whole=False)
    assert (cut["cut"], cut["bytes"]) == (True, 256_000)
    assert cause.body.startswith(b64decode(cut["body"]))


def test_an_input_over_the_limit_is_cut_in_its_error(tmp_path: Path) -> None:
    """What another publisher sent over the platform's limit does not make the report as large."""
    bench = Bench(tmp_path, emitting("error", "no"), ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT="100000")
    bench.give("x" * 200_000)
    cause = decode_body(bench.broker.published[0][1].body)["errorInput"]
    assert (cause["cut"], cause["bytes"] > 200_000) == (True, True)


def test_an_error_that_the_broker_finds_too_large_arrives_with_less(tmp_path: Path) -> None:
    """A broker's own limit below ours costs the input, not the error, and not the worker."""
    bench = Bench(tmp_path, emitting("error", "no"))
    bench.broker.most_bytes = 100_000
    bench.give("x" * 200_000)
    report = decode_body(bench.broker.published[0][1].body)
    assert (report["error"], report["errorInput"]["cut"]) == ("no", True)
    bench.broker.settle_all()
    assert bench.broker.rejected == [1]


def test_an_output_that_the_broker_finds_too_large_fails_its_input(tmp_path: Path) -> None:
    """The input is rejected, and does not stay in hand for ever."""
    bench = Bench(tmp_path, lambda *_: {"body": "x" * 200_000})
    bench.broker.most_bytes = 100_000
    bench.give(1)
    assert "MessageTooLarge" in decode_body(bench.broker.published[0][1].body)["error"]
    bench.broker.settle_all()
    assert (bench.broker.rejected, bench.handler.is_unfinished()) == ([1], False)


# -- rebounds ------------------------------------------------------------------------------------


def test_rebound_sends_the_input_back(tmp_path: Path) -> None:
    """The same bytes and ids, the iteration counted, the reason told; acknowledged when kept."""
    bench = Bench(tmp_path, emitting("rebound", "not now"))
    bench.give({"n": 1}, extra={"reboundIteration": 2})
    ((route, message, _),) = bench.broker.published
    assert (route, bench.broker.later_ms) == (Route("exchange", "own"), [60_000])
    assert decode_body(message.body)["body"] == {"n": 1}
    assert message.headers["messageId"] == f"{101:016x}"
    assert (message.headers["reboundIteration"], message.headers["reboundReason"]) == (3, "not now")
    assert bench.broker.acked == []
    bench.broker.settle_all()
    assert bench.broker.acked == [1]
    assert bench.records(PROCESS)["outcome"].tolist() == [REBOUND]


def test_rebounds_have_a_limit(tmp_path: Path) -> None:
    """The twenty-first time it is an error, which names the limit and the last reason."""
    bench = Bench(tmp_path, emitting("rebound", "never"))
    bench.give(1, extra={"reboundIteration": 20})
    ((route, message, _),) = bench.broker.published
    assert route.key == "errors"
    error = decode_body(message.body)["error"]
    assert ("20 times" in error, "never" in error) == (True, True)
    bench.broker.settle_all()
    assert bench.records(PROCESS)["outcome"].tolist() == [ERROR]


def test_an_error_outweighs_a_rebound(tmp_path: Path) -> None:
    """A component that asks for both has failed: nothing is sent back."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        context.emit("rebound", "later")
        raise ValueError("no")

    bench = Bench(tmp_path, process)
    bench.give(1)
    bench.broker.settle_all()
    assert (bench.broker.later_ms, bench.broker.rejected) == ([], [1])


def test_rebound_delays_double_up_to_a_day() -> None:
    """15 s, 30 s, 1 min, ... as the official runtime has it; never more than brokers can hold."""
    delays = [rebound_delay_ms(n, 15_000) for n in range(1, 21)]
    assert delays[:4] == [15_000, 30_000, 60_000, 120_000]
    assert delays == sorted(delays)
    assert delays[-1] == 86_400_000


# -- snapshots -----------------------------------------------------------------------------------


def test_snapshot_is_replaced_updated_and_seen_by_the_next_call(tmp_path: Path) -> None:
    """Process sees what it emitted before; changing what it is given keeps nothing."""
    seen: list[dict[str, Any]] = []

    def process(msg: Any, _cfg: Any, snapshot: dict[str, Any], context: Context) -> None:
        seen.append(json.loads(json.dumps(snapshot)))
        snapshot["changed"] = "without effect"
        context.emit(msg["body"]["event"], msg["body"]["payload"])

    bench = Bench(tmp_path, process, snapshot={"from": "before"})
    for number, (event, payload) in enumerate(
        [("updateSnapshot", {"a": 1}), ("updateSnapshot", {"a": 2, "b": 3}), ("snapshot", {"c": 4})]
    ):
        bench.give({"event": event, "payload": payload}, tag=number)
    bench.give({"event": "snapshot", "payload": {}}, tag=3)
    assert seen == [
        {"from": "before"}, {"from": "before", "a": 1}, {"from": "before", "a": 2, "b": 3},
        {"c": 4},
    ]  # fmt: skip
    assert bench.broker.published == []
    assert bench.broker.acked == [0, 1, 2, 3]


def test_snapshot_goes_to_the_platform_before_the_input_is_acknowledged(tmp_path: Path) -> None:
    """The whole snapshot, with its step; a message is done when its snapshot is kept."""
    bench = Bench(
        tmp_path, emitting("updateSnapshot", {"b": 2}), snapshot={"a": 1},
        ELASTICIO_SNAPSHOT_ROUTING_KEY="snapshots",
    )  # fmt: skip
    bench.give(1)
    ((route, message, _),) = bench.broker.published
    assert (route.key, message.persistent) == ("snapshots", True)
    assert json.loads(message.body) == {"step": "step", "snapshot": {"a": 1, "b": 2}}
    assert bench.broker.acked == []
    bench.broker.settle_all()
    assert bench.broker.acked == [1]


@pytest.mark.parametrize(
    ("payload", "says"),
    [("text", "needs an object"), ({"a": "x" * 2_000_000}, "limit of 1048576")],
)
def test_what_is_no_snapshot(tmp_path: Path, payload: Any, says: str) -> None:
    """A snapshot that is no object, or too large, is an error, and the old one stays."""
    bench = Bench(tmp_path, emitting("snapshot", payload), snapshot={"a": 1})
    bench.give(1)
    assert says in decode_body(bench.broker.published[0][1].body)["error"]
    assert bench.handler.snapshot == {"a": 1}


@pytest.mark.parametrize("content", ["[1]", "{", None])
def test_a_snapshot_file_that_is_none(tmp_path: Path, content: str | None) -> None:
    """A worker that cannot read the snapshot it was given does not begin with another one."""
    path = tmp_path / "snapshot.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"snapshot\.json"):
        snapshots.load(str(path))
    assert snapshots.load("") == {}


# -- passthrough and replies ---------------------------------------------------------------------


def test_passthrough_collects_what_each_step_emitted(tmp_path: Path) -> None:
    """Along a chain of carriers, the reader finds every earlier step's message under its id."""
    carry: dict[str, Any] = {"HOPBENCH_CARRY_PASSTHROUGH": "1"}
    seen: list[dict[str, Any]] = []
    message: Message | None = None
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, lambda msg, *_: {"body": msg["body"] + 1}, **carry,
                      ELASTICIO_STEP_ID=name)  # fmt: skip
        bench.give(1) if message is None else bench.hand_over(message)
        ((_, message, _),) = bench.broker.published
    assert message is not None
    assert message.headers["stepId"] == "two"
    reader = Bench(tmp_path, lambda msg, *_: seen.append(msg), HOPBENCH_PASSTHROUGH="1")
    reader.hand_over(message)
    passed = seen[0]["passthrough"]
    assert {step: one["body"] for step, one in passed.items()} == {"one": 2, "two": 3}
    assert all("passthrough" not in one for one in passed.values())


def test_without_passthrough_nothing_is_carried(tmp_path: Path) -> None:
    """A flow in which no step reads them has neither the member nor the header."""
    bench = Bench(tmp_path, echo)
    bench.give(1)
    message = bench.broker.published[0][1]
    assert "passthrough" not in decode_body(message.body)
    assert "stepId" not in message.headers


def test_reader_does_not_hand_on_what_nobody_reads(tmp_path: Path) -> None:
    """A component that returns its message as it came sends no passthrough to who does not ask."""
    bench = Bench(tmp_path, lambda msg, *_: msg, HOPBENCH_PASSTHROUGH="1")
    bench.give(1)
    assert "passthrough" not in decode_body(bench.broker.published[0][1].body)


def test_reply_goes_to_who_asked(tmp_path: Path) -> None:
    """HttpReply is published to the value of reply_to, which is carried along; acked after it."""
    bench = Bench(tmp_path, emitting("httpReply", {"body": {"answer": 42}}))
    bench.give(1, extra={"reply_to": "replies.7"})
    ((route, message, _),) = bench.broker.published
    assert (route, decode_body(message.body)["body"]) == (
        Route("exchange", "replies.7"), {"answer": 42},
    )  # fmt: skip
    bench.broker.settle_all()
    assert bench.broker.acked == [1]
    assert len(bench.records(EMIT)) == 0


def test_a_reply_that_nobody_takes_is_dropped(tmp_path: Path) -> None:
    """Who asked is gone: the message is done all the same, and nothing is tried again."""
    bench = Bench(tmp_path, emitting("httpReply", {"body": 1}))
    bench.give(1, extra={"reply_to": "gone"})
    bench.broker.settle_all(accepted=False)
    assert (bench.broker.acked, bench.broker.rejected) == ([1], [])
    assert bench.handler.retries is None


def test_a_reply_without_reply_to_is_an_error(tmp_path: Path) -> None:
    """A component that answers where nobody asked is told so."""
    bench = Bench(tmp_path, emitting("httpReply", {"body": 1}))
    bench.give(1)
    assert "without reply_to" in decode_body(bench.broker.published[0][1].body)["error"]


def test_who_waits_for_a_reply_is_told_of_the_error(tmp_path: Path) -> None:
    """An error goes to the error queue, and as an error to who waits."""
    bench = Bench(tmp_path, emitting("error", "no"))
    bench.give(1, extra={"reply_to": "replies.7"})
    (reply_route, reply, _), (route, _, _) = bench.broker.published
    assert (reply_route.key, route.key) == ("replies.7", "errors")
    assert decode_body(reply.body)["body"]["error"] == "no"
    assert reply.headers["x-eio-error-response"] == "true"


# -- late emits ----------------------------------------------------------------------------------


def test_late_emit_is_sent_by_the_brokers_thread(tmp_path: Path) -> None:
    """Another thread's emit is handed over, wakes the worker, and belongs to the last message."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts))
    bench.give(1, tag=1)
    bench.give(1, tag=2)
    assert bench.broker.acked == [1, 2]
    assert in_thread(lambda: contexts[0].emit("data", {"event": 7})) == []
    assert (bench.broker.published, bench.broker.woken) == ([], 1)
    bench.handler.run_errands()
    ((route, message, _),) = bench.broker.published
    assert (route.key, decode_body(message.body)["body"]) == ("next", {"event": 7})
    assert len(bench.records(EMIT)) == 0
    bench.broker.settle_all()
    (emitted,) = bench.records(EMIT)
    assert (int(emitted["trace"]), int(emitted["parent"])) == (2, 102)
    assert int(emitted["flags"]) & LATE
    assert not bench.handler.is_unfinished()


def test_emit_by_a_thread_of_process_holds_its_input(tmp_path: Path) -> None:
    """What a thread emits before its message is settled is one of that message's outputs."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        assert in_thread(lambda: context.emit("data", {"n": 1})) == []
        context.emit("data", {"n": 2})

    bench = Bench(tmp_path, process)
    bench.give(1)
    bench.handler.run_errands()
    assert len(bench.broker.published) == 2
    bench.broker.published.pop(0)[2](True, 60)  # type: ignore[misc]
    assert bench.broker.acked == []
    bench.broker.settle_all()
    assert bench.broker.acked == [1]
    assert bench.records(PROCESS)["aux"].tolist() == [2]
    assert not (bench.records(EMIT)["flags"] & LATE).any()


def test_late_emit_before_the_first_message_is_refused(tmp_path: Path) -> None:
    """Without any message there is no execution that it could belong to."""
    bench = Bench(tmp_path, echo)
    (error,) = in_thread(lambda: bench.handler.emit("data", 1))
    assert isinstance(error, ComponentError)
    assert "before the first message" in str(error)


def test_late_emit_over_the_limit_is_refused_to_who_emits(tmp_path: Path) -> None:
    """The listener's thread gets the error; nothing is sent."""
    contexts: list[Context] = []
    limit: dict[str, Any] = {"ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT": "1000"}
    bench = Bench(tmp_path, keeping(contexts), **limit)
    bench.give(1)
    (error,) = in_thread(lambda: contexts[0].emit("data", "x" * 2000))
    assert isinstance(error, MessageTooLarge)
    bench.handler.run_errands()
    assert bench.broker.published == []


def test_late_emits_are_bounded(tmp_path: Path) -> None:
    """A listener that emits faster than the next step reads is refused, not stored for ever."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts))
    bench.give(1)

    def flood() -> None:
        for _ in range(10_001):
            contexts[0].emit("data", 1)

    (error,) = in_thread(flood)
    assert isinstance(error, PublishRefused)
    bench.handler.run_errands()
    assert len(bench.broker.published) == 10_000


def test_late_errors_snapshots_and_replies(tmp_path: Path) -> None:
    """What a listener reports goes the same ways; its error has no input that caused it."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts), ELASTICIO_SNAPSHOT_ROUTING_KEY="snapshots")
    bench.give(1, extra={"reply_to": "asker"})

    def listen() -> None:
        contexts[0].emit("error", "lost it")
        contexts[0].emit("updateSnapshot", {"a": 1})
        contexts[0].emit("updateSnapshot", {"b": 2})
        contexts[0].emit("httpReply", {"body": 3})
        contexts[0].emit("end")

    assert in_thread(listen) == []
    bench.handler.run_errands()
    sent = [(route.key, json.loads(message.body)) for route, message, _ in bench.broker.published]
    assert [key for key, _ in sent] == ["errors", "snapshots", "snapshots", "asker"]
    assert (sent[0][1]["error"], sent[0][1]["errorInput"]) == ("lost it", None)
    assert sent[2][1]["snapshot"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("event", ["rebound", "datum"])
def test_late_events_that_there_are_not(tmp_path: Path, event: str) -> None:
    """A rebound cannot be asked for when the message may be settled; nor can what is unknown."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts))
    bench.give(1)
    (error,) = in_thread(lambda: contexts[0].emit(event, 1))
    assert isinstance(error, ComponentError)


def test_late_emit_that_is_refused_to_the_end_is_reported(tmp_path: Path) -> None:
    """A worker that ends while the next queue is full leaves the message with its error."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts))
    bench.give(1)
    in_thread(lambda: contexts[0].emit("data", {"event": 7}))
    bench.handler.run_errands()
    bench.broker.settle_all(accepted=False)
    assert bench.handler.late is not None
    bench.handler.late.close()
    (error,) = in_thread(lambda: contexts[0].emit("data", 8))
    assert "ending" in str(error)
    bench.handler.late.give_up_refused()
    ((route, message, _),) = bench.broker.published
    cause = decode_body(message.body)["errorInput"]
    assert (route.key, cause["key"]) == ("errors", "next")
    assert decode_body(b64decode(cause["body"]))["body"] == {"event": 7}
    assert bench.records(EMIT)["outcome"].tolist() == [REFUSED]
    assert not bench.handler.is_unfinished()


def test_unsettled_late_emit_is_recorded_as_such(tmp_path: Path) -> None:
    """What the broker has not confirmed when the worker ends is not passed off as sent."""
    contexts: list[Context] = []
    bench = Bench(tmp_path, keeping(contexts))
    bench.give(1)
    in_thread(lambda: contexts[0].emit("data", 1))
    bench.handler.run_errands()
    bench.handler.give_up()
    assert bench.records(EMIT)["outcome"].tolist() == [UNSETTLED]


def test_message_as_it_came_is_unchanged_by_its_error(tmp_path: Path) -> None:
    """An input that is no JSON at all is whole in its error, byte for byte."""
    bench = Bench(tmp_path, echo)
    bench.hand_over(Message(b"\xff\x00 nonsense", {"messageId": "1", "threadId": "2"}))
    cause = decode_body(bench.broker.published[0][1].body)["errorInput"]
    assert b64decode(cause["body"]) == b"\xff\x00 nonsense"
    assert encode_body({"a": 1}) == b'{"a":1}'
