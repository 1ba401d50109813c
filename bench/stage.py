"""Everything that stands for a whole run: launcher, broker, load generator, the bare hop pair.

Built once, before the first trial, and taken down in reverse order, whatever happened in between.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.choice import CONTAINER, GIVEN_URL, Choice
from bench.floor import HopFloor
from bench.generators import Generator, open_generators
from bench.resources import Watchable
from runtime.broker import Broker, connect
from runtime.broker.census import Census
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode, free_ports
from runtime.components import SERVICE, load_component, revision
from runtime.errors import (
    BrokerError,
    ComponentError,
    HopbenchError,
    LaunchError,
    MeasurementError,
)
from runtime.launch import Instance, Launcher, Spec
from runtime.launch.kept_data import KeptData
from runtime.model import Limits, Revision
from scenarios.files import component_roots, find_component
from scenarios.model import Scenario, Service

_SERVICE_READY_S = 30.0
ATTEND_S = 1.0
"""How often who waits for something else answers the broker's heartbeats."""


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where the broker is: for this process, for the instances, and what it is.

    ``census`` looks at what its queues hold, where that can be asked; ``is_alive`` asks whether it
    still runs, where it was started here.
    """

    url_host: str
    url_inside: str
    version: str | None
    instance: Instance | None
    pids: tuple[int, ...]
    census: Census | None = None
    is_alive: Callable[[], bool] | None = None

    def watched(self) -> tuple[Watchable, ...]:
        """What the resources of the broker are counted of; nothing for a broker by URL."""
        if self.instance is not None:
            return (self.instance,)
        return tuple(BrokerProcess("broker", pid) for pid in self.pids)


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """One of the processes of a broker that runs without a container."""

    name: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Stage:
    """What trials use. Of the load generators, a trial takes as many as its scenario asks for."""

    run_id: str
    launcher: Launcher
    place: BrokerPlace
    broker: Broker
    generators: tuple[Generator, ...]
    floor: HopFloor
    folder: Path
    components_root: Path

    def share(self, processes: int) -> tuple[Generator, ...]:
        """The generators of one schedule. Raises MeasurementError when too few were started."""
        if processes > len(self.generators):
            raise MeasurementError(
                f"{processes} load generators are asked for, and {len(self.generators)} were "
                "started",
                where="the run's stage",
                remedy="Open the stage with the largest number that its scenarios ask for",
            )
        return self.generators[:processes]


@contextlib.contextmanager
def open_stage(
    *,
    run_id: str,
    choice: Choice,
    folder: Path,
    components_root: Path,
    generators: int = 1,
    say: Callable[[str], None] | None = None,
    trouble: Callable[[str], None] | None = None,
) -> Iterator[Stage]:
    """Start what a run needs. Raises LaunchError or BrokerError; what had started is removed.

    ``generators`` is how many load generators the largest scenario shares its schedule among.
    ``say`` is told what takes its time: building images, starting the broker. ``trouble`` is told
    what could not be removed at the end, which spoils nothing that was measured; without it, that
    is raised.
    """
    say = say or _silent
    trouble = trouble or _raise
    with contextlib.ExitStack() as stack:
        launcher = open_launcher(choice.launcher, run_id, say)
        stack.callback(ending, launcher.close, trouble)
        say("starting the broker")
        place = open_broker(stack, choice, launcher, run_id, folder, trouble)
        broker = connect(place.url_host, name="hopbench control")
        stack.callback(ending, broker.close, trouble)
        say("starting the load generator")
        started = open_generators(
            launcher,
            folder / "load",
            generators,
            lambda one: stack.callback(ending, partial(one.stop, grace_s=5.0), trouble),
        )
        floor_folder = folder / "floor"
        floor_folder.mkdir(parents=True)
        floor = stack.enter_context(HopFloor(launcher, place.url_inside, floor_folder))
        yield Stage(
            run_id=run_id,
            launcher=launcher,
            place=place,
            broker=broker,
            generators=started,
            floor=floor,
            folder=folder,
            components_root=components_root,
        )


@contextlib.contextmanager
def attended(broker: Broker, period_s: float = ATTEND_S) -> Iterator[None]:
    """Answer the broker's heartbeats while this thread is at something else than the broker.

    A connection that says nothing for a minute or two is closed by RabbitMQ. That one is lost is
    raised by its next use.
    """
    done = threading.Event()

    def run() -> None:
        while not done.wait(period_s):
            try:
                broker.keep_alive()
            except BrokerError:
                return

    thread = threading.Thread(target=run, name="attend", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def open_launcher(name: str, run_id: str, say: Callable[[str], None]) -> Launcher:
    """The launcher of this name; its client library is imported here, on first use."""
    if name == "docker":
        from runtime.launch.docker import DockerLauncher

        return DockerLauncher(run_id, progress=say)
    from runtime.launch.process import ProcessLauncher

    return ProcessLauncher(run_id, progress=say)


def _silent(_text: str) -> None:
    """Nobody listens."""


def _raise(text: str) -> None:
    raise LaunchError(text, remedy="See what `python -m bench doctor` says")


def revisions(scenario: Scenario, root: Path) -> dict[str, Revision]:
    """The revision of each component that a scenario uses, by the component's name.

    Raises ComponentError when one cannot be used.
    """
    names = {step.component for step in scenario.steps}
    names |= {service.component for service in scenario.services}
    roots = component_roots(Path(scenario.path), root)
    found = {}
    for name in sorted(names):
        folder = find_component(name, roots)
        if folder is None:
            raise ComponentError(
                f"there is no component {name!r}",
                where=scenario.path,
                remedy=f"Put its folder into {roots[0]}",
            )
        found[name] = revision(load_component(folder))
    return found


@contextlib.contextmanager
def open_services(stage: Stage, scenario: Scenario) -> Iterator[dict[str, tuple[Instance, str]]]:
    """Start a scenario's services; yields each one's instance and its ``host:port`` for steps."""
    with contextlib.ExitStack() as stack:
        opened: dict[str, tuple[Instance, str]] = {}
        for service in scenario.services:
            instance, url = _start_service(stage, scenario, service)
            stack.callback(instance.stop, grace_s=2.0)
            opened[service.id] = (instance, url)
        yield opened


def substitutions(services: Mapping[str, tuple[Instance, str]]) -> dict[str, str]:
    """What ``${services.NAME}`` in a step's configuration stands for."""
    return {f"${{services.{name}}}": place for name, (_, place) in services.items()}


