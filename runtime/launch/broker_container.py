"""RabbitMQ as a container on the run's own network, with credentials made for the run."""

from __future__ import annotations

import secrets
import shlex
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.broker.census import EXPRESSION, PLACES, Held, read_census
from runtime.errors import BrokerUnavailable
from runtime.launch import Instance, Spec
from runtime.launch.container import DockerInstance
from runtime.launch.docker import DockerLauncher
from runtime.launch.engine import CONFLICT, NOT_FOUND, Allowing, Client, calling, connect
from runtime.launch.kept_data import KeptData
from runtime.launch.owner import RUN_LABEL
from runtime.model import Limits

PORT = 5672
_LIMITS = Limits(memory_bytes=1024 * 1024 * 1024, cpus=2.0, pids=512)
_HEADER = b"AMQP\0\0\x09\x01"
_VERSION_FIELD = b"\x07versionS"
_POLL_S = 0.02
_REPLY_TIMEOUT_S = 2.0
_STOP_GRACE_S = 5.0
_LEFT_GRACE_S = 10
_HOME = "/var/lib/hopbench"
_COOKIE = ".erlang.cookie"
# Where, and under which name, the script start-broker of the image runs the node.
_CENSUS = (
    f"for program in {' '.join(PLACES)} $(command -v erl_call); do [ -x $program ] && break; done; "
    f"printf '%s' {shlex.quote(EXPRESSION)} | "
    f"HOME={_HOME} $program -name rabbit@localhost -e 2>&1"
)


@dataclass(frozen=True, slots=True)
class BrokerContainer:
    """A broker that accepts connections: instances at ``url_inside``, this host at ``url_host``."""

    instance: DockerInstance
    url_inside: str
    url_host: str
    version: str

    def census(self) -> Mapping[str, Held]:
        """What each queue holds. Raises BrokerError where the node does not say."""
        return read_census(self.instance.run("sh", "-c", _CENSUS))

    def stop(self) -> None:
        """End and remove it, with its messages."""
        self.instance.stop(grace_s=_STOP_GRACE_S)


def start_broker(
    launcher: DockerLauncher,
    *,
    name: str = "broker",
    timeout_s: float = 90.0,
    kept: KeptData | None = None,
) -> BrokerContainer:
    """Start RabbitMQ and wait until it answers in its protocol.

    Its files go to ``kept`` where that is given; the container that an earlier platform left on
    them is ended first. Raises BrokerUnavailable, with its last lines, when it ends or is silent
    for ``timeout_s``.
    """
    user, password = "hopbench", secrets.token_hex(16)
    if kept is not None:
        user, password = kept.user, kept.password
        end_left(kept)
        # The node makes a new one at each start, and its user may not write over the last one.
        (kept.folder / _COOKIE).unlink(missing_ok=True)
    instance = launcher.start(
        Spec(
            name=name,
            role="broker",
            image=launcher.broker_image(),
            env={"HOPBENCH_BROKER_USER": user, "HOPBENCH_BROKER_PASSWORD": password},
            limits=_LIMITS,
            ports=(PORT,),
            data=None if kept is None else (kept.folder, _HOME),
        )
    )
    host, port = instance.address(PORT)
    version = _wait_until_ready(instance, (host, port), timeout_s)
    return BrokerContainer(
        instance,
        f"amqp://{user}:{password}@{launcher.host_name(name)}:{PORT}",
        f"amqp://{user}:{password}@{host}:{port}",
        version,
    )


def end_left(kept: KeptData) -> None:
    """End the container that has these files, and before it those of the same run.

    Whoever asks has the store, so that their owner has ended. Its steps first: what they were
    handling goes back to their queues, and none of them goes on meanwhile.
    """
    client = connect()
    try:
        with calling("list the containers of earlier runs"):
            marked = client.containers(all=True, filters={"label": RUN_LABEL})
        source = str(kept.folder.resolve())
        holders = [
            each
            for each in marked
            if any(mount.get("Source") == source for mount in each.get("Mounts") or ())
        ]
        runs = {each["Labels"][RUN_LABEL] for each in holders}
        ids = [each["Id"] for each in holders]
        steps = [
            each["Id"]
            for each in marked
            if each["Labels"][RUN_LABEL] in runs and each["Id"] not in ids
        ]
        for container in steps:
            _remove(client, container)
        for container in ids:
            with Allowing("stop the broker", NOT_FOUND, CONFLICT, where=container[:12]):
                client.stop(container, timeout=_LEFT_GRACE_S)
            _remove(client, container)
    finally:
        client.close()


def _remove(client: Client, container: str) -> None:
    with Allowing("remove a container", NOT_FOUND, CONFLICT, where=container[:12]):
        client.remove_container(container, v=True, force=True)


def _wait_until_ready(instance: Instance, address: tuple[str, int], timeout_s: float) -> str:
    """Offer the protocol until the broker takes it up; returns its version."""
    deadline = time.monotonic() + timeout_s
    while True:
        version = greet(address)
        if version is not None:
            return version
        ended = instance.wait(_POLL_S)
        if ended is not None or time.monotonic() > deadline:
            said = instance.logs() or "nothing"
            instance.stop(grace_s=1.0)
            state = f"exit code {ended.code}" if ended else f"silent for {timeout_s:.0f} s"
            raise BrokerUnavailable(
                f"RabbitMQ did not become ready ({state}); it last said:\n{said}",
                where=f"container {instance.name}",
                remedy="Mend what it names, or give the URL of a broker with --broker",
            )


def greet(address: tuple[str, int]) -> str | None:
    """Offer AMQP 0-9-1 and return the version in the broker's answer; None when it is not ready.

    The answer is the method connection.start, whose table of server properties holds the version as
    a long string (AMQP 0-9-1 specification, 1.4.2.2 and 4.2.5.5).
    """
    try:
        with socket.create_connection(address, timeout=_REPLY_TIMEOUT_S) as peer:
            peer.settimeout(_REPLY_TIMEOUT_S)
            peer.sendall(_HEADER)
            answer = b""
            while True:
                before, field, after = answer.partition(_VERSION_FIELD)
                size = int.from_bytes(after[:4], "big")
                if before.startswith(b"\x01\0\0") and field and len(after) >= 4 + size:
                    return after[4 : 4 + size].decode(errors="replace")
                received = peer.recv(4096)
                if not received:
                    return None
                answer += received
    except OSError:
        # Refused, reset or silent: it is not ready yet; the caller decides for how long.
        return None
