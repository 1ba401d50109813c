"""What every broker adapter promises, proven on real servers: RabbitMQ and NATS.

The servers are private ones, started for the session. A consumer that breaks off is a process of
its own that gets killed, since nothing else looks to a server like a crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.broker import (
    Binding,
    Broker,
    Delivery,
    Message,
    Queue,
    QueueDepth,
    Route,
    Topology,
    connect,
)
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import BrokerError, BrokerUnavailable

MIB = 1024 * 1024
QUIET_S = 0.4
"""How long we listen to become sure that nothing comes."""
LONG_S = 20.0

Server = RabbitNode | NatsServer
Open = Callable[[], Broker]


def start(kind: str, folder: Path) -> Server:
    """Start a private server of this kind."""
    return (RabbitNode if kind == "rabbitmq" else NatsServer).start("contract", folder)


KINDS = [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), pytest.param("nats")]


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of broker under test."""
    value: str = request.param
    return value


@pytest.fixture(scope="session")
def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of that kind that the tests share."""
    running = start(kind, tmp_path_factory.mktemp(kind))
    yield running
    running.stop()


@pytest.fixture
def open_broker(server: Server) -> Iterator[Open]:
    """Opens connections, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_one() -> Broker:
            broker = connect(server.url, name="contract")
            stack.callback(broker.close)
            return broker

        yield open_one


@pytest.fixture
def broker(open_broker: Open) -> Broker:
    """One connection."""
    return open_broker()


@pytest.fixture
def topology(broker: Broker) -> Iterator[Topology]:
    """An exchange with two queues of its own, declared and, at the end, deleted."""
    unique = uuid.uuid4().hex[:8]
    made = Topology(
        exchange=f"flow.{unique}",
        queues=(Queue(f"a.{unique}"), Queue(f"b.{unique}")),
        bindings=(Binding("to.a", f"a.{unique}"), Binding("to.b", f"b.{unique}")),
    )
    broker.declare(made)
    yield made
    broker.delete(made)


@pytest.fixture
def queue(topology: Topology) -> str:
    """The first queue's name."""
    return topology.queues[0].name


@pytest.fixture
def route(topology: Topology) -> Route:
    """The way to the first queue."""
    return Route(topology.exchange, topology.bindings[0].key)


def publish(broker: Broker, route: Route, *bodies: bytes) -> list[bool]:
    """Publish, wait, and say which of them were accepted."""
    answers: dict[int, bool] = {}
    for index, body in enumerate(bodies):

        def settled(accepted: bool, _learned_ns: int, index: int = index) -> None:
            assert index not in answers
            answers[index] = accepted

        broker.publish(route, Message(body, {}), settled)
    assert broker.settle(LONG_S)
    return [answers[index] for index in range(len(bodies))]


def receive(broker: Broker) -> Delivery:
    """The next delivery, which has to come."""
    delivery = broker.receive(LONG_S)
    assert delivery is not None
    return delivery


def receive_all(broker: Broker, count: int) -> list[Delivery]:
    """So many deliveries, unsettled, and then no more."""
    found = [receive(broker) for _ in range(count)]
    assert broker.receive(QUIET_S) is None
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what a server does in its own time."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def change_url(url: str, *, port: int | None = None, password: str | None = None) -> str:
    """The same URL with another port or password."""
    parts = urlsplit(url)
    netloc = f"{parts.username}:{password or parts.password}@{parts.hostname}:{port or parts.port}"
    return parts._replace(netloc=netloc).geturl()


# -- topology ------------------------------------------------------------------------------------


def test_declare_again_keeps_messages(
    broker: Broker, topology: Topology, route: Route, queue: str
) -> None:
    """Declaring what exists changes nothing: a message in a queue stays there."""
    assert publish(broker, route, b"kept") == [True]
    broker.declare(topology)
    delivery = broker.get(queue)
    assert delivery is not None
    assert delivery.message.body == b"kept"