def ending(stop: Callable[[], object], trouble: Callable[[str], None]) -> None:
    """Stop something; ``trouble`` is told where that fails."""
    try:
        stop()
    except HopbenchError as error:
        trouble(f"not all that was started could be removed: {error}")


def open_broker(
    stack: contextlib.ExitStack,
    choice: Choice,
    launcher: Launcher,
    run_id: str,
    folder: Path,
    trouble: Callable[[str], None],
    kept: KeptData | None = None,
) -> BrokerPlace:
    """The broker of a run: as it was chosen, ended by ``stack``.

    One that is started here has its messages in ``kept``, or else until its end.
    """
    if choice.placement == GIVEN_URL:
        assert choice.url is not None
        return BrokerPlace(choice.url, choice.url, None, None, ())
    if choice.broker == "nats":
        server = NatsServer.start(run_id, folder, kept=kept)
        stack.callback(ending, server.stop, trouble)
        url, version = server.url, server.version
        return BrokerPlace(url, url, version, None, server.pids, is_alive=server.alive)
    if choice.placement == CONTAINER:
        from runtime.launch.broker_container import start_broker
        from runtime.launch.docker import DockerLauncher

        assert isinstance(launcher, DockerLauncher)
        container = start_broker(launcher, kept=kept)
        stack.callback(ending, container.stop, trouble)
        return BrokerPlace(
            container.url_host,
            container.url_inside,
            container.version,
            container.instance,
            (),
            container.census,
            container.instance.alive,
        )
    node = RabbitNode.start(run_id, folder, kept=kept)
    stack.callback(ending, node.stop, trouble)
    return BrokerPlace(node.url, node.url, node.version, None, node.pids, node.census, node.alive)


def _start_service(stage: Stage, scenario: Scenario, service: Service) -> tuple[Instance, str]:
    launcher = stage.launcher
    found = revisions(scenario, stage.components_root)[service.component]
    image = launcher.prepare(found)
    # Processes share this machine's ports; containers each have their own.
    port = service.port if launcher.isolates else free_ports(1)[0]
    main = found.component.functions[SERVICE].main
    name = f"{scenario.name}-{service.id}"
    instance = launcher.start(
        Spec(
            name=name,
            role="service",
            image=image,
            env={},
            limits=Limits(),
            ports=(port,),
            argv=launcher.script(image, main, "--port", str(port)),
        )
    )
    host, host_port = instance.address(port)
    deadline = time.monotonic() + _SERVICE_READY_S
    while not _answers(host, host_port):
        ended = instance.wait(0.0)
        if ended is not None or time.monotonic() > deadline:
            log = instance.logs()
            instance.stop(grace_s=1.0)
            raise MeasurementError(
                f"does not answer; it last said: {log or 'nothing'}", where=f"service {service.id}"
            )
        time.sleep(0.02)
    return instance, f"{launcher.host_name(name)}:{port}"


def _answers(host: str, port: int) -> bool:
    import http.client

    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
