"""The connection to the container engine. The only module that imports its client library.

What the engine and the library raise becomes :mod:`runtime.errors`; nothing else escapes from
:func:`calling`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import docker.errors
import docker.types
import requests
from docker import APIClient as Client
from docker.context import ContextAPI
from docker.transport import UnixHTTPAdapter
from docker.utils import kwargs_from_env

from runtime.errors import EngineUnavailable, ImageError, LaunchError

_CONNECTIONS = 32
_NETWORK_PATIENCE_S = 2.0
_DEFAULT_HOST = "unix:///var/run/docker.sock"
_UNIX = "unix://"
_GROUP_REMEDY = (
    "Add yourself to the docker group, or run as root; or use --launcher process, "
    "which needs no engine"
)
_ABSENT_REMEDY = (
    "Install and start Docker (nox -s provision does on Debian and Ubuntu); or use "
    "--launcher process, which needs no engine"
)

NOT_FOUND, CONFLICT = 404, 409

__all__ = [
    "CONFLICT", "NOT_FOUND", "Allowing", "Client", "calling", "connect", "log_config",
    "remove_network",
]  # fmt: skip


class _OnePool(UnixHTTPAdapter):
    """Keeps one pool of connections to the engine's socket.

    The library keeps a pool for each URL, hence for each container, so that every call opens a
    connection; and only 25 of them, so that parallel calls close one another's.
    """

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """The pool, whatever the URL."""
        return super().get_connection("http+docker://localhost", proxies)


def host() -> str:
    """The engine's address: DOCKER_HOST, or what the client's current context says."""
    if given := os.environ.get("DOCKER_HOST"):
        return given
    try:
        context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    except docker.errors.DockerException as error:
        raise EngineUnavailable(
            f"the container engine's context cannot be read: {error}",
            remedy="See what `docker context ls` says, or set DOCKER_HOST",
        ) from error
    # A context that is named but not there is None, whatever the library's stubs say.
    found: Any = context
    address = str((found.Host if found else None) or _DEFAULT_HOST)
    return address.removeprefix("http+")


def connect() -> Client:
    """Connect to the engine. Safe to use from several threads; the caller closes it.

    Raises EngineUnavailable when there is none, or when we may not use it.
    """
    where = host()
    try:
        if where.startswith(_UNIX):
            _probe(where.removeprefix(_UNIX))
        arguments: dict[str, Any] = {**kwargs_from_env(), "base_url": where}
        client = Client(**arguments, version="auto")
    except PermissionError as error:
        raise EngineUnavailable(
            "we may not use the container engine", where=where, remedy=_GROUP_REMEDY
        ) from error
    except FileNotFoundError as error:
        raise EngineUnavailable(
            "there is no container engine", where=where, remedy=_ABSENT_REMEDY
        ) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineUnavailable(
            f"the container engine does not answer: {error}", where=where, remedy=_ABSENT_REMEDY
        ) from error
    adapter = client.get_adapter("http+docker://localhost") if where.startswith(_UNIX) else None
    if isinstance(adapter, UnixHTTPAdapter):
        adapter.close()
        pooled = _OnePool(
            f"http+unix://{adapter.socket_path}", client.timeout, max_pool_size=_CONNECTIONS
        )
        client.mount("http+docker://", pooled)
    return client


def _probe(path: str) -> None:
    """Raise the OSError that tells whether there is an engine, and whether we may use it.

    The client library would wrap it in others, and forget its socket.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)


@contextmanager
def calling(doing: str, *, where: str = "") -> Iterator[None]:
    """Translate what goes wrong in a call to the engine; ``doing`` completes "cannot ...".

    Raises LaunchError when the engine refuses, ImageError when it lacks the image,
    EngineUnavailable when it does not answer.
    """
    try:
        yield
    except docker.errors.APIError as error:
        why = str(error.explanation or error).strip()
        kind = ImageError if isinstance(error, docker.errors.ImageNotFound) else LaunchError
        raise kind(
            f"cannot {doing}: the container engine says {why!r}",
            where=where,
            remedy="See the engine's own log for more",
        ) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineUnavailable(
            f"cannot {doing}: the connection to the container engine broke ({error})",
            where=where,
            remedy="See whether the engine still runs; python -m bench doctor --clean removes "
            "what was left behind",
        ) from error


class Allowing:
    """:func:`calling`, but an answer with one of some status codes just ends the ``with`` body."""

    def __init__(self, doing: str, *statuses: int, where: str = "") -> None:
        self._calling = calling(doing, where=where)
        self._statuses = statuses

    def __enter__(self) -> None:
        self._calling.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, docker.errors.APIError) and error.status_code in self._statuses:
            return True
        return bool(self._calling.__exit__(kind, error, trace))


def remove_network(client: Client, network: str, name: str) -> None:
    """Remove a network; one that is gone already is fine.

    An engine may for a moment, and some versions until they are restarted, count a container that
    has ended among the network's endpoints. Raises LaunchError that says so.
    """
    deadline = time.monotonic() + _NETWORK_PATIENCE_S
    while True:
        try:
            with calling(f"remove network {name}", where=name):
                client.remove_network(network)
        except LaunchError as error:
            cause = error.__cause__
            status = getattr(cause, "status_code", None)
            if status in {NOT_FOUND, CONFLICT}:
                return
            if "active endpoints" not in str(cause):
                raise
            if time.monotonic() > deadline:
                raise LaunchError(
                    "the container engine does not let go of a network: it counts an endpoint "
                    "that no container has any more",
                    where=name,
                    remedy="Harmless; it can be removed (python -m bench doctor --clean) when the "
                    "engine has been restarted",
                ) from error
            time.sleep(0.2)
        else:
            return


def log_config(size: str, files: int) -> Any:
    """The log driver with binary files of bounded size: the cheapest that can be read back."""
    return docker.types.LogConfig(type="local", config={"max-size": size, "max-file": str(files)})
