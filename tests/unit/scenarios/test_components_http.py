"""The HTTP call against the real delay service, each as it runs beside a flow."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from scenarios.files import COMPONENTS

Load = Callable[[str, str], ModuleType]


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[str, int]]:
    """The delay service as a process of its own, on a free port of loopback."""
    argv = [sys.executable, "server.py", "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(
        argv, cwd=COMPONENTS / "delay-api", stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:")
            yield "127.0.0.1", int(line.rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.fixture
def call(component: Load) -> Iterator[ModuleType]:
    """The HTTP call's module, shut down as a worker does it."""
    module = component("http-call", "call")
    yield module
    module.shutdown({})


@pytest.fixture
def connection(api: tuple[str, int]) -> Iterator[http.client.HTTPConnection]:
    """One connection to the service."""
    connected = http.client.HTTPConnection(*api, timeout=10)
    yield connected
    connected.close()


def get(connection: http.client.HTTPConnection, target: str) -> tuple[int, bytes]:
    """Status and body of one exchange."""
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, response.read()


def message(delay_ms: float | None) -> dict[str, Any]:
    """A message as the load's, for the HTTP call."""
    return {"body": {"sequence": 3, "delay_ms": delay_ms, "data": "x" * 1024}}


def test_the_service_takes_the_time_it_is_asked_for(
    connection: http.client.HTTPConnection,
) -> None:
    """The answer never comes before the delay has passed, and has the size asked for."""
    for delay_ms, size in [(0, 0), (30, 1000), (12.5, 1)]:
        before_ns = time.monotonic_ns()
        assert get(connection, f"/delay?ms={delay_ms}&bytes={size}") == (200, b"x" * size)
        assert time.monotonic_ns() - before_ns >= delay_ms * 1_000_000


def test_the_service_keeps_connections(connection: http.client.HTTPConnection) -> None:
    """Every exchange, errors included, leaves the connection open for the next."""
    connection.connect()
    kept = connection.sock
    for target in ["/healthz", "/delay?ms=1", "/delay?ms=x", "/nowhere", "/healthz"]:
        get(connection, target)
        assert connection.sock is kept


@pytest.mark.parametrize(
    "query", ["ms=x", "ms=-1", "ms=nan", "ms=inf", "ms=60001", "bytes=-1", "bytes=1e9"]
)
def test_the_service_refuses_what_it_cannot_do(
    connection: http.client.HTTPConnection, query: str
) -> None:
    """A wrong delay or size is a bad request, not a guess."""
    assert get(connection, f"/delay?{query}")[0] == 400


def test_delays_of_several_connections_pass_side_by_side(api: tuple[str, int]) -> None:
    """While one request sleeps, another on a second connection is answered."""
    slow = http.client.HTTPConnection(*api, timeout=10)
    slow.request("GET", "/delay?ms=60000")
    quick = http.client.HTTPConnection(*api, timeout=10)
    assert get(quick, "/healthz") == (200, b"ok\n")
    quick.close()
    slow.close()


@pytest.mark.parametrize(("delay_ms", "least_ms"), [(None, 0), (0.0, 0), (20.0, 20)])
def test_the_call_reports_status_and_size(
    call: ModuleType, api: tuple[str, int], delay_ms: float | None, least_ms: int
) -> None:
    """The message's delay is passed to the service; the data is not carried on."""
    config = {"url": f"http://{api[0]}:{api[1]}/delay?source=test", "response_bytes": 64}
    before_ns = time.monotonic_ns()
    emitted = call.process(message(delay_ms), config, {})
    assert time.monotonic_ns() - before_ns >= least_ms * 1_000_000
    assert emitted == {"body": {"sequence": 3, "delay_ms": delay_ms, "status": 200, "size": 64}}


def test_a_status_that_says_failure_raises(call: ModuleType, api: tuple[str, int]) -> None:
    """An answer of 400 or more is an error of the step."""
    with pytest.raises(RuntimeError, match="status 404"):
        call.process(message(None), {"url": f"http://{api[0]}:{api[1]}/nowhere"}, {})


@pytest.mark.parametrize("url", ["https://localhost/", "localhost:80", "http://"])
def test_a_url_that_is_not_http_raises(call: ModuleType, url: str) -> None:
    """The component says what it cannot call."""
    with pytest.raises(ValueError, match="not an http:// URL"):
        call.process(message(None), {"url": url}, {})


@contextmanager
def raw_server(handle: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """A listener that gives each connection, with its number, to ``handle``; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        number = 0
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            number += 1
            with connected:
                handle(connected, number)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_kept_connection_that_was_closed_is_opened_again(call: ModuleType) -> None:
    """A server that closes after each answer without saying so costs no message."""
    served: list[int] = []

    def answer_once(connected: socket.socket, number: int) -> None:
        connected.recv(65536)
        connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        served.append(number)

    with raw_server(answer_once) as url:
        sizes = [call.process(message(None), {"url": url}, {})["body"]["size"] for _ in range(3)]
    assert sizes == [2, 2, 2]
    assert served == [1, 2, 3]


def test_a_fresh_connection_that_breaks_is_an_error(call: ModuleType) -> None:
    """The call is not repeated where the service itself is what fails."""
    seen: list[int] = []

    def hang_up(connected: socket.socket, number: int) -> None:
        connected.recv(65536)
        seen.append(number)

    with raw_server(hang_up) as url, pytest.raises(ConnectionError):
        call.process(message(None), {"url": url}, {})
    assert seen == [1]


def test_shutdown_closes_the_connections(call: ModuleType, api: tuple[str, int]) -> None:
    """Nothing is left open, and a message that comes after all is still served."""
    config = {"url": f"http://{api[0]}:{api[1]}/delay"}
    call.process(message(None), config, {})
    (kept,) = call._connections.values()
    assert kept.sock is not None
    call.shutdown({})
    assert kept.sock is None
    assert call.process(message(None), config, {})["body"]["status"] == 200


def test_a_service_that_does_not_answer_times_out(call: ModuleType, api: tuple[str, int]) -> None:
    """The step fails after its time-out, and the next message gets a connection of its own."""
    config = {"url": f"http://{api[0]}:{api[1]}/delay", "timeout_s": 0.2}
    with pytest.raises(TimeoutError):
        call.process(message(5_000.0), config, {})
    assert call.process(message(None), config, {})["body"]["status"] == 200