def test_declare_differently_is_refused(broker: Broker, topology: Topology) -> None:
    """A queue that exists with other bounds is an error, never silently something else."""
    first = topology.queues[0]
    other = topology._replace(queues=(first._replace(max_length=first.max_length + 1),))
    with pytest.raises(BrokerError, match=r"failed"):
        broker.declare(other)
    assert broker.depth(first.name) == QueueDepth(0, 0)


def test_delete_removes_messages(
    broker: Broker, topology: Topology, route: Route, queue: str
) -> None:
    """What was in a deleted queue is gone; deleting it again is fine."""
    publish(broker, route, b"lost")
    broker.delete(topology)
    broker.delete(topology)
    with pytest.raises(BrokerError):
        broker.depth(queue)
    broker.declare(topology)
    assert broker.depth(queue) == QueueDepth(0, 0)


@pytest.mark.parametrize("look", [Broker.depth, Broker.get], ids=["depth", "get"])
def test_absent_queue_is_named(broker: Broker, look: Callable[[Broker, str], object]) -> None:
    """Looking at a queue that does not exist says so, and does not harm the connection."""
    method = getattr(broker, look.__name__)
    with pytest.raises(BrokerError, match="no-such-queue") as caught:
        method("no-such-queue")
    assert not isinstance(caught.value, BrokerUnavailable)
    assert broker.receive(0.0) is None


def test_subscribe_to_absent_queue_is_an_error(broker: Broker) -> None:
    """Consuming from a queue that does not exist says so."""
    with pytest.raises(BrokerError, match="no-such-queue"):
        broker.subscribe("no-such-queue", prefetch=1)


def test_deleted_queue_ends_its_consumer(
    open_broker: Open, broker: Broker, topology: Topology, queue: str
) -> None:
    """A consumer whose queue is deleted gets an error, not eternal silence."""
    consumer = open_broker()
    consumer.subscribe(queue, prefetch=1)
    broker.delete(topology)
    with pytest.raises(BrokerError, match=queue):
        consumer.receive(LONG_S)


# -- messages ------------------------------------------------------------------------------------

header_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
header_values = st.text(st.characters(codec="utf-8"), max_size=200) | st.integers(
    min_value=-(2**63), max_value=2**63 - 1
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=4096),
    headers=st.dictionaries(header_names, header_values, max_size=8),
    persistent=st.booleans(),
)
def test_message_crosses_unchanged(
    broker: Broker,
    route: Route,
    queue: str,
    body: bytes,
    headers: dict[str, str | int],
    persistent: bool,
) -> None:
    """Body, headers with their types, and persistence arrive as they were sent."""
    sent = Message(body, headers, persistent)
    broker.publish(route, sent)
    assert broker.settle(LONG_S)
    delivery = broker.get(queue)
    assert delivery is not None
    assert delivery.message == sent
    assert {k: type(v) for k, v in delivery.message.headers.items()} == {
        k: type(v) for k, v in headers.items()
    }


@pytest.mark.parametrize("size", [0, 1, MIB, 11 * MIB])
def test_body_of_size(broker: Broker, route: Route, queue: str, size: int) -> None:
    """Bodies from nothing to more than a step may send cross the broker whole."""
    body = os.urandom(size)
    broker.subscribe(queue, prefetch=1)
    assert publish(broker, route, body) == [True]
    delivery = receive(broker)
    # A plain comparison would print eleven megabytes when it fails.
    assert len(delivery.message.body) == size
    assert hash(delivery.message.body) == hash(body)


def test_order_is_kept(broker: Broker, route: Route, queue: str) -> None:
    """Messages of one publisher come out of a queue in the order in which they went in."""
    bodies = [str(number).encode() for number in range(300)]
    assert publish(broker, route, *bodies) == [True] * 300
    broker.subscribe(queue, prefetch=7)
    received = []
    for _ in bodies:
        delivery = receive(broker)
        received.append(delivery.message.body)
        broker.ack(delivery)
    assert received == bodies


