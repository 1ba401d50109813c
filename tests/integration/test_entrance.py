"""The way of calls into a flow, on both brokers: taken, refused, replied to, and given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from runtime.api.entrance import REPLY_KEY, Call, Entrances, new_call
from runtime.broker import Binding, Broker, Message, Queue, Route, Topology, connect
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import BrokerError, BrokerUnavailable
from runtime.message import decode_body, encode_headers

KINDS = [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), pytest.param("nats")]
WAIT_S = 30.0


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of each kind."""
    kind = RabbitNode if request.param == "rabbitmq" else NatsServer
    server = kind.start("entrance", tmp_path_factory.mktemp("broker"))
    yield server.url
    server.stop()


@pytest.fixture
def flow(url: str) -> Iterator[tuple[Broker, Route, str]]:
    """A queue of two messages, as a flow's first one: a connection, the way in, its name."""
    topology = Topology(
        "hopbench.calls", (Queue("calls.first", 2),), (Binding("0", "calls.first"),)
    )
    with closing(connect(url, name="test")) as broker:
        broker.declare(topology)
        yield broker, Route("hopbench.calls", "0"), "calls.first"
        broker.delete(topology)


def call_of(route: Route, number: int, *, wants_reply: bool = False) -> Call:
    """A call."""
    return new_call(route, {"number": number}, {}, persistent=False, wants_reply=wants_reply)


def reply_to(broker: Broker, queue: str, exchange: str) -> None:
    """Do as a step that replies with what it was given."""
    deadline = time.monotonic() + WAIT_S
    while (delivery := broker.get(queue)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    key = str(delivery.message.headers["reply_to"])
    broker.publish(Route(exchange, key), Message(delivery.message.body, delivery.message.headers))
    assert broker.settle(WAIT_S)


def threads() -> list[str]:
    """The names of the threads that call flows."""
    return [one.name for one in threading.enumerate() if one.name.startswith("calls ")]


def test_taken_until_the_queue_is_full(url: str, flow: tuple[Broker, Route, str]) -> None:
    """Each call is told whether the queue took it; what was taken is there."""
    broker, route, queue = flow
    with closing(Entrances(url)) as entrances:
        calls = [call_of(route, number) for number in range(3)]
        for call in calls:
            entrances.submit(call)
        assert [call.accepted.result(WAIT_S) for call in calls] == [True, True, False]
        delivery = broker.get(queue)
        assert delivery is not None
        assert decode_body(delivery.message.body)["body"] == {"number": 0}
    assert threads() == []


def test_each_reply_goes_to_who_waits(url: str, flow: tuple[Broker, Route, str]) -> None:
    """Two wait; each gets the reply to its own call, and nobody gets one that is for nobody."""
    broker, route, queue = flow
    with closing(Entrances(url)) as entrances:
        calls = [call_of(route, number, wants_reply=True) for number in range(2)]
        for call in calls:
            entrances.submit(call)
            assert call.accepted.result(WAIT_S)
        stray = encode_headers(calls[0].ids._replace(trace=1), {})
        for headers in (stray, {"threadId": "no id"}):
            broker.publish(Route(route.exchange, REPLY_KEY), Message(b"{}", headers))
        for _ in calls:
            reply_to(broker, queue, route.exchange)
        for number, call in enumerate(calls):
            assert decode_body(call.reply.result(WAIT_S).body)["body"] == {"number": number}


def test_an_idle_one_ends_and_the_next_begins(url: str, flow: tuple[Broker, Route, str]) -> None:
    """When nobody calls, thread and queue for replies go; who calls then is served anew."""
    broker, route, queue = flow
    with closing(Entrances(url, idle_s=0.1)) as entrances:
        for _ in range(3):
            call = call_of(route, 1, wants_reply=True)
            entrances.submit(call)
            reply_to(broker, queue, route.exchange)
            assert call.reply.result(WAIT_S)
            deadline = time.monotonic() + WAIT_S
            while threads():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with pytest.raises(BrokerError):
                broker.depth(f"{route.exchange}.{REPLY_KEY}")


def test_who_waits_at_the_end_is_told(url: str, flow: tuple[Broker, Route, str]) -> None:
    """Closing ends the wait for replies, and takes no more calls."""
    _, route, _ = flow
    entrances = Entrances(url)
    call = call_of(route, 1, wants_reply=True)
    entrances.submit(call)
    assert call.accepted.result(WAIT_S)
    entrances.close()
    with pytest.raises(BrokerUnavailable, match="being stopped"):
        call.reply.result(0)
    with pytest.raises(BrokerUnavailable, match="being stopped"):
        entrances.submit(call_of(route, 2))
    assert threads() == []


def test_a_broker_that_is_not_there() -> None:
    """Each call is told, and the next one tries again."""
    with closing(Entrances("nats://user:password@127.0.0.1:9")) as entrances:
        for number in range(2):
            call = call_of(Route("hopbench.nowhere", "0"), number)
            entrances.submit(call)
            with pytest.raises(BrokerUnavailable):
                call.accepted.result(WAIT_S)


def test_an_entrance_that_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first call is told even when the thread has ended before its start is over."""
    start = threading.Thread.start

    def start_and_end(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("calls "):
            thread.join(WAIT_S)

    monkeypatch.setattr(threading.Thread, "start", start_and_end)
    with closing(Entrances("nats://user:password@127.0.0.1:9")) as entrances:
        call = call_of(Route("hopbench.nowhere", "0"), 1)
        entrances.submit(call)
        with pytest.raises(BrokerUnavailable):
            call.accepted.result(0)
