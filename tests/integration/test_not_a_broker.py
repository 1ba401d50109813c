"""Connecting to what is no broker: one clear error, in bounded time, and no socket left open."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from runtime.broker import connect
from runtime.errors import BrokerUnavailable

TIMEOUT_S = 1.0
Behaviour = Callable[[socket.socket], None]


def _silent(client: socket.socket) -> None:
    """Reads, and says nothing until the client goes."""
    while client.recv(4096):
        pass


def _http(client: socket.socket) -> None:
    """What a web server answers to something that is not HTTP."""
    client.recv(4096)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def _hangs_up(client: socket.socket) -> None:
    """Accepts, and closes at once."""
    client.close()


@contextlib.contextmanager
def _listening(behave: Behaviour) -> Iterator[int]:
    """A server on loopback whose every client is treated like this; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            # Ends with the server's socket, or with a client that went away.
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, contextlib.suppress(OSError):
                        behave(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port: int = server.getsockname()[1]
        yield port
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5.0)


def _connections_to(port: int) -> list[str]:
    ours = psutil.Process().net_connections("tcp")
    return [each.status for each in ours if each.raddr[1:] == (port,)]


@pytest.mark.parametrize("scheme", ["amqp", "nats"])
@pytest.mark.parametrize("behave", [_silent, _http, _hangs_up])
def test_what_is_no_broker_is_said_to_be_none(scheme: str, behave: Behaviour) -> None:
    """Whatever answers at the address, the error names it, and the socket is released."""
    with _listening(behave) as port:
        with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{port}: .*Check that"):
            connect(f"{scheme}://127.0.0.1:{port}", name="test", timeout_s=TIMEOUT_S)
        assert _connections_to(port) == []