def test_keys_lead_to_their_queues(broker: Broker, topology: Topology) -> None:
    """Each key leads to the queue that is bound to it, and to no other."""
    for binding in topology.bindings:
        publish(broker, Route(topology.exchange, binding.key), binding.queue.encode())
    for binding in topology.bindings:
        delivery = broker.get(binding.queue)
        assert delivery is not None
        assert delivery.message.body == binding.queue.encode()
        assert broker.get(binding.queue) is None


def test_instants_are_in_order(broker: Broker, route: Route, queue: str) -> None:
    """Call, socket, delivery and confirmation follow each other on the one clock."""
    learned: list[int] = []
    broker.subscribe(queue, prefetch=1)
    last_delivered_ns = 0
    for _ in range(20):
        before_ns = time.monotonic_ns()
        socket_ns = broker.publish(route, Message(b"x", {}), lambda _, at: learned.append(at))
        delivery = receive(broker)
        after_ns = time.monotonic_ns()
        broker.ack(delivery)
        assert before_ns <= socket_ns <= delivery.delivered_ns <= after_ns
        assert last_delivered_ns < delivery.delivered_ns
        last_delivered_ns = delivery.delivered_ns
        assert broker.settle(LONG_S)
        assert socket_ns <= learned[-1] <= time.monotonic_ns()
    assert learned == sorted(learned)


# -- settlements ---------------------------------------------------------------------------------


def test_each_publish_is_settled_once(broker: Broker, route: Route, queue: str) -> None:
    """Many messages in flight: every one is accepted, each exactly once."""
    assert publish(broker, route, *[b"x"] * 500) == [True] * 500
    assert broker.depth(queue).ready == 500


def test_settled_within_receive(broker: Broker, route: Route) -> None:
    """Settlements arrive while the owner waits for messages, and never before it calls."""
    answers: list[bool] = []
    broker.publish(route, Message(b"x", {}), lambda accepted, _: answers.append(accepted))
    time.sleep(QUIET_S)
    assert answers == []
    wait_for(lambda: broker.receive(0.0) is not None or answers == [True])


def test_settlement_may_publish(broker: Broker, route: Route, queue: str) -> None:
    """A settlement may itself publish, as one that tries a refused message again does."""
    answers: list[bool] = []

    def again(accepted: bool, _learned_ns: int) -> None:
        broker.publish(route, Message(b"second", {}), lambda ok, _: answers.append(ok))
        answers.append(accepted)

    broker.publish(route, Message(b"first", {}), again)
    assert broker.settle(LONG_S)
    assert answers == [True, True]
    assert broker.depth(queue).ready == 2


def test_settle_gives_up(broker: Broker, route: Route) -> None:
    """Waiting for settlements ends when its time is over, with False, and can be taken up again."""

    def gives_up() -> bool:
        # Where this thread is held up in between, the broker has answered already.
        broker.publish(route, Message(bytes(MIB), {}))
        return broker.settle(0.0) is False

    wait_for(gives_up)
    assert broker.settle(LONG_S) is True


def test_full_queue_refuses(broker: Broker, topology: Topology) -> None:
    """A queue takes as many messages as it is bounded to, refuses more, and has room once read."""
    name = f"small.{uuid.uuid4().hex[:8]}"
    small = Topology(f"ex.{name}", (Queue(name, max_length=3),), (Binding("k", name),))
    broker.declare(small)
    try:
        route = Route(small.exchange, "k")
        assert publish(broker, route, *[b"x"] * 3) == [True] * 3
        assert publish(broker, route, b"x", b"x") == [False, False]
        assert broker.get(name) is not None
        assert publish(broker, route, b"x") == [True]
        assert broker.depth(name).ready == 3
    finally:
        broker.delete(small)


def test_queue_full_of_bytes_refuses(broker: Broker) -> None:
    """A queue's bound on bytes refuses as the one on messages does."""
    name = f"small.{uuid.uuid4().hex[:8]}"
    small = Topology(f"ex.{name}", (Queue(name, max_bytes=MIB),), (Binding("k", name),))
    broker.declare(small)
    try:
        answers = publish(broker, Route(small.exchange, "k"), *[bytes(300_000)] * 8)
        accepted = answers.count(True)
        assert 1 <= accepted < 8
        assert answers == [True] * accepted + [False] * (8 - accepted)
    finally:
        broker.delete(small)


