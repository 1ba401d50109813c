"""Builds the images that steps, load and broker are started from; each is named by its content.

``HOPBENCH_BASE`` says what they are built on: ``local`` (a base made on this machine), ``pull``
(Python's and RabbitMQ's own images), an image reference, or ``auto``: the local one, else pulled.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from runtime.errors import EngineUnavailable, ImageError, LaunchError
from runtime.images import packages, recipe
from runtime.images.recipe import Recipe
from runtime.launch import Image
from runtime.launch.engine import NOT_FOUND, Allowing, Client, calling, connect
from runtime.launch.owner import cache_folder
from runtime.model import Revision

SETTING = "HOPBENCH_BASE"
LOCAL_BASE = "hopbench/base:bookworm"
PYTHON_BASE = "python:3.11-slim"
BROKER_BASE = "rabbitmq:3"
_PYTHON = ("python3", "-s", "-P")
"""Neither the user's packages nor the current folder: both cost look-ups at every start."""
_WORKER_ARGV = (*_PYTHON, "-m", "runtime.worker")
_LOAD_ARGV = (
    *_PYTHON, "-m", "locust", "--headless", "--users", "1", "--spawn-rate", "1",
    "--loglevel", "WARNING", "--only-summary",
    "--locustfile", "/opt/hopbench/app/bench/load/locustfile.py",
)  # fmt: skip
_BROKER_ARGV = ("sh", "/opt/hopbench/start-broker")
COMPONENT = "/opt/hopbench/component"
"""Where an image has its component's folder."""
_LAST_LINES = 15
_BUILD_TIMEOUT_S = 1800
_REMEDY = (
    f"nox -s provision makes a local base; with a registry, set {SETTING}=pull, or to the "
    "reference of an image that has Python 3.11 or newer"
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Base:
    """An image to build on. ``id`` is its content's hash as the engine knows it."""

    reference: str
    id: str
    machine: str


class Images:
    """The images of one engine. Every method is safe to call from several threads."""

    def __init__(self, client: Client, progress: Callable[[str], None] | None = None) -> None:
        self._client = client
        self._progress: Callable[[str], None] = progress or (lambda _line: None)
        self._lock = threading.RLock()
        self._bases: dict[str, Base] = {}
        self._worker: str | None = None

    def worker(self) -> Image:
        """What Python steps are built on; without a component it serves the floor and services."""
        with self._lock:
            return Image(self._worker_tag(), _WORKER_ARGV)

    def component(self, revision: Revision) -> Image:
        """One step's image: the worker and its component's folder."""
        with self._lock:
            files = recipe.folder_files(revision.component.root, "component")
            if not files:
                raise ImageError(
                    "the component's folder is empty", where=str(revision.component.root)
                )
            made = Recipe("component", recipe.dockerfile("component"), self._worker_tag(), files)
            return Image(self._ensure(made, None), _WORKER_ARGV)

    def load(self) -> Image:
        """The load generator."""
        with self._lock:
            base = self._base(PYTHON_BASE)
            site = packages.packages(packages.LOAD, self._target(base))
            made = Recipe("load", recipe.dockerfile("load"), base.id, recipe.load_files(), site.key)
            return Image(self._ensure(made, site), _LOAD_ARGV)

    def broker(self) -> Image:
        """RabbitMQ. Installing it into a local base is the one build that needs a network."""
        with self._lock:
            base = self._base(BROKER_BASE)
            start = (recipe.DOCKERFILES / "start-broker").read_bytes()
            made = Recipe(
                "broker",
                recipe.dockerfile("broker"),
                base.id,
                {"start-broker": start},
                online=True,
            )
            return Image(self._ensure(made, None), _BROKER_ARGV)

    def _worker_tag(self) -> str:
        """Made once for each engine connection: a run does not mix two states of this checkout."""
        if self._worker is None:
            self._worker = self._make_worker()
        return self._worker

    def _make_worker(self) -> str:
        base = self._base(PYTHON_BASE)
        site = packages.packages(packages.WORKER, self._target(base))
        files = recipe.runtime_files() | recipe.bare_files()
        made = Recipe("worker", recipe.dockerfile("python-worker"), base.id, files, site.key)
        return self._ensure(made, site)

    def _ensure(self, made: Recipe, site: packages.Packages | None) -> str:
        """Build an image unless it is there; returns its name."""
        if self._find(made.tag) is None:
            self._progress(f"building {made.tag}")
            folder = site.folder() if site else None
            with tempfile.TemporaryFile() as context:
                recipe.write_context(made, folder, context)
                context.seek(0)
                build(self._client, made, context)
        return made.tag

    def _base(self, registry_reference: str) -> Base:
        """The image that HOPBENCH_BASE means; ``registry_reference`` is what it pulls."""
        if registry_reference not in self._bases:
            self._bases[registry_reference] = self._choose_base(registry_reference)
        return self._bases[registry_reference]

    def _choose_base(self, registry_reference: str) -> Base:
        setting = os.environ.get(SETTING) or "auto"
        if setting in {"auto", "local"}:
            found = self._find(LOCAL_BASE)
            if found is not None:
                return found
            if setting == "local":
                raise ImageError("there is no local base image", where=LOCAL_BASE, remedy=_REMEDY)
        reference = registry_reference if setting in {"auto", "pull"} else setting
        found = self._find(reference)
        if found is None:
            self._pull(reference)
            found = self._find(reference)
        if found is None:
            raise ImageError("it is not there after it was pulled", where=reference)
        return found

    def _find(self, reference: str) -> Base | None:
        with Allowing("look for an image", NOT_FOUND, where=reference):
            client: Any = self._client  # the stubs have no types for this call
            image = client.inspect_image(reference)
            return Base(reference, str(image["Id"]), str(image["Architecture"]))
        return None

    def _pull(self, reference: str) -> None:
        self._progress(f"pulling {reference}")
        name, _, tag = reference.rpartition(":")
        if not name or "/" in tag or "@" in reference:
            name, tag = reference, ""
        try:
            with calling("pull an image", where=reference):
                steps = self._client.pull(name, tag=tag or None, stream=True, decode=True)
                _follow(steps, reference, "pull")
        except EngineUnavailable:
            raise
        except LaunchError as error:
            raise ImageError(error.what, where=reference, remedy=_REMEDY) from error

    def _target(self, base: Base) -> packages.Target:
        """The base's interpreter. Asked once for each base, then known from the cache."""
        known = cache_folder("python") / base.id.rpartition(":")[2]
        if known.is_file():
            return packages.Target(known.read_text(encoding="ascii"), base.machine)
        version = _ask_version(self._client, base)
        part = known.with_name(f"{known.name}.{os.getpid()}")
        part.write_text(version, encoding="ascii")
        part.rename(known)
        return packages.Target(version, base.machine)


def build_all(progress: Callable[[str], None] | None = None) -> list[Image]:
    """Build the images that every run needs: worker, load, broker. Those that are there stay."""
    client = connect()
    try:
        images = Images(client, progress)
        return [images.worker(), images.load(), images.broker()]
    finally:
        client.close()


def build(client: Client, made: Recipe, context: Any) -> None:
    """Have the engine build an image from its context. Raises ImageError with the last lines."""
    arguments = {"BASE": made.base}
    if made.online:
        arguments |= {name: os.environ[name] for name in _PROXIES if name in os.environ}
    with calling("build an image", where=made.tag):
        steps = client.build(
            fileobj=context,
            custom_context=True,
            tag=made.tag,
            buildargs=arguments,
            # The host's: its name servers and proxies may be on loopback.
            network_mode="host" if made.online else "none",
            labels={"hopbench.image": made.name},
            rm=True,
            forcerm=True,
            decode=True,
            timeout=_BUILD_TIMEOUT_S,
        )
        _follow(steps, made.tag, "build")


def _follow(steps: Iterable[dict[str, Any]], where: str, doing: str) -> None:
    """Read the engine's answer to its end. Raises ImageError where it reports an error."""
    lines: list[str] = []
    failed = False
    # To its end also after an error: the connection is free again only then.
    for step in steps:
        lines += str(step.get("stream", "")).splitlines()
        if "error" in step:
            failed = True
            lines.append(str(step["error"]))
    if failed:
        last = "\n  ".join([line for line in lines if line.strip()][-_LAST_LINES:])
        raise ImageError(
            f"cannot {doing} an image:\n  {last}",
            where=where,
            remedy="Mend what the last lines name, then start again",
        )


def _ask_version(client: Client, base: Base) -> str:
    """Run a base's interpreter once to learn its version, as ``3.11``."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    with calling("ask for the Python version of an image", where=base.reference):
        container = client.create_container(
            base.id,
            ["python3", "-S", "-c", program],
            host_config=client.create_host_config(network_mode="none"),
            labels={"hopbench.image": "probe"},
        )["Id"]
    try:
        with calling("start the Python of an image", where=base.reference):
            client.start(container)
        with calling("ask for the Python version of an image", where=base.reference):
            code = client.wait(container)["StatusCode"]
            answer = client.logs(container).decode(errors="replace").strip()
    except EngineUnavailable:
        raise
    except LaunchError as error:
        raise ImageError(error.what, where=base.reference, remedy=_REMEDY) from error
    finally:
        with Allowing("remove a container", NOT_FOUND, where=container[:12]):
            client.remove_container(container, force=True)
    if code != 0:
        raise ImageError(
            f"it has no working python3: {answer}", where=base.reference, remedy=_REMEDY
        )
    return answer
