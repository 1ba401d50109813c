"""What a worker does with one message: into ``process``, out, acknowledged, recorded."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from runtime.broker import Delivery, Message, Route
from runtime.message import Ids, decode_body, delay_headers, encode_headers
from runtime.spans import EMIT, ERROR, FIRST, OK, PROCESS, REDELIVERED, REFUSED, UNSETTLED
from runtime.worker.component import Context
from runtime.worker.delays import DelayingHandler
from runtime.worker.settings import read_settings
from tests.fakes.worker import Bench


def _twice(msg: dict[str, Any], _cfg: Any, _snapshot: Any, context: Context) -> None:
    context.emit("data", {"body": msg["body"]})
    context.emit("data", msg["body"])
    context.emit("end")


def _raises(_msg: Any, _cfg: Any, _snapshot: Any, _context: Context) -> None:
    raise KeyError("missing")


def test_acked_only_when_all_outputs_are_confirmed(tmp_path: Path) -> None:
    """The input stays on its queue until the broker has taken everything that came of it."""
    bench = Bench(tmp_path, _twice)
    bench.give({"n": 1})
    assert (len(bench.broker.published), bench.broker.acked) == (2, [])
    first = bench.broker.published.pop(0)
    assert first[2] is not None
    first[2](True, 60)
    assert (bench.broker.acked, bench.handler.finished) == ([], 0)
    bench.broker.settle_all()
    assert (bench.broker.acked, bench.handler.finished) == ([1], 1)
    assert bench.records(PROCESS)["aux"].tolist() == [2]
    assert bench.records(EMIT)["outcome"].tolist() == [OK, OK]


def test_output_carries_the_execution(tmp_path: Path) -> None:
    """An output has the trace of its input, the input as its parent, and the meta headers."""
    bench = Bench(tmp_path, lambda msg, *_: {"body": msg["body"]})
    bench.give({"n": 1}, tag=7)
    route, message, _ = bench.broker.published[0]
    assert route == Route("exchange", "next")
    assert decode_body(message.body)["body"] == {"n": 1}
    headers = message.headers
    assert int(str(headers["threadId"]), 16) == 7
    assert int(str(headers["parentMessageId"]), 16) == 107
    assert headers["x-eio-meta-a"] == "kept"
    bench.broker.settle_all()
    emitted = bench.records(EMIT)[0]
    assert int(emitted["message"]) == int(str(headers["messageId"]), 16)
    assert int(emitted["parent"]) == 107


def test_instants_are_in_order(tmp_path: Path) -> None:
    """A returned output is emitted when process ends; every later instant is later."""
    bench = Bench(tmp_path, lambda msg, *_: {"body": msg["body"]})
    bench.give(1)
    bench.broker.settle_all()
    (process,), (emit,) = bench.records(PROCESS), bench.records(EMIT)
    assert process["t0_ns"] < process["t1_ns"] <= process["t2_ns"] <= process["t3_ns"]
    assert emit["t1_ns"] == process["t2_ns"]
    assert (emit["t2_ns"], emit["t3_ns"]) == (50, 60)


def test_error_goes_to_the_error_queue_with_its_input(tmp_path: Path) -> None:
    """What process raises is published with the input that caused it; the input is rejected."""
    bench = Bench(tmp_path, _raises)
    bench.give({"n": 5})
    route, message, _ = bench.broker.published[0]
    report = decode_body(message.body)
    assert route == Route("exchange", "errors")
    assert report["error"] == "KeyError: 'missing'"
    cause = report["errorInput"]
    assert decode_body(b64decode(cause["body"]))["body"] == {"n": 5}
    assert (cause["key"], cause["cut"]) == ("own", False)
    assert cause["headers"]["x-eio-meta-a"] == "kept"
    bench.broker.settle_all()
    assert (bench.broker.acked, bench.broker.rejected) == ([], [1])
    assert bench.records(PROCESS)["outcome"].tolist() == [ERROR]


class _Speechless(Exception):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("x" * 20_000_000), "ValueError: xxx"),
        (ValueError("half a \ud800 character"), "ValueError: half a ? character"),
        (_Speechless(), "_Speechless, which cannot say"),
    ],
)
def test_error_of_any_text_is_reported(tmp_path: Path, error: Exception, says: str) -> None:
    """Huge, not UTF-8 or failing itself: the text reaches the error queue, in bounds."""

    def raises(*_: Any) -> None:
        raise error

    bench = Bench(tmp_path, raises)
    bench.give({"n": 5})
    _, message, _ = bench.broker.published[0]
    assert decode_body(message.body)["error"].startswith(says)
    assert len(message.body) < 100_000
    bench.broker.settle_all()
    assert bench.records(PROCESS)["outcome"].tolist() == [ERROR]


def test_refused_output_given_up_is_an_error_of_its_input(tmp_path: Path) -> None:
    """Without another attempt a full next queue makes the input fail, with its key named."""
    once: dict[str, Any] = {"ELASTICIO_AMQP_PUBLISH_RETRY_ATTEMPTS": "0"}
    bench = Bench(tmp_path, lambda msg, *_: {"body": msg["body"]}, **once)
    bench.give(1)
    bench.broker.settle_all(accepted=False)
    assert "'next'" in decode_body(bench.broker.published[0][1].body)["error"]
    bench.broker.settle_all()
    assert bench.broker.rejected == [1]
    assert bench.records(EMIT)["outcome"].tolist() == [REFUSED]


@pytest.mark.parametrize("returned", [None, {}, 0, ""])
def test_nothing_returned_is_nothing_emitted(tmp_path: Path, returned: Any) -> None:
    """A falsy result is no output; the input is acknowledged at once."""
    bench = Bench(tmp_path, lambda *_: returned)
    bench.give(1)
    assert (bench.broker.published, bench.broker.acked) == ([], [1])
    assert bench.records(PROCESS)["aux"].tolist() == [0]


def test_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    """Over the outgoing limit nothing but the error leaves the step."""
    bench = Bench(
        tmp_path, lambda *_: {"body": "x" * 2000}, ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT="1000"
    )
    bench.give(1)
    ((route, message, _),) = bench.broker.published
    assert route.key == "errors"
    assert "over the limit of 1000" in decode_body(message.body)["error"]


@pytest.mark.parametrize("result", [{"body": {1, 2}}, {"body": 2**70}, {"body": b"raw"}])
def test_what_json_cannot_hold_is_an_error(tmp_path: Path, result: Any) -> None:
    """A result that is no JSON fails its input, it does not end the worker."""
    bench = Bench(tmp_path, lambda *_: result)
    bench.give(1)
    assert [route.key for route, _, _ in bench.broker.published] == ["errors"]


def test_last_step_emits_nowhere(tmp_path: Path) -> None:
    """Data of a step that has no next one is dropped, not published."""
    bench = Bench(tmp_path, lambda msg, *_: msg, ELASTICIO_DATA_ROUTING_KEY="")
    bench.give({"n": 1})
    assert (bench.broker.published, bench.broker.acked) == ([], [1])


def test_unreadable_message_is_an_error(tmp_path: Path) -> None:
    """A message without ids, or that is no JSON object, is reported and taken off the queue."""
    bench = Bench(tmp_path, _twice)
    bench.handler.handle(Delivery(Message(b"{}", {}), 1, 10, False))
    headers = encode_headers(Ids(1, 2, 0), {})
    bench.handler.handle(Delivery(Message(b"nonsense", headers), 2, 10, False))
    assert [route.key for route, _, _ in bench.broker.published] == ["errors", "errors"]
    bench.broker.settle_all()
    assert bench.broker.rejected == [1, 2]


def test_flags(tmp_path: Path) -> None:
    """The first message of a process is marked, and so is one that came again."""
    bench = Bench(tmp_path, lambda *_: None)
    bench.give(1, tag=1)
    bench.give(1, tag=2, redelivered=True)
    assert bench.records(PROCESS)["flags"].tolist() == [FIRST, REDELIVERED]


def test_unsettled_is_recorded_as_such(tmp_path: Path) -> None:
    """What the broker has not settled when the process ends is not passed off as handled."""
    bench = Bench(tmp_path, lambda msg, *_: msg)
    bench.give(1)
    bench.handler.give_up()
    assert bench.records(PROCESS)["outcome"].tolist() == [UNSETTLED]
    assert bench.records(EMIT)["outcome"].tolist() == [UNSETTLED]


def test_unknown_event_is_an_error(tmp_path: Path) -> None:
    """An event that the platform does not have fails the input, by its name."""

    def process(_msg: Any, _cfg: Any, _snapshot: Any, context: Context) -> None:
        context.emit("datum", 1)

    bench = Bench(tmp_path, process)
    bench.give(1)
    assert "datum" in decode_body(bench.broker.published[0][1].body)["error"]


def test_environment_problems_are_named_together() -> None:
    """Every variable that is missing or malformed is in the one error."""
    with pytest.raises(Exception, match="ELASTICIO_AMQP_URI") as raised:
        read_settings({"HOPBENCH_STEP_INDEX": "x", "HOPBENCH_STEP_CONFIG": "[1]"})
    text = str(raised.value)
    assert "HOPBENCH_STEP_INDEX" in text
    assert "HOPBENCH_STEP_CONFIG" in text
    assert "ELASTICIO_FLOW_ID" in text


def test_a_step_waits_only_when_the_message_asks_it_to(tmp_path: Path) -> None:
    """The delay is inside ``process``, for the named step alone, and is handed on to the next."""
    bench = Bench(tmp_path, lambda msg, *_: {"body": msg["body"]}, DelayingHandler)
    for tag, step in enumerate(("step", "another", None), start=1):
        bench.give({}, tag=tag, extra=delay_headers(step, 20.0))
    handed_on = [message.headers for _, message, _ in bench.broker.published]
    assert [one.get("x-eio-meta-hopbench-delay") for one in handed_on] == [
        "step=20.0", "another=20.0", None,
    ]  # fmt: skip
    bench.broker.settle_all()
    processed = bench.records(PROCESS)
    taken_ns = (processed["t2_ns"] - processed["t1_ns"]).tolist()
    assert taken_ns[0] >= 20_000_000
    assert max(taken_ns[1:]) < taken_ns[0]


def test_a_delay_of_nothing_asks_nothing() -> None:
    """A cell of 0 ms sends the same bytes as one without a delay."""
    assert delay_headers("step", 0.0) == delay_headers(None, None) == {}