def test_unbound_key_is_refused(broker: Broker, topology: Topology, route: Route) -> None:
    """A message that no queue is bound for is refused; the next one passes."""
    assert publish(broker, route._replace(key="nobody"), b"x") == [False]
    assert publish(broker, route, b"x") == [True]


# -- consuming -----------------------------------------------------------------------------------


def test_receive_times_out(broker: Broker, queue: str) -> None:
    """Nothing comes: None, with and without waiting."""
    broker.subscribe(queue, prefetch=1)
    assert broker.receive(0.0) is None
    assert broker.receive(0.05) is None


def test_receive_without_waiting_finds_what_is_there(
    broker: Broker, route: Route, queue: str
) -> None:
    """A ``timeout_s`` of 0 does not wait, and still delivers what has arrived."""
    broker.subscribe(queue, prefetch=1)
    publish(broker, route, b"there")
    found: list[Delivery | None] = []

    def look() -> bool:
        found.append(broker.receive(0.0))
        return found[-1] is not None

    wait_for(look)
    assert found[-1] is not None
    assert found[-1].message.body == b"there"


def test_wake_ends_waiting(broker: Broker, queue: str) -> None:
    """Another thread can end a receive that would wait for an hour."""
    broker.subscribe(queue, prefetch=1)
    timer = threading.Timer(0.2, broker.wake)
    timer.start()
    assert broker.receive(3600.0) is None
    timer.join()


def test_wake_before_waiting_counts(broker: Broker, queue: str) -> None:
    """A wake between two receives is not forgotten, and wakes only once."""
    broker.subscribe(queue, prefetch=1)
    broker.wake()
    assert broker.receive(3600.0) is None
    timer = threading.Timer(0.2, broker.wake)
    timer.start()
    assert broker.receive(3600.0) is None
    timer.join()


