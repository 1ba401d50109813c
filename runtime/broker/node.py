"""A private RabbitMQ node, started from an installed ``rabbitmq-server`` and removed without trace.

It listens on loopback only, with a user made for the run, and has a folder, an Erlang cookie and a
port mapper (epmd) of its own, so that it meets no other node of this machine. Linux only.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.broker.census import EXPRESSION, PLACES, Held, read_census
from runtime.broker.leash import Leash
from runtime.errors import BrokerError, BrokerUnavailable
from runtime.launch import owner
from runtime.launch.kept_data import KeptData

INSTALLED = "/usr/lib/rabbitmq/lib"
"""Where Debian's, Ubuntu's and RabbitMQ's own packages put ``rabbitmq_server-VERSION``."""
_READY_TIMEOUT_S = 60.0
_GRACE_S = 10.0
_CALL_TIMEOUT_S = 10.0
_NODE = "hopbench@localhost"
_ATTEMPTS = 3
_ERLANG_ARGUMENTS = (
    "-kernel inet_dist_use_interface {127,0,0,1} "
    # When a delayed message whose queue was full is offered to it again; three minutes by default.
    "-rabbit dead_letter_worker_publisher_confirm_timeout 2000"
)
_AMQP_HELLO = b"AMQP\x00\x00\x09\x01"


def configuration(*, host: str, port: int, user: str, password: str) -> str:
    """The node's ``rabbitmq.conf``: classic queues, AMQP only, no limit that is met by accident."""
    return f"""\
# One listener, on the run's own address.
listeners.tcp.default = {host}:{port}
# The run's user, made at the first boot of an empty node; there is no guest.
default_user = {user}
default_pass = {password}
default_vhost = /
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
# This user comes from another address when its steps are containers.
loopback_users = none
# Publishers are blocked above this share of the memory: far from what bounded queues can hold.
vm_memory_high_watermark.relative = 0.6
# And below this free disk space. The default, a share of the memory, would block on small disks.
disk_free_limit.absolute = 64MB
# Connections that come and go are not news; what goes wrong is.
log.console = true
log.console.level = warning
"""


