"""What only the NATS adapter does: limits of JetStream, and what it cannot do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.broker import (
    Binding,
    Counting,
    Message,
    Queue,
    QueueDepth,
    Route,
    Topology,
    connect,
    nats_server,
)
from runtime.broker.nats_server import NatsServer
from runtime.errors import BrokerError, BrokerUnavailable, InputError, MessageTooLarge
from tests.fakes.platforms import wait_for

ROUTE = Route("ex", "k")
TOPOLOGY = Topology("ex", (Queue("q"),), (Binding("k", "q"),))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own."""
    with NatsServer.start("nats", tmp_path) as running:
        yield running


def test_too_large_message_is_refused_before_it_is_sent(server: NatsServer) -> None:
    """Over the server's limit: an error, and a connection that still works."""
    broker = connect(server.url, name="test")
    broker.declare(TOPOLOGY)
    with pytest.raises(MessageTooLarge, match="limit of 16777216"):
        broker.publish(ROUTE, Message(bytes(16 * 1024 * 1024), {}))
    broker.publish(ROUTE, Message(b"small", {}))
    assert broker.settle(20.0)
    assert broker.depth("q").ready == 1
    broker.close()


def test_key_of_two_queues_is_an_input_error(server: NatsServer) -> None:
    """JetStream stores a message once: a key for two queues is refused, not half done."""
    broker = connect(server.url, name="test")
    twice = Topology("ex", (Queue("q"), Queue("r")), (Binding("k", "q"), Binding("k", "r")))
    with pytest.raises(InputError, match="binds a key twice"):
        broker.declare(twice)
    with pytest.raises(BrokerError):
        broker.depth("q")
    broker.close()


def test_settling_twice_is_an_error(server: NatsServer) -> None:
    """A delivery is settled once; the second time says so."""
    broker = connect(server.url, name="test")
    broker.declare(TOPOLOGY)
    broker.subscribe("q", prefetch=1)
    broker.publish(ROUTE, Message(b"x", {}))
    delivery = broker.receive(20.0)
    assert delivery is not None
    broker.ack(delivery)
    with pytest.raises(BrokerError, match="settled before"):
        broker.reject(delivery)
    broker.close()


def test_slow_handler_keeps_its_message(server: NatsServer) -> None:
    """Longer than the ack wait: with signs of life, the message is not given to another."""
    broker = connect(f"{server.url}?ack_wait_s=1", name="test")
    other = connect(server.url, name="other")
    broker.declare(TOPOLOGY)
    broker.publish(ROUTE, Message(b"x", {}))
    broker.subscribe("q", prefetch=1)
    delivery = broker.receive(20.0)
    assert delivery is not None
    other.subscribe("q", prefetch=1)
    for _ in range(30):
        time.sleep(0.1)
        broker.keep_alive()
    assert other.receive(0.0) is None
    # Without them, it is: what is not settled in time is not lost.
    again = other.receive(20.0)
    assert again is not None
    assert again.redelivered
    broker.close()
    other.close()


def test_acks_in_flight_survive_a_change_of_consumers(server: NatsServer) -> None:
    """What was acknowledged an instant before its consumer left does not come back."""
    broker = connect(server.url, name="test")
    broker.declare(TOPOLOGY)
    for number in range(200):
        broker.publish(ROUTE, Message(str(number).encode(), {}))
    assert broker.settle(20.0)
    seen: list[int] = []
    while len(seen) < 200:
        consumer = connect(server.url, name="consumer")
        consumer.subscribe("q", prefetch=50)
        for _ in range(20):
            delivery = consumer.receive(20.0)
            assert delivery is not None
            seen.append(int(delivery.message.body))
            consumer.ack(delivery)
        consumer.close()
    assert seen == list(range(200))
    broker.close()


def test_what_consumers_have_is_counted(server: NatsServer) -> None:
    """Waiting, in hand and not due yet are told apart, whether those were looked at or not."""
    broker = connect(server.url, name="test")
    assert isinstance(broker, Counting)
    broker.declare(TOPOLOGY)
    wait_for(lambda: broker.count("q") == QueueDepth(0, 0, 0))
    broker.publish_later(ROUTE, Message(b"later", {}), 600_000)
    assert broker.settle(20.0)
    broker.publish(ROUTE, Message(b"1", {}))
    broker.publish(ROUTE, Message(b"2", {}))
    assert broker.settle(20.0)
    wait_for(lambda: broker.count("q") == QueueDepth(2, 0, 0))
    broker.subscribe("q", prefetch=1)
    first = broker.receive(20.0)
    assert first is not None
    # The one that is not due was looked at on the way, the next one will not be.
    broker.publish_later(ROUTE, Message(b"later", {}), 600_000)
    assert broker.settle(20.0)
    wait_for(lambda: broker.count("q") == QueueDepth(1, 1, 1))
    broker.ack(first)
    second = broker.receive(20.0)
    assert second is not None
    assert second.message.body == b"2"
    wait_for(lambda: broker.count("q") == QueueDepth(0, 1, 1))
    broker.ack(second)
    broker.close()
    other = connect(server.url, name="other")
    assert isinstance(other, Counting)
    wait_for(lambda: other.count("q") == QueueDepth(0, 0, 0))
    other.close()


def test_server_without_jetstream_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain NATS server cannot keep messages: the error names JetStream."""
    full = nats_server.configuration

    def without(**settings: object) -> str:
        return full(**settings).partition("jetstream {")[0]  # type: ignore[arg-type]

    monkeypatch.setattr(nats_server, "configuration", without)
    with NatsServer.start("nats", tmp_path) as server:
        broker = connect(server.url, name="test")
        with pytest.raises(BrokerUnavailable, match="JetStream is off"):
            broker.declare(TOPOLOGY)
        broker.close()