def test_wake_by_signal(broker: Broker, queue: str) -> None:
    """A signal's handler can end a receive on the thread that it interrupts."""
    broker.subscribe(queue, prefetch=1)
    previous = signal.signal(signal.SIGALRM, lambda *_: broker.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert broker.receive(3600.0) is None
    finally:
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("prefetch", [1, 2, 3, 8])
def test_prefetch_is_kept(broker: Broker, route: Route, queue: str, prefetch: int) -> None:
    """No more than the prefetch are ever unsettled; settling makes room, in whatever order."""
    publish(broker, route, *[str(number).encode() for number in range(4 * prefetch)])
    broker.subscribe(queue, prefetch=prefetch)
    first = receive_all(broker, prefetch)
    assert [int(delivery.message.body) for delivery in first] == list(range(prefetch))
    for delivery in reversed(first):
        broker.ack(delivery)
    for delivery in receive_all(broker, prefetch):
        broker.reject(delivery)
    rest = []
    for _ in range(2 * prefetch):
        delivery = receive(broker)
        broker.ack(delivery)
        rest.append(int(delivery.message.body))
    assert rest == list(range(2 * prefetch, 4 * prefetch))


def test_two_consumers_share_a_queue(
    open_broker: Open, broker: Broker, route: Route, queue: str
) -> None:
    """Each consumer has its own prefetch, and no message goes to both."""
    consumers = [open_broker(), open_broker()]
    for consumer in consumers:
        consumer.subscribe(queue, prefetch=2)
    publish(broker, route, *[str(n).encode() for n in range(10)])
    shares = [receive_all(consumer, 2) for consumer in consumers]
    bodies = {delivery.message.body for share in shares for delivery in share}
    assert len(bodies) == 4


def test_ack_removes(open_broker: Open, broker: Broker, route: Route, queue: str) -> None:
    """What was acknowledged right before the close is gone for good."""
    publish(broker, route, b"done")
    consumer = open_broker()
    consumer.subscribe(queue, prefetch=1)
    consumer.ack(receive(consumer))
    consumer.close()
    assert broker.get(queue) is None
    assert broker.depth(queue).ready == 0
    wait_for(lambda: broker.depth(queue).consumers == 0)


@pytest.mark.parametrize("prefetch", [1, 4])
def test_reject_drops(
    open_broker: Open, broker: Broker, route: Route, queue: str, prefetch: int
) -> None:
    """What was rejected is not delivered again, to nobody; the following messages are."""
    publish(broker, route, b"bad", b"good", b"bad", b"good")
    consumer = open_broker()
    consumer.subscribe(queue, prefetch=prefetch)
    for expected in (b"bad", b"good", b"bad", b"good"):
        delivery = receive(consumer)
        assert delivery.message.body == expected
        settle = consumer.reject if expected == b"bad" else consumer.ack
        settle(delivery)
    assert consumer.receive(QUIET_S) is None
    consumer.close()
    assert broker.get(queue) is None


def test_unsettled_comes_back_after_close(
    open_broker: Open, broker: Broker, route: Route, queue: str
) -> None:
    """A consumer that closes gives back what it has not settled, in order and marked."""
    publish(broker, route, b"1", b"2", b"3", b"4")
    first = open_broker()
    first.subscribe(queue, prefetch=3)
    handled = receive(first)
    receive(first)
    first.ack(handled)
    first.close()
    second = open_broker()
    second.subscribe(queue, prefetch=1)
    again = receive(second)
    assert (again.message.body, again.redelivered) == (b"2", True)
    second.ack(again)
    for expected in (b"3", b"4"):
        delivery = receive(second)
        assert delivery.message.body == expected
        second.ack(delivery)
    assert second.receive(QUIET_S) is None


CRASHING = """
import sys, time
from runtime.broker import connect
broker = connect(sys.argv[1], name="crashing")
broker.subscribe(sys.argv[2], prefetch=2)
first = broker.receive(20.0)
broker.ack(first)
second = broker.receive(20.0)
print(first.message.body.decode(), second.message.body.decode(), flush=True)
time.sleep(600)
"""


def test_unsettled_comes_back_after_crash(
    server: Server, open_broker: Open, broker: Broker, route: Route, queue: str
) -> None:
    """What a killed consumer had not settled goes to the next one, marked; what it had does not."""
    publish(broker, route, b"1", b"2", b"3")
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING, server.url, queue], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["1", "2"]
        process.kill()
    consumer = open_broker()
    consumer.subscribe(queue, prefetch=1)
    again = receive(consumer)
    assert (again.message.body, again.redelivered) == (b"2", True)
    consumer.ack(again)
    assert receive(consumer).message.body == b"3"


def test_fresh_message_is_not_marked(broker: Broker, route: Route, queue: str) -> None:
    """A message that is delivered for the first time says so, even after others came back."""
    broker.subscribe(queue, prefetch=1)
    publish(broker, route, b"x")
    assert receive(broker).redelivered is False


def test_depth_counts(open_broker: Open, broker: Broker, route: Route, queue: str) -> None:
    """Depth counts what waits, not what consumers have in hand, and it counts the consumers."""
    publish(broker, route, *[b"x"] * 5)
    assert broker.depth(queue) == QueueDepth(5, 0)
    first, second = open_broker(), open_broker()
    first.subscribe(queue, prefetch=2)
    second.subscribe(queue, prefetch=1)
    wait_for(lambda: broker.depth(queue) == QueueDepth(2, 2))
    first.close()
    wait_for(lambda: broker.depth(queue).consumers == 1)
    second.close()
    wait_for(lambda: broker.depth(queue) == QueueDepth(5, 0))


def test_get_takes_one(broker: Broker, route: Route, queue: str) -> None:
    """Get takes messages off a queue one by one, and says None when it is empty."""
    publish(broker, route, b"1", b"2")
    bodies = []
    while (delivery := broker.get(queue)) is not None:
        bodies.append(delivery.message.body)
        assert delivery.redelivered is False
    assert bodies == [b"1", b"2"]
    assert broker.depth(queue).ready == 0


