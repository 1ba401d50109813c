"""Starts steps as containers: the reference launcher.

Every container is confined (no root, no capabilities, no new privileges, read-only root, bounded
memory, processor and process count) and joins a network of the run's own. Calls to the engine are
few, since what starting a container costs is one of the figures that hopbench reports.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtime.clock import now_ns
from runtime.errors import HopbenchError, LaunchError
from runtime.images.build import COMPONENT, Images
from runtime.launch import EngineEvent, Image, Spec
from runtime.launch.container import DockerInstance
from runtime.launch.engine import (
    CONFLICT,
    NOT_FOUND,
    Allowing,
    Client,
    calling,
    connect,
    log_config,
    remove_network,
)
from runtime.launch.owner import RUN_LABEL, labels
from runtime.launch.watch import NAME_LABEL, ROLE_LABEL, EngineWatch
from runtime.model import Revision

INSIDE_SPOOL = "/var/spool/hopbench"
_NOBODY = 65534
_TMPFS = {"/tmp": "rw,nosuid,nodev,noexec,size=64m,mode=1777"}  # noqa: S108 - the container's own
_CLOSE_GRACE_S = 2.0
_REMOVERS = 4


class DockerLauncher:
    """Containers of one run, on a bridge network of the run's own.

    Raises EngineUnavailable when there is no engine. ``progress`` is told, a line each, what takes
    long.
    """

    name = "docker"
    isolates = True

    def __init__(self, run_id: str, *, progress: Callable[[str], None] | None = None) -> None:
        self.run_id = run_id
        self.network = f"hopbench-{run_id}"
        self._labels = labels(run_id)
        self._client: Client = connect()
        self._images = Images(self._client, progress)
        self._watch = EngineWatch(self._client, run_id)
        self._lock = threading.Lock()
        self._has_network = False
        self._instances: list[DockerInstance] = []
        self._count = 0
        self._closed = False
        self._removers = ThreadPoolExecutor(_REMOVERS, thread_name_prefix="engine-remove")
        uid, gid = os.getuid(), os.getgid()
        self._user = (uid, gid) if uid else (_NOBODY, _NOBODY)

    def prepare(self, revision: Revision) -> Image:
        """The image of a component at this revision, built when it is not there yet."""
        return self._images.component(revision)

    def worker_image(self) -> Image:
        """The image that components' images are built on."""
        return self._images.worker()

    def load_image(self) -> Image:
        """The image of the load generator."""
        return self._images.load()

    def broker_image(self) -> Image:
        """The image of the RabbitMQ broker."""
        return self._images.broker()

    def script(self, image: Image, file: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a Python file of the image's component folder."""
        return (image.argv[0], "-s", f"{COMPONENT}/{file}", *arguments)

    def inside(self, path: Path) -> str:
        """Every container sees its spool folder in the same place."""
        return INSIDE_SPOOL

    def host_name(self, name: str) -> str:
        """Containers find one another by name on the run's network."""
        return name

    def start(self, spec: Spec) -> DockerInstance:
        """Create a container and start it: two calls to the engine. Safe from several threads."""
        with self._lock:
            if self._closed:
                raise LaunchError("the launcher is closed already", where=spec.name)
            self._ensure_network()
            self._count += 1
            number = self._count
        if spec.spool is not None:
            self._open_folder(spec.spool)
        if spec.data is not None:
            self._open_folder(spec.data[0])
        create_ns = now_ns()
        container = self._create(spec, number)
        try:
            with calling(f"start container {spec.name!r}", where=spec.image.reference):
                self._client.start(container)
        except HopbenchError:
            with contextlib.suppress(HopbenchError):
                self._remove(container)
            raise
        instance = DockerInstance(
            self._client, self._watch, self._remove_later, container, spec, create_ns, now_ns()
        )
        with self._lock:
            self._instances.append(instance)
        return instance

    def events(self) -> tuple[EngineEvent, ...]:
        """What the engine announced about this run's containers so far."""
        return self._watch.events()

    def close(self) -> None:
        """Stop what still runs, then remove all containers and networks with the run's label."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            instances = list(self._instances)
        try:
            running = [each for each in instances if self._watch.end(each.id) is None]
            if running:
                with ThreadPoolExecutor(len(running)) as stoppers:
                    list(stoppers.map(lambda each: each.stop(grace_s=_CLOSE_GRACE_S), running))
        finally:
            self._removers.shutdown(wait=True)
            self._sweep()
            self._watch.close()
            self._client.close()

    def _sweep(self) -> None:
        """Remove what carries the run's label, whoever started it."""
        mine = {"label": f"{RUN_LABEL}={self.run_id}"}
        with calling("list the run's containers"):
            containers = self._client.containers(all=True, filters=mine)
        for container in containers:
            self._remove(container["Id"])
        with calling("list the run's networks"):
            networks = self._client.networks(filters=mine)
        for network in networks:
            remove_network(self._client, network["Id"], self.network)

    def _ensure_network(self) -> None:
        """Make the run's network on first use. Called with the lock held."""
        if not self._has_network:
            with calling("create the run's network", where=self.network):
                self._client.create_network(
                    self.network, driver="bridge", labels=self._labels, check_duplicate=True
                )
            self._has_network = True

    def _open_folder(self, folder: Path) -> None:
        """Let the container's user write to a folder of its own."""
        if not folder.is_dir():
            # The engine would make it, as root's.
            raise LaunchError("the container's folder is not there", where=str(folder))
        uid, gid = self._user
        if os.getuid() == 0 and folder.stat().st_uid != uid:
            os.chown(folder, uid, gid)

    def _create(self, spec: Spec, number: int) -> str:
        client, limits = self._client, spec.limits
        folders = [(spec.spool, INSIDE_SPOOL)] if spec.spool else []
        folders += [spec.data] if spec.data else []
        binds = [f"{folder.resolve()}:{inside}:rw" for folder, inside in folders] or None
        host_config = client.create_host_config(
            network_mode=self.network,
            binds=binds,
            read_only=True,
            tmpfs=_TMPFS,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=limits.memory_bytes,
            memswap_limit=limits.memory_bytes,
            nano_cpus=round(limits.cpus * 1e9),
            pids_limit=limits.pids,
            init=False,
            log_config=log_config("1m", 2),
            port_bindings=dict.fromkeys(spec.ports, ("127.0.0.1", None)),
        )
        networks: Any = {self.network: client.create_endpoint_config(aliases=[spec.name])}
        with calling(f"create container {spec.name!r}", where=spec.image.reference):
            made = client.create_container(
                spec.image.reference,
                list(spec.argv or spec.image.argv),
                name=f"{self.network}-{number}-{spec.name}",
                hostname=spec.name,
                user=f"{self._user[0]}:{self._user[1]}",
                environment={**spec.image.env, **spec.env},
                labels={**self._labels, NAME_LABEL: spec.name, ROLE_LABEL: spec.role},
                ports=list(spec.ports),
                host_config=host_config,
                networking_config=client.create_networking_config(networks),
            )
        return str(made["Id"])

    def _remove_later(self, instance: DockerInstance) -> Future[str]:
        """Remove a container in the background, keeping its last lines; they are the result."""

        def remove() -> str:
            lines = instance.read_logs()
            self._remove(instance.id)
            return lines

        return self._removers.submit(remove)

    def _remove(self, container: str) -> None:
        # A conflict says that the engine is removing it already.
        with Allowing("remove a container", NOT_FOUND, CONFLICT, where=container[:12]):
            self._client.remove_container(container, v=True, force=True)
