"""What only the container launcher must do: confinement, limits, and errors of the engine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.broker import connect as connect_broker
from runtime.errors import BrokerUnavailable, EngineUnavailable, ImageError
from runtime.launch import Image, Spec, engine
from runtime.launch.broker_container import start_broker
from runtime.launch.docker import DockerLauncher
from runtime.model import Limits

STATUS = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
def writable(path):
    try:
        open(path + "/probe", "w").close()
    except OSError as error:
        return error.strerror
    return "writable"
print(json.dumps({
    "uid": os.getuid(), "capabilities": status["CapEff"].strip(),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "root": writable("/"), "app": writable("/opt/hopbench/app"), "tmp": writable("/tmp"),
    "engine": os.path.exists("/var/run/docker.sock"), "host": os.uname().nodename,
}))
"""

LOG_IN = """
from runtime.broker import connect
from runtime.errors import BrokerUnavailable
connect("{}", name="test").close()
print("logged in")
try:
    connect("{}", name="test")
except BrokerUnavailable:
    print("refused")
"""


@pytest.fixture(scope="module")
def launcher() -> Iterator[DockerLauncher]:
    """One launcher for all tests here."""
    launcher = DockerLauncher(f"test-docker-{os.getpid()}")
    yield launcher
    launcher.close()


def program(launcher: DockerLauncher, name: str, text: str, limits: Limits | None = None) -> Spec:
    """A spec that runs a program's text on the worker's image."""
    argv = ("python3", "-c", text)
    return Spec(name, "step", launcher.worker_image(), {}, limits or Limits(), argv=argv)


def inspect(container: str) -> Any:
    """What the engine says about a container."""
    client = engine.connect()
    try:
        return client.inspect_container(container)
    finally:
        client.close()


@pytest.mark.docker
def test_container_is_confined(launcher: DockerLauncher) -> None:
    """Inside there is no root, no capability, no way to new ones, and nothing writable but /tmp."""
    instance = launcher.start(program(launcher, "confined", STATUS))
    assert instance.wait(20.0) is not None
    seen = json.loads(instance.logs())
    expected = os.getuid() or 65534
    assert seen == {
        "uid": expected,
        "capabilities": "0" * 16,
        "no_new_privileges": "1",
        "root": "Read-only file system",
        "app": "Read-only file system",
        "tmp": "writable",
        "engine": False,
        "host": "confined",
    }
    instance.stop(grace_s=0.0)


@pytest.mark.docker
def test_limits_are_set(launcher: DockerLauncher) -> None:
    """Memory (without swap), processors and process count are those of the spec."""
    limits = Limits(memory_bytes=96 * 1024 * 1024, cpus=0.5, pids=17)
    spec = program(launcher, "limited", "import time; time.sleep(600)", limits)
    instance = launcher.start(spec)
    settings = inspect(instance.id)["HostConfig"]
    assert settings["Memory"] == settings["MemorySwap"] == 96 * 1024 * 1024
    assert settings["NanoCpus"] == 500_000_000
    assert settings["PidsLimit"] == 17
    assert settings["Privileged"] is False
    assert settings["LogConfig"]["Config"]["max-size"] == "1m"
    instance.stop(grace_s=0.0)


@pytest.mark.docker
def test_out_of_memory_is_reported(launcher: DockerLauncher) -> None:
    """A container that needs more memory than it may have ends as killed for that reason."""
    limits = Limits(memory_bytes=32 * 1024 * 1024)
    spec = program(launcher, "hungry", "bytearray(200 * 1024 * 1024)", limits)
    instance = launcher.start(spec)
    ended = instance.wait(30.0)
    assert ended is not None
    assert (ended.code, ended.oom_killed, ended.signal) == (137, True, None)
    instance.stop(grace_s=0.0)


@pytest.mark.docker
def test_spool_belongs_to_the_container_alone(launcher: DockerLauncher, tmp_path: Path) -> None:
    """The spool folder is given to the container's user, not opened to everybody."""
    spec = program(launcher, "spooling", "pass")
    spec = Spec(spec.name, spec.role, spec.image, {}, spec.limits, tmp_path, argv=spec.argv)
    mode = tmp_path.stat().st_mode
    launcher.start(spec).stop(grace_s=5.0)
    assert tmp_path.stat().st_mode == mode
    assert tmp_path.stat().st_uid == (os.getuid() or 65534)


@pytest.mark.docker
def test_missing_image_is_named(launcher: DockerLauncher) -> None:
    """An image that is not there is an ImageError with its reference."""
    image = Image("hopbench/never-built:1", ("true",))
    with pytest.raises(ImageError, match="hopbench/never-built:1"):
        launcher.start(Spec("absent", "step", image, {}, Limits()))


@pytest.mark.docker
def test_broker_answers_on_both_addresses(launcher: DockerLauncher) -> None:
    """RabbitMQ comes up with credentials of its own; host and containers can log in with them."""
    broker = start_broker(launcher)
    connect_broker(broker.url_host, name="test").close()
    guest = re.sub("//.*@", "//guest:guest@", broker.url_inside)
    instance = launcher.start(program(launcher, "client", LOG_IN.format(broker.url_inside, guest)))
    assert instance.wait(20.0) is not None
    assert instance.logs().splitlines() == ["logged in", "refused"]
    assert broker.version[0].isdigit()
    assert inspect(broker.instance.id)["Config"]["User"].split(":")[0] != "0"
    volumes = [mount["Name"] for mount in inspect(broker.instance.id)["Mounts"]]
    broker.stop()
    broker.instance.logs()
    client = engine.connect()
    left = {each["Name"] for each in client.volumes()["Volumes"] or ()}
    client.close()
    assert volumes
    assert not left & set(volumes)


@pytest.mark.docker
def test_broker_that_cannot_start_says_why(
    launcher: DockerLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker container that ends is an error with its last lines, without a further wait."""
    broken = Image(
        launcher.worker_image().reference, ("python3", "-c", "raise SystemExit('no disk')")
    )
    monkeypatch.setattr(launcher, "broker_image", lambda: broken)
    with pytest.raises(BrokerUnavailable, match=r"exit code 1.*\n?.*no disk"):
        start_broker(launcher, name="broken-broker")


def test_no_engine_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine the error names its socket and the launcher that needs none."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EngineUnavailable, match="--launcher process") as caught:
        DockerLauncher("test-no-engine")
    assert caught.value.what == "there is no container engine"
    assert caught.value.where == "unix:///nowhere/docker.sock"


def test_no_permission_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that we may not use is an error that names the docker group."""

    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(engine, "_probe", refuse)
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    with pytest.raises(EngineUnavailable, match="docker group"):
        engine.connect()