# -- later ---------------------------------------------------------------------------------------


def later(broker: Broker, route: Route, message: Message, delay_ms: int) -> bool:
    """Publish with a delay, wait, and say whether it was accepted."""
    answers: list[bool] = []
    broker.publish_later(route, message, delay_ms, lambda accepted, _: answers.append(accepted))
    assert broker.settle(LONG_S)
    (accepted,) = answers
    return accepted


@pytest.fixture
def delaying(broker: Broker) -> Iterator[Topology]:
    """A topology whose messages may be published later; its one queue takes three messages."""
    unique = uuid.uuid4().hex[:8]
    made = Topology(
        exchange=f"flow.{unique}",
        queues=(Queue(f"a.{unique}", max_length=3),),
        bindings=(Binding("to.a", f"a.{unique}"),),
        delays_ms=(600, 900, 60_000),
    )
    broker.declare(made)
    yield made
    broker.delete(made)


def test_later_is_later(broker: Broker, delaying: Topology) -> None:
    """What is published later comes after its delay, unchanged, and takes no place meanwhile."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    sent = Message(b"later", {"reboundIteration": 1, "x-eio-meta-a": "b"}, True)
    before_s = time.monotonic()
    assert later(broker, route, sent, 600)
    assert broker.depth(queue).ready == 0
    assert broker.get(queue) is None
    broker.subscribe(queue, prefetch=1)
    publish(broker, route, b"now")
    first = receive(broker)
    broker.ack(first)
    second = receive(broker)
    assert (first.message.body, second.message) == (b"now", sent)
    assert time.monotonic() - before_s >= 0.6
    broker.ack(second)
    assert broker.receive(QUIET_S) is None


def test_a_longer_delay_holds_up_no_shorter_one(broker: Broker, delaying: Topology) -> None:
    """Messages come in the order in which their delays end, not in that of their publishing."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    broker.subscribe(queue, prefetch=1)
    for delay_ms in (60_000, 900, 600):
        assert later(broker, route, Message(str(delay_ms).encode(), {}), delay_ms)
        if delay_ms == 60_000 and broker.depth(queue).ready:
            pytest.fail("a message that is not due counts as ready")
    for expected in (b"600", b"900"):
        delivery = receive(broker)
        assert delivery.message.body == expected
        broker.ack(delivery)
    assert broker.receive(QUIET_S) is None


def test_later_survives_who_published_and_who_consumed(
    open_broker: Open, broker: Broker, delaying: Topology
) -> None:
    """A delayed message belongs to the broker: connections may close while it waits."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    first = open_broker()
    first.subscribe(queue, prefetch=1)
    assert later(first, route, Message(b"later", {}), 600)
    assert first.receive(0.1) is None
    first.close()
    assert broker.depth(queue).ready == 0
    # A server may hear of a connection's end a little after it was closed.
    wait_for(lambda: broker.depth(queue).consumers == 0)
    wait_for(lambda: broker.depth(queue).ready == 1)
    second = open_broker()
    second.subscribe(queue, prefetch=1)
    assert receive(second).message.body == b"later"


def test_what_was_to_come_later_can_be_hastened(
    open_broker: Open, broker: Broker, delaying: Topology
) -> None:
    """Whoever empties queues gets the delayed at once, also what a consumer has seen and put back.

    Told how many; other connections wait for theirs as before.
    """
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    other = open_broker()
    other.subscribe(queue, prefetch=1)
    assert later(other, route, Message(b"later", {"n": 1}, persistent=True), 60_000)
    assert other.receive(QUIET_S) is None
    other.close()
    emptying = open_broker()
    assert emptying.hasten(delaying) == 1
    emptying.subscribe(queue, prefetch=1)
    delivery = receive(emptying)
    assert delivery.message == Message(b"later", {"n": 1}, persistent=True)
    emptying.ack(delivery)
    assert emptying.receive(QUIET_S) is None
    emptying.close()
    assert later(broker, route, Message(b"again", {}), 600)
    wait_for(lambda: broker.depth(queue).ready == 1)


def test_sealed_queues_take_nothing_and_keep_what_they_have(
    open_broker: Open, broker: Broker, delaying: Topology
) -> None:
    """What was accepted before is there to be consumed; nothing is accepted after."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    assert publish(broker, route, b"before") == [True]
    administrator = open_broker()
    administrator.seal(delaying)
    with contextlib.suppress(BrokerUnavailable):
        assert publish(open_broker(), route, b"after") == [False]
    assert administrator.depth(queue).ready == 1
    administrator.subscribe(queue, prefetch=2)
    delivery = receive(administrator)
    assert delivery.message.body == b"before"
    administrator.ack(delivery)
    assert administrator.receive(QUIET_S) is None
    administrator.delete(delaying)
    administrator.seal(delaying)


