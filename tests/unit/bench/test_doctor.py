"""The doctor and the choice of launcher and broker, on machines that are made up."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.choice import Choice, choose
from bench.doctor import Finding, Status, examine, render
from bench.machine import Engine, Machine, required_packages
from runtime.errors import BrokerUnavailable, EngineUnavailable, HopbenchError, InputError

FULL = Machine(
    python=(3, 12, 1),
    packages={"pika": "1.4", "numpy": "2.4"},
    engine=Engine(
        version="20.10",
        api="1.41",
        base="hopbench/base:1",
        base_from="local",
        images=("hopbench/worker:1",),
    ),
    rabbitmq="3.10.8",
    nats_server="/venv/bin/nats-server",
    browser="/usr/bin/chromium",
    tcpdump="/usr/bin/tcpdump",
    py_spy="/venv/bin/py-spy",
    cgroup="v1",
    cores=4,
    governor="performance",
    load_1min=0.1,
    disk_free_bytes=50 * 1024**3,
    clock_source="tsc",
)
NO_ENGINE = Engine(problem="the container engine does not answer", remedy="Start it")
DENIED = Engine(problem="we may not use the container engine", remedy="Join", denied=True)
NO_BASE = Engine(version="20.10", api="1.41", base="python:3")
BARE = replace(FULL, engine=NO_ENGINE, rabbitmq=None)


def by_name(machine: Machine) -> dict[str, Finding]:
    """The findings on a machine."""
    return {finding.name: finding for finding in examine(machine)}


def test_a_full_machine_has_nothing_to_report() -> None:
    """Where everything is there, every finding is ok and none has a remedy."""
    findings = examine(FULL)
    assert {finding.status for finding in findings} == {Status.OK}
    assert [finding.remedy for finding in findings if finding.remedy] == []


@pytest.mark.parametrize(
    ("machine", "name", "status"),
    [
        (replace(FULL, python=(3, 10, 9)), "Python", Status.BROKEN),
        (replace(FULL, packages={"pika": None}), "packages", Status.BROKEN),
        (replace(FULL, engine=NO_ENGINE), "container engine", Status.MISSING),
        (replace(FULL, engine=DENIED), "container engine", Status.BROKEN),
        (replace(FULL, engine=NO_BASE), "base image", Status.MISSING),
        (replace(FULL, engine=NO_BASE), "built images", Status.DEGRADED),
        (replace(FULL, rabbitmq=None), "RabbitMQ package", Status.MISSING),
        (replace(FULL, nats_server=None), "NATS server", Status.MISSING),
        (replace(FULL, browser=None), "Chromium", Status.MISSING),
        (replace(FULL, tcpdump=None), "tcpdump", Status.MISSING),
        (replace(FULL, cgroup=None), "cgroups", Status.DEGRADED),
        (replace(FULL, cores=1), "CPU cores", Status.DEGRADED),
        (replace(FULL, governor="powersave"), "CPU governor", Status.DEGRADED),
        (replace(FULL, load_1min=3.9), "load", Status.DEGRADED),
        (replace(FULL, clock_source="hpet"), "clock source", Status.DEGRADED),
        (replace(FULL, disk_free_bytes=10), "disk", Status.DEGRADED),
        (replace(FULL, leftovers=("container x",)), "leftovers", Status.DEGRADED),
        (replace(FULL, py_spy=None), "py-spy", Status.MISSING),
    ],
)
def test_each_lack_is_found_with_its_remedy(machine: Machine, name: str, status: Status) -> None:
    """Each thing that is missing or wrong is named, says what it is for, and how to get it."""
    finding = by_name(machine)[name]
    assert finding.status is status
    assert finding.needed_for
    assert finding.remedy


def test_a_base_from_the_registry_is_as_good() -> None:
    """Where a registry answers, a local base image is not needed."""
    machine = replace(FULL, engine=replace(FULL.engine, base_from="registry"))
    assert by_name(machine)["base image"].status is Status.OK
    assert choose(machine=machine).launcher == "docker"


def test_rendered_text_is_not_markup() -> None:
    """Square brackets in what the machine says of itself appear as they are."""
    machine = replace(FULL, engine=replace(NO_ENGINE, problem="[red]odd[/nonsense]"))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(examine(machine)))
    text = console.export_text()
    assert "[red]odd[/nonsense]" in text
    assert "container engine: Start it" in text


def test_required_packages_are_those_of_the_project() -> None:
    """Names are taken from pyproject.toml without their versions."""
    assert {"pika", "numpy", "jsonata-python"} <= set(required_packages())


@pytest.mark.parametrize(
    ("machine", "launcher", "broker", "expected"),
    [
        (FULL, "auto", "auto", ("docker", "rabbitmq", "container")),
        (FULL, "docker", "rabbitmq", ("docker", "rabbitmq", "container")),
        (FULL, "process", "auto", ("process", "rabbitmq", "process")),
        (FULL, "process", "nats", ("process", "nats", "process")),
        (FULL, "auto", "nats", ("process", "nats", "process")),
        (replace(FULL, rabbitmq=None), "auto", "auto", ("docker", "rabbitmq", "container")),
        (replace(FULL, engine=NO_ENGINE), "auto", "auto", ("process", "rabbitmq", "process")),
        (replace(FULL, engine=DENIED), "auto", "auto", ("process", "rabbitmq", "process")),
        (replace(FULL, engine=NO_BASE), "auto", "auto", ("process", "rabbitmq", "process")),
        (BARE, "auto", "auto", ("process", "nats", "process")),
        (FULL, "auto", "amqp://u:p@mq.example:5672/", ("docker", "rabbitmq", "given URL")),
        (FULL, "auto", "nats://127.0.0.1:4222", ("process", "nats", "given URL")),
        (BARE, "auto", "amqp://u:p@mq.example/", ("process", "rabbitmq", "given URL")),
        (FULL, "process", "amqp://localhost", ("process", "rabbitmq", "given URL")),
    ],
)
def test_choice(
    machine: Machine, launcher: str, broker: str, expected: tuple[str, str, str]
) -> None:
    """What is taken where, and that a reason is given for each."""
    choice = choose(launcher, broker, machine)
    assert (choice.launcher, choice.broker, choice.placement) == expected
    assert choice.launcher_reason
    assert choice.broker_reason
    assert choice.url == (broker if "://" in broker else None)


def test_reasons_say_why_it_is_not_the_reference() -> None:
    """Where auto takes processes, the reason is what stands against containers."""
    assert choose(machine=BARE) == Choice(
        launcher="process",
        launcher_reason="the container engine does not answer",
        broker="nats",
        broker_reason="RabbitMQ is not installed",
        placement="process",
    )


@pytest.mark.parametrize(
    ("machine", "launcher", "broker", "error", "text"),
    [
        (BARE, "docker", "auto", EngineUnavailable, "does not answer"),
        (replace(FULL, engine=DENIED), "docker", "auto", EngineUnavailable, "may not"),
        (replace(FULL, engine=NO_BASE), "docker", "auto", EngineUnavailable, "no base image"),
        (BARE, "docker", "amqp://u:p@mq.example/", EngineUnavailable, "does not answer"),
        (BARE, "auto", "rabbitmq", BrokerUnavailable, "not installed"),
        (BARE, "process", "rabbitmq", BrokerUnavailable, "not installed"),
        (FULL, "docker", "nats", BrokerUnavailable, "loopback"),
        (FULL, "docker", "amqp://u:p@[::1]:5672/", BrokerUnavailable, "loopback"),
        (replace(BARE, nats_server=None), "auto", "auto", BrokerUnavailable, "neither"),
        (replace(FULL, nats_server=None), "process", "nats", BrokerUnavailable, "NATS"),
        (FULL, "swarm", "auto", InputError, "no launcher"),
        (FULL, "auto", "kafka", InputError, "no broker"),
        (FULL, "auto", "kafka://there", InputError, "kafka"),
        (FULL, "auto", "amqp://", InputError, "amqp"),
    ],
)
def test_what_was_asked_for_and_cannot_be_had(
    machine: Machine, launcher: str, broker: str, error: type[HopbenchError], text: str
) -> None:
    """An explicit choice that is impossible is an error with a remedy, never a fallback."""
    with pytest.raises(error, match=text) as raised:
        choose(launcher, broker, machine)
    assert raised.value.remedy


def test_a_broker_urls_password_is_not_shown() -> None:
    """Error texts name the broker without the credentials in its URL."""
    with pytest.raises(BrokerUnavailable) as raised:
        choose("docker", "amqp://me:secret@localhost/", FULL)
    assert "secret" not in str(raised.value)
    assert "localhost" in str(raised.value)
