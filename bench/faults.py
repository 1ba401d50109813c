"""Does to the steps of a trial what its scenario's faults say: freezes them, delays their network.

Whatever is done ends with the trial: what is frozen is thawed before anything is stopped, and a
proxy lives for one trial.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.floor import GRACE_S, bare_spec, wait_for_file
from bench.stage import Stage
from runtime.clock import now_ns
from runtime.errors import HopbenchError
from runtime.launch import Instance
from runtime.message import NETWORK_DELAY_HEADER
from scenarios.faults import FREEZE, NETWORK_DELAY
from scenarios.model import Fault, Freeze, NetworkDelay

_PROXY_READY_S = 30.0
_PORTS = {"amqp": 5672, "nats": 4222}
"""Where a broker listens whose URL does not say it."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that forwards: the step behind it reaches the broker at ``url``."""

    step: str
    instance: Instance
    url: str
    ready_ns: int
    folder: Path

    @property
    def place(self) -> str:
        """``host:port``, as services have it."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}"

    def problems(self) -> tuple[str, ...]:
        """What it could not delay as it was asked to."""
        path = self.folder / "problems.txt"
        return tuple(path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()


class Freezer:
    """Freezes and thaws steps at instants counted from ``start_ns``. Use as a context manager.

    Leaving it thaws what is frozen. ``done`` has an entry for each fault that was carried out, as
    trial.json stores it: between ``at_ns`` and ``until_ns`` the step was certainly frozen.
    ``problems`` says what could not be done, or was not due before the load had ended.
    """

    def __init__(
        self, faults: tuple[Fault, ...], instances: Mapping[str, Instance], start_ns: int
    ) -> None:
        self.done: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._start_ns = start_ns
        self._leaving = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._carry_out, args=(fault, instances[fault.step]), name="freezer"
            )
            for fault in faults
            if isinstance(fault, Freeze)
        ]

    def __enter__(self) -> Freezer:
        """Start the timers."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Thaw what is frozen."""
        self._leaving.set()
        for thread in self._threads:
            thread.join()

    def _carry_out(self, fault: Freeze, instance: Instance) -> None:
        due_ns = self._start_ns + round(fault.after_s * 1e9)
        if self._leaving.wait(max(0, due_ns - now_ns()) / 1e9):
            self.problems.append(
                f"step {fault.step} was to be frozen {fault.after_s:g} s into the load, which had "
                "ended by then"
            )
            return
        try:
            try:
                instance.freeze()
                at_ns = now_ns()
                # From here: how long the engine took to freeze it is not taken from its freeze.
                self._leaving.wait(fault.for_s)
                until_ns = now_ns()
            finally:
                instance.thaw()
        except HopbenchError as error:
            self.problems.append(f"step {fault.step} could not be frozen and thawed: {error}")
            return
        self.done.append({"kind": FREEZE, "step": fault.step, "at_ns": at_ns, "until_ns": until_ns})


@contextlib.contextmanager
def network_delays(
    stage: Stage, faults: tuple[Fault, ...], name: str, folder: Path
) -> Iterator[dict[str, Proxy]]:
    """Start a proxy for each network delay; yields them by step. They end with the block.

    ``name`` is the trial's, ``folder`` is made. Raises LaunchError or MeasurementError where one
    does not start.
    """
    with contextlib.ExitStack() as stack:
        proxies: dict[str, Proxy] = {}
        for fault in faults:
            if isinstance(fault, NetworkDelay):
                proxy = _start_proxy(stage, fault, name, folder / f"proxy-{fault.step}")
                stack.callback(proxy.instance.stop, grace_s=GRACE_S)
                proxies[fault.step] = proxy
        yield proxies


def delay_document(proxy: Proxy, until_ns: int) -> dict[str, Any]:
    """A network delay as trial.json stores it."""
    return {
        "kind": NETWORK_DELAY,
        "step": proxy.step,
        "at_ns": proxy.ready_ns,
        "until_ns": until_ns,
    }


def _start_proxy(stage: Stage, fault: NetworkDelay, name: str, folder: Path) -> Proxy:
    launcher, upstream = stage.launcher, urlsplit(stage.place.url_inside)
    # Every container has a network of its own; processes stay on this host's loopback.
    listen = "0.0.0.0" if launcher.isolates else "127.0.0.1"  # noqa: S104
    asked = f"{upstream.scheme}:{NETWORK_DELAY_HEADER}"
    spec = bare_spec(
        launcher, f"{name}-proxy-{fault.step}", folder, "proxy.py",
        listen, upstream.hostname or "", str(upstream.port or _PORTS[upstream.scheme]),
        asked if fault.delay_ms is None else str(fault.delay_ms),
    )  # fmt: skip
    instance = launcher.start(replace(spec, role="service"))
    try:
        port = wait_for_file(folder / "ready.json", instance, _PROXY_READY_S)["port"]
    except BaseException:
        instance.stop(grace_s=GRACE_S)
        raise
    user, mark, _ = upstream.netloc.rpartition("@")
    netloc = f"{user}{mark}{launcher.host_name(spec.name)}:{port}"
    return Proxy(fault.step, instance, upstream._replace(netloc=netloc).geturl(), now_ns(), folder)