def test_there_is_nothing_to_hasten_where_nothing_was_delayed(
    broker: Broker, delaying: Topology
) -> None:
    """Neither in queues that are there nor in queues that are gone."""
    assert publish(broker, Route(delaying.exchange, "to.a"), b"now") == [True]
    assert broker.hasten(delaying) == 0
    broker.delete(delaying)
    assert broker.hasten(delaying) == 0


def test_deleted_topology_takes_the_delayed_with_it(broker: Broker, delaying: Topology) -> None:
    """What waits when its flow is deleted does not turn up in a later flow of that name."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    assert later(broker, route, Message(b"gone", {}), 600)
    broker.delete(delaying)
    broker.declare(delaying)
    broker.subscribe(queue, prefetch=1)
    assert broker.receive(1.0) is None
    assert later(broker, route, Message(b"new", {}), 600)
    assert receive(broker).message.body == b"new"


def test_what_returns_to_a_full_queue_is_not_lost(broker: Broker, delaying: Topology) -> None:
    """A delay that ends while the queue is full: either refused before, or delivered later."""
    route, queue = Route(delaying.exchange, "to.a"), delaying.queues[0].name
    assert later(broker, route, Message(b"later", {}), 600)
    accepted = publish(broker, route, b"1", b"2", b"3")
    time.sleep(1.0)
    broker.subscribe(queue, prefetch=3)
    bodies = set()
    for _ in range(1 + accepted.count(True)):
        delivery = receive(broker)
        bodies.add(delivery.message.body)
        broker.ack(delivery)
    assert b"later" in bodies
    assert len(bodies) == 1 + accepted.count(True)


def test_queues_can_be_deleted_without_their_exchange(broker: Broker, topology: Topology) -> None:
    """A reply queue goes, and the flow whose exchange it was bound to goes on."""
    first, second = topology.queues
    broker.delete(Topology("", (first,), ()))
    with pytest.raises(BrokerError):
        broker.depth(first.name)
    assert publish(broker, Route(topology.exchange, "to.a"), b"x") == [False]
    assert publish(broker, Route(topology.exchange, "to.b"), b"x") == [True]
    assert broker.depth(second.name).ready == 1


@pytest.mark.parametrize("busy_s", [0.0, 0.3])
def test_wake_is_kept_when_another_thread_turns_the_loop(
    broker: Broker, queue: str, busy_s: float
) -> None:
    """A wake while a handler runs is not swallowed by who keeps the connection alive meanwhile."""
    broker.subscribe(queue, prefetch=1)
    broker.wake()
    helper = threading.Thread(target=broker.keep_alive)
    helper.start()
    helper.join()
    time.sleep(busy_s)
    before_s = time.monotonic()
    assert broker.receive(3600.0) is None
    assert time.monotonic() - before_s < LONG_S / 5


# -- lifetime ------------------------------------------------------------------------------------


@pytest.fixture
def impatient_url(kind: str, server: Server, tmp_path: Path) -> Iterator[str]:
    """A URL by which a connection is given up after few seconds without a sign of life."""
    if kind == "rabbitmq":
        yield f"{server.url}?heartbeat=1"
    else:
        with NatsServer.start("contract", tmp_path, ping_interval_s=1.0) as impatient:
            yield impatient.url


def test_keep_alive_during_a_long_handler(impatient_url: str) -> None:
    """A second thread keeps a connection alive whose owner is busy; without it, it is lost."""
    topology = Topology(
        f"ex.{uuid.uuid4().hex[:8]}",
        (Queue("kept"), Queue("left")),
        (Binding("kept", "kept"), Binding("left", "left")),
    )
    with contextlib.ExitStack() as stack:
        kept, left = (connect(impatient_url, name="contract") for _ in range(2))
        stack.callback(left.close)
        stack.callback(kept.close)
        kept.declare(topology)
        stack.callback(kept.delete, topology)
        kept.subscribe("kept", prefetch=1)
        left.subscribe("left", prefetch=1)
        for binding in topology.bindings:
            publish(kept, Route(topology.exchange, binding.key), b"long")
        delivery, lost = receive(kept), receive(left)
        done = threading.Event()

        def look_after() -> None:
            while not done.wait(0.1):
                kept.keep_alive()

        helper = threading.Thread(target=look_after)
        helper.start()
        time.sleep(8.0)
        done.set()
        helper.join()
        kept.ack(delivery)
        assert publish(kept, Route(topology.exchange, "kept"), b"after") == [True]
        assert receive(kept).message.body == b"after"
        with pytest.raises(BrokerUnavailable):
            left.receive(LONG_S)
        with pytest.raises(BrokerUnavailable):
            left.ack(lost)


def test_killed_broker_is_noticed(kind: str, tmp_path: Path) -> None:
    """A server that dies is an error for who waits and for who publishes, and close still works."""
    server = start(kind, tmp_path)
    try:
        waiting, publishing = (connect(server.url, name="contract") for _ in range(2))
        topology = Topology("ex", (Queue("q"),), (Binding("k", "q"),))
        waiting.declare(topology)
        waiting.subscribe("q", prefetch=1)
        publish(publishing, Route("ex", "k"), b"before")
        assert receive(waiting).message.body == b"before"
        for pid in server.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        where = f"127.0.0.1:{urlsplit(server.url).port}"
        with pytest.raises(BrokerUnavailable, match=where):
            waiting.receive(3600.0)

        def publish_on() -> None:
            # The first ones may still find room in the socket.
            for _ in range(1000):
                publishing.publish(Route("ex", "k"), Message(b"after", {}))
                time.sleep(0.01)

        with pytest.raises(BrokerUnavailable, match=where):
            publish_on()
        with pytest.raises(BrokerUnavailable):
            publishing.settle(LONG_S)
        waiting.close()
        publishing.close()
        with pytest.raises(BrokerUnavailable):
            connect(server.url, name="contract", timeout_s=5.0)
    finally:
        server.stop()


@pytest.mark.parametrize("wrong", ["password", "port", "host"])
def test_connect_names_the_place_not_the_password(server: Server, wrong: str) -> None:
    """No connection: the error names host and port, and nothing that is shown has the password."""
    url = change_url(server.url, password="sesame-5309")
    if wrong == "port":
        url = change_url(url, port=9)
    if wrong == "host":
        url = url.replace("127.0.0.1", "no-such-host.invalid")
    parts = urlsplit(url)
    with pytest.raises(BrokerUnavailable) as caught:
        connect(url, name="contract", timeout_s=5.0)
    assert f"{parts.hostname}:{parts.port}" in str(caught.value)
    assert caught.value.remedy
    assert "sesame-5309" not in "".join(traceback.format_exception(caught.value))


def test_close_is_final(server: Server) -> None:
    """Closing twice is fine; a closed connection says so, whatever is asked of it."""
    broker = connect(server.url, name="contract")
    broker.close()
    broker.close()
    with pytest.raises(BrokerUnavailable):
        broker.receive(LONG_S)
    with pytest.raises(BrokerUnavailable):
        broker.publish(Route("ex", "k"), Message(b"x", {}))
    with pytest.raises(BrokerUnavailable):
        broker.depth("q")
    broker.wake()
