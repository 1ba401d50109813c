"""Private servers come and go without trace: started, doubled, stopped, orphaned."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench.stage import attended
from runtime.broker import Binding, Message, Queue, Route, Topology, connect, nats_server, node
from runtime.broker.leash import Leash
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import BrokerUnavailable
from runtime.launch import owner

Server = RabbitNode | NatsServer
Start = Callable[[str, Path], Server]

KINDS = [
    pytest.param(RabbitNode.start, id="rabbitmq", marks=pytest.mark.rabbitmq),
    pytest.param(NatsServer.start, id="nats"),
]


def lives(pid: int) -> bool:
    """Whether a process exists and is not only waiting to be collected."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what other processes do in their own time."""
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def environment(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def listening_addresses(pids: tuple[int, ...]) -> set[str]:
    """The addresses, as the kernel writes them, at which any of these processes listens."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(os.readlink(link))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


@pytest.mark.parametrize("start", KINDS)
def test_start_and_stop(start: Start, tmp_path: Path) -> None:
    """A server runs, marked, private and on loopback only; stopped, no process and file is left."""
    with start("run-7", tmp_path) as server:
        pids = server.pids
        assert server.alive()
        assert pids
        assert all(environment(pid)[owner.RUN] == "run-7" for pid in pids)
        assert all(environment(pid)[owner.OWNER] == owner.this_process() for pid in pids)
        addresses = listening_addresses(pids)
        assert addresses
        assert addresses <= LOOPBACK
        secret = urlsplit(server.url).password
        assert secret
        for pid in pids:
            assert secret not in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        connect(server.url, name="test").close()
    assert not server.alive()
    assert [pid for pid in pids if lives(pid)] == []
    assert list(tmp_path.iterdir()) == []
    server.stop()


@pytest.mark.parametrize("start", KINDS)
def test_version_is_what_the_server_is(start: Start, tmp_path: Path) -> None:
    """The version is that of the program, written as a release is."""
    with start("run-7", tmp_path) as server:
        parts = server.version.split(".")
        assert len(parts) >= 2
        assert all(part.isdecimal() for part in parts)


@pytest.mark.parametrize("start", KINDS)
def test_two_at_once(start: Start, tmp_path: Path) -> None:
    """Two servers of one machine do not meet: neither users nor messages are shared."""
    topology = Topology("ex", (Queue("q"),), (Binding("k", "q"),))
    with start("run-1", tmp_path) as first, start("run-2", tmp_path) as second:
        assert first.url != second.url
        assert set(first.pids).isdisjoint(second.pids)
        brokers = [connect(server.url, name="test") for server in (first, second)]
        for broker in brokers:
            broker.declare(topology)
        brokers[0].publish(Route("ex", "k"), Message(b"first", {}))
        assert brokers[0].settle(20.0)
        assert brokers[1].get("q") is None
        delivery = brokers[0].get("q")
        assert delivery is not None
        assert delivery.message.body == b"first"
        mixed = urlsplit(first.url)._replace(netloc=urlsplit(second.url).netloc)
        assert mixed.netloc != urlsplit(first.url).netloc
        strangers = (
            f"{urlsplit(first.url).netloc.rpartition('@')[0]}@"
            + (urlsplit(second.url).netloc.rpartition("@")[2])
        )
        with pytest.raises(BrokerUnavailable):
            connect(mixed._replace(netloc=strangers).geturl(), name="test", timeout_s=5.0)
        for broker in brokers:
            broker.close()


OWNER = """
import signal, sys, time
from pathlib import Path
from runtime.broker.{module} import {name}
# A shell starts what it runs in the background with SIGINT ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
server = {name}.start("orphan", Path(sys.argv[1]))
print(*server.pids, *(leash.leash_pid for leash in {leashes}), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("module", "name", "leashes"),
    [
        pytest.param("node", "RabbitNode", "server._leashes", marks=pytest.mark.rabbitmq),
        ("nats_server", "NatsServer", "[server._leash]"),
    ],
    ids=["rabbitmq", "nats"],
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_owner_ends(
    module: str, name: str, leashes: str, number: signal.Signals, tmp_path: Path
) -> None:
    """An owner that is killed, or interrupted, takes its server along: processes and files."""
    program = OWNER.format(module=module, name=name, leashes=leashes)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert pids
            assert all(lives(pid) for pid in pids)
            process.send_signal(number)
            process.wait(60.0)
        finally:
            # Whatever went wrong: nothing that this test started outlives it.
            process.kill()
    wait_for(lambda: not any(lives(pid) for pid in pids))
    wait_for(lambda: list(tmp_path.iterdir()) == [])


@pytest.mark.parametrize("start", KINDS)
def test_leash_is_killed(start: Start, tmp_path: Path) -> None:
    """Even when the process between owner and server is killed, the server does not live on."""
    server = start("run-7", tmp_path)
    pids = server.pids
    leashes = server._leashes if isinstance(server, RabbitNode) else (server._leash,)
    for leash in leashes:
        os.kill(leash.leash_pid, signal.SIGKILL)
    wait_for(lambda: not any(lives(pid) for pid in pids))
    server.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rabbitmq
def test_port_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program takes before the node does only costs another attempt."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        find = node.free_ports
        offers = iter([(taken.getsockname()[1], *find(2))])
        monkeypatch.setattr(node, "free_ports", lambda count: next(offers, None) or find(count))
        with RabbitNode.start("run-7", tmp_path) as server:
            assert urlsplit(server.url).port != taken.getsockname()[1]
            connect(server.url, name="test").close()
    assert list(tmp_path.iterdir()) == []


def test_rabbitmq_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package: an error that says how to get it, and nothing is started."""
    monkeypatch.setattr(node, "INSTALLED", str(tmp_path / "nothing"))
    with pytest.raises(BrokerUnavailable, match="not installed") as caught:
        RabbitNode.start("run-7", tmp_path)
    assert "rabbitmq-server" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_nats_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel: an error that says how to get it, and nothing is started."""
    monkeypatch.setattr(nats_server, "WHEEL", "no-such-wheel")
    with pytest.raises(BrokerUnavailable, match="not installed") as caught:
        NatsServer.start("run-7", tmp_path)
    assert "pip install" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rabbitmq
def test_rabbitmq_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not come up: the error has its own words, and nothing is left."""
    monkeypatch.setattr(node, "configuration", lambda **_: "no.such.setting = 1\n")
    with pytest.raises(BrokerUnavailable, match=r"no\.such\.setting"):
        RabbitNode.start("run-7", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nats_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not come up: the error has its own words, and nothing is left."""
    monkeypatch.setattr(nats_server, "configuration", lambda **_: "no_such_setting: 1\n")
    with pytest.raises(BrokerUnavailable, match="no_such_setting"):
        NatsServer.start("run-7", tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- the leash by itself -------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Leash]]:
    """Runs shell programs on a leash."""
    started = []

    def start(program: str) -> Leash:
        leash = Leash(
            ["sh", "-c", program],
            env={"PATH": os.environ["PATH"]},
            log=tmp_path / "log",
            grace_s=0.5,
        )
        started.append(leash)
        return leash

    yield start
    for leash in started:
        leash.stop()


def test_stubborn_program_is_killed(run: Callable[[str], Leash]) -> None:
    """SIGTERM that is ignored is followed by SIGKILL."""
    leash = run("trap '' TERM; echo ready; while :; do sleep 60; done")
    wait_for(lambda: "ready" in leash.last_lines())
    pids = leash.pids
    leash.stop()
    assert [pid for pid in pids if lives(pid)] == []


def test_detached_daemon_is_ended(run: Callable[[str], Leash]) -> None:
    """What a program leaves behind in a session of its own ends with it."""
    leash = run("setsid sh -c 'trap \"\" TERM; echo ready; sleep 600' & sleep 600")
    wait_for(lambda: "ready" in leash.last_lines())
    pids = leash.pids
    assert len(pids) >= 3
    leash.stop()
    assert [pid for pid in pids if lives(pid)] == []


def test_end_of_program_ends_its_tree(run: Callable[[str], Leash]) -> None:
    """A program that ends by itself is noticed, and its daemons do not outlive it."""
    leash = run("setsid sleep 600 & echo $!; exit 3")
    wait_for(lambda: not leash.alive())
    assert not lives(int(leash.last_lines().split()[0]))


def test_program_that_is_not_there(tmp_path: Path) -> None:
    """A program that cannot be started says so in the log, and the leash ends."""
    leash = Leash(["/no/such/program"], env={}, log=tmp_path / "log", grace_s=0.5)
    wait_for(lambda: not leash.alive())
    leash.stop()
    assert "/no/such/program: No such file or directory" in leash.last_lines()


@pytest.mark.rabbitmq
def test_a_connection_that_is_attended_to_stays(tmp_path: Path) -> None:
    """RabbitMQ closes a connection that misses its heartbeats; one that is attended to it keeps."""
    with RabbitNode.start("attended", tmp_path) as node:
        url = f"{node.url}?heartbeat=1"

        def established() -> int:
            connections = psutil.Process().net_connections("tcp")
            to_node = [each for each in connections if each.raddr[1:] == (urlsplit(url).port,)]
            return [each.status for each in to_node].count(psutil.CONN_ESTABLISHED)

        with (
            closing(connect(url, name="left alone")) as left_alone,
            closing(connect(url, name="attended")) as broker,
        ):
            assert established() == 2
            with attended(broker, 0.1):
                wait_for(lambda: established() < 2)
            broker.receive(0.0)
            with pytest.raises(BrokerUnavailable):
                left_alone.receive(20.0)