class RabbitNode:
    """A running node. Made by :meth:`start`, ended by :meth:`stop` or the end of its ``with``."""

    def __init__(
        self,
        url: str,
        version: str,
        folder: Path,
        leashes: tuple[Leash, ...],
        environment: Mapping[str, str],
    ) -> None:
        self.url = url
        self.version = version
        self._folder = folder
        self._leashes = leashes
        self._environment = environment

    @classmethod
    def start(
        cls,
        run_id: str,
        workdir: Path,
        *,
        management: bool = False,
        kept: KeptData | None = None,
    ) -> RabbitNode:
        """Start a node for a run and return when it answers AMQP.

        Its files go into a new folder below ``workdir``, its database to ``kept`` where that is
        given. Raises BrokerUnavailable when RabbitMQ is not installed or does not come up.
        """
        server, version = find_server()
        log = ""
        for _ in range(_ATTEMPTS):
            # Each attempt has new ports: between our look at a port and the node's, another
            # program may have taken it.
            attempt = _Attempt(run_id, workdir, server, management=management, kept=kept)
            try:
                if attempt.launch():
                    leashes = tuple(attempt.leashes)
                    return cls(attempt.url, version, attempt.folder, leashes, attempt.environment())
                log = "\n".join(_complaint(leash) for leash in attempt.leashes).strip()
            except BaseException:
                attempt.undo()
                raise
            attempt.undo()
            if not re.search("eaddrinuse|already in use", log, re.IGNORECASE):
                break
        raise BrokerUnavailable(
            f"the private RabbitMQ node did not come up. It said:\n{log or '(nothing)'}\n",
            where=str(server),
            remedy="Check that `rabbitmq-server` starts by itself, or give another --broker",
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The node's processes, epmd included."""
        return tuple(pid for leash in self._leashes for pid in leash.pids)

    def alive(self) -> bool:
        """Whether all of its processes still run."""
        return all(leash.alive() for leash in self._leashes)

    def logs(self, last: int = 15) -> str:
        """The last lines of the node's log."""
        return self._leashes[-1].last_lines(last)

    def census(self) -> Mapping[str, Held]:
        """What each queue holds. Raises BrokerError where the node does not say."""
        program = next(filter(os.path.exists, PLACES), None) or shutil.which("erl_call")
        if program is None:
            raise BrokerError("Erlang's erl_call is not installed", remedy="Install erlang-base")
        try:
            done = subprocess.run(
                [program, "-name", _NODE, "-e"],
                input=EXPRESSION,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=_CALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(
                f"the node has not answered within {_CALL_TIMEOUT_S:g} s", where=_NODE
            ) from error
        return read_census(done.stdout or done.stderr)

    def stop(self) -> None:
        """End the node and remove its folder; return when nothing of it is left. Idempotent."""
        # The node first: one that cannot reach its port mapper complains and takes longer.
        for leash in reversed(self._leashes):
            leash.stop()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Attempt:
    """One try at starting a node: its folder, its ports, its credentials."""

    def __init__(
        self,
        run_id: str,
        workdir: Path,
        server: Path,
        *,
        management: bool,
        kept: KeptData | None,
    ) -> None:
        self._run_id = run_id
        self._kept = kept
        self._server = server
        self._management = management
        workdir.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitmq-", dir=workdir.resolve()))
        self._port, self._dist_port, self._epmd_port = free_ports(3)
        # A database knows the user that it was made with.
        self._user = kept.user if kept else f"hopbench-{secrets.token_hex(4)}"
        self._password = kept.password if kept else secrets.token_urlsafe(24)
        self.leashes: list[Leash] = []
        self.url = f"amqp://{self._user}:{self._password}@127.0.0.1:{self._port}/%2F"

    def launch(self) -> bool:
        """Start epmd, then the node; whether it answers AMQP in time. False once either ended."""
        self._write_files()
        env = self.environment()
        # Erlang would start an epmd of its own and leave it behind as a daemon.
        epmd = [_find_epmd(), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        self.leashes.append(Leash(epmd, env=env, log=self.folder / "epmd.log", grace_s=_GRACE_S))
        if not self._becomes_ready(lambda: _listens(self._epmd_port)):
            return False
        self.leashes.append(
            Leash(
                [str(self._server)],
                env=env,
                log=self.folder / "node.log",
                grace_s=_GRACE_S,
                remove=self.folder,
                keep_open=() if self._kept is None else (self._kept.lock,),
            )
        )
        return self._becomes_ready(lambda: speaks_amqp("127.0.0.1", self._port))

    def _becomes_ready(self, ready: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline and all(leash.alive() for leash in self.leashes):
            if ready():
                return True
            time.sleep(0.02)
        return False

    def undo(self) -> None:
        """End what was started, remove what was written."""
        for leash in reversed(self.leashes):
            leash.stop()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _write_files(self) -> None:
        _write_private(self.folder / ".erlang.cookie", secrets.token_hex(20), mode=0o400)
        config = configuration(
            host="127.0.0.1", port=self._port, user=self._user, password=self._password
        )
        _write_private(self.folder / "rabbitmq.conf", config)
        plugins = "[rabbitmq_management]." if self._management else "[]."
        _write_private(self.folder / "enabled_plugins", plugins)
        # Without it the scripts would read the machine's own settings.
        _write_private(self.folder / "env.conf", "")

    def environment(self) -> Mapping[str, str]:
        """What the node, and whoever calls it, has to be told."""
        database = self._kept.folder.resolve() if self._kept else self.folder / "mnesia"
        return owner.environment(self._run_id) | {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG": "C.UTF-8",
            # Erlang looks for its cookie here.
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(database),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            # A dump of many megabytes would go to the folder that the user is in.
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Erlang's own distribution port would listen on every address.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }


def find_server() -> tuple[Path, str]:
    """The newest installed ``rabbitmq-server`` and its version; raises BrokerUnavailable.

    The script inside the package's own folder: the one on PATH changes to the user ``rabbitmq``.
    """
    found = [
        (tuple(int(part) for part in match.group(1).split(".")), path)
        for path in Path(INSTALLED).glob("rabbitmq_server-*/sbin/rabbitmq-server")
        if (match := re.fullmatch(r"rabbitmq_server-([0-9.]+)", path.parent.parent.name))
    ]
    if not found:
        raise BrokerUnavailable(
            "RabbitMQ is not installed",
            where=INSTALLED,
            remedy="Install it (`apt-get install rabbitmq-server`), or use --broker nats",
        )
    version, path = max(found)
    return path, ".".join(str(part) for part in version)


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct loopback ports that nothing listens on now.

    Below 32768: the kernel hands the ports above to outgoing connections, so one of those could be
    taken before the node has come to it.
    """
    chosen: set[int] = set()
    for port in random.sample(range(20000, 32768), 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.add(port)
        if len(chosen) == count:
            return tuple(chosen)
    raise BrokerUnavailable(
        "there are no free ports from 20000 to 32767", remedy="Stop what uses them"
    )


def speaks_amqp(host: str, port: int) -> bool:
    """Whether a broker at this address answers AMQP's hello with connection.start."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(_AMQP_HELLO)
            # Frame type 1 (method) on channel 0.
            return connection.recv(7)[:3] == b"\x01\x00\x00"
    except OSError:
        return False


def _find_epmd() -> str:
    found = shutil.which("epmd") or next(
        (str(path) for path in Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None
    )
    if found is None:
        raise BrokerUnavailable(
            "Erlang's port mapper `epmd` is not installed", remedy="Install erlang-base"
        )
    return found


def _complaint(leash: Leash) -> str:
    """What the log says about a failure: the errors come first, then pages of their context."""
    errors = [line for line in leash.lines() if "[error]" in line and line.split("> ")[1:]]
    return "\n".join(errors[:8]) or leash.last_lines()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
