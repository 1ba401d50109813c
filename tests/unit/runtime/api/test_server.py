"""The HTTP server itself: limits, and its end. Over real sockets of this machine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import requests
from flask import Flask

from runtime.api.access import OPERATOR
from runtime.api.server import Server
from runtime.errors import InputError
from tests.fakes.control import FakeDoors
from tests.unit.runtime.api.conftest import ACCESS, basic

MIB = 1024 * 1024
CREDENTIALS = (OPERATOR, ACCESS.password)


@pytest.fixture
def server(app: Flask) -> Iterator[Server]:
    """The app, served."""
    server = Server(app)
    yield server
    server.close()


def answer_to(server: Server, head: str, bodies: Iterator[bytes]) -> tuple[bytes, int]:
    """What the server says to a raw request, and how many bytes of its body it let us send."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        authorization = basic(*CREDENTIALS)
        lines = f"{head}\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\r\n"
        connection.sendall(lines.encode())
        answered = threading.Event()
        received = bytearray()

        def receive() -> None:
            try:
                while data := connection.recv(65536):
                    received.extend(data)
                    answered.set()
            except ConnectionError:
                pass
            answered.set()

        reader = threading.Thread(target=receive)
        reader.start()
        try:
            for body in bodies:
                if answered.is_set():
                    break
                connection.sendall(body)
                sent += len(body)
        except ConnectionError:
            pass
        reader.join(30)
    return bytes(received), sent


def mebibytes(count: int) -> Iterator[bytes]:
    """So many of them."""
    for _ in range(count):
        yield b" " * MIB


def chunks(count: int) -> Iterator[bytes]:
    """So many mebibytes, chunked."""
    for body in mebibytes(count):
        yield f"{len(body):x}\r\n".encode() + body + b"\r\n"
    yield b"0\r\n\r\n"


def test_a_length_over_the_limit(server: Server, doors: FakeDoors, flow: str) -> None:
    """20 MiB are refused as JSON when their length is known, without anything being sent."""
    head = f"POST /hook/{flow} HTTP/1.1\r\nContent-Length: {20 * MIB}"
    received, _ = answer_to(server, head, iter(()))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert "10 MiB" in json.loads(received.partition(b"\r\n\r\n")[2])["remedy"]
    assert doors.calls == []


def test_a_client_that_asks_first(server: Server, flow: str) -> None:
    """Who asks whether to go on (Expect: 100-continue) with 20 MiB is told no at once."""
    head = f"POST /hook/{flow} HTTP/1.1\r\nContent-Length: {20 * MIB}\r\nExpect: 100-continue"
    received, _ = answer_to(server, head, iter(()))
    assert received.startswith(b"HTTP/1.1 413 ")


def test_chunks_over_the_limit(server: Server, doors: FakeDoors, flow: str) -> None:
    """A body of unknown length is refused when too much has come; its end is not awaited."""
    head = f"POST /hook/{flow} HTTP/1.1\r\nTransfer-Encoding: chunked"
    received, sent = answer_to(server, head, chunks(200))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert sent < 60 * MIB
    assert doors.calls == []


def test_chunks_within_the_limit(server: Server, doors: FakeDoors, flow: str) -> None:
    """A body of unknown length that is small enough is taken."""
    response = requests.post(
        f"{server.url}/hook/{flow}", data=iter([b'{"a"', b": 1}"]), auth=CREDENTIALS, timeout=30
    )
    assert response.status_code == 202
    assert len(doors.calls) == 1


def test_an_ordinary_client_sees_the_refusal(server: Server, flow: str) -> None:
    """A client that sends all of its 20 MiB before it reads gets the 413."""
    response = requests.post(
        f"{server.url}/hook/{flow}", data=b" " * (20 * MIB), auth=CREDENTIALS, timeout=30
    )
    assert response.status_code == 413


def test_what_is_no_http(server: Server) -> None:
    """What the server refuses before the app sees it is JSON, too."""
    received, _ = answer_to(server, "GET /healthz HTTP/1.1\r\nTransfer-Encoding: odd", iter(()))
    assert received.startswith(b"HTTP/1.1 501 ")
    assert set(json.loads(received.partition(b"\r\n\r\n")[2])) == {
        *("error", "where", "remedy", "problems")
    }


def test_it_ends(app: Flask) -> None:
    """After its end nothing listens, also where a client has kept its connection."""
    server = Server(app)
    with requests.Session() as session:
        assert session.get(f"{server.url}/healthz", timeout=30).json() == {"status": "ok"}
        server.close()
        server.close()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{server.url}/healthz", timeout=30)


def test_a_port_that_is_taken(app: Flask, server: Server) -> None:
    """A port that something else has is refused with the place."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(InputError, match=f"127.0.0.1:{port}.*--port"):
        Server(app, port=port)


def test_an_address_that_is_none(app: Flask) -> None:
    """An address that is not this machine's is refused."""
    with pytest.raises(InputError, match="--bind"):
        Server(app, host="192.0.2.1")
