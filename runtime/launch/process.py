"""Starts steps as OS processes: for machines without a container engine. It isolates nothing.

Processes share this host's network, files and processor; limits are not enforced (an address space
limit counts what is reserved, not what is used, and servers written in Go reserve gigabytes).
``events`` are this module's own records: there is no engine that could be asked.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from py_compile import PycInvalidationMode

import psutil

from runtime.clock import now_ns
from runtime.errors import ImageError, LaunchError
from runtime.launch import EngineEvent, Image, Instance, Spec
from runtime.launch.owner import cache_folder, environment, remove_folder, temporary_folder
from runtime.launch.running import ProcessInstance, spawn
from runtime.model import Revision

ROOT = Path(__file__).parents[2]
_PYTHON = (sys.executable, "-s", "-P")
_PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
)  # fmt: skip
_CLOSE_GRACE_S = 2.0
_LAUNCHER = "HOPBENCH_LAUNCHER"
"""Marks what one launcher started, and what that started in turn: its folder's path."""


class ProcessLauncher:
    """Processes of one run. Whatever they start ends with them; they end when the bench does."""

    name = "process"
    isolates = False

    def __init__(self, run_id: str, *, progress: Callable[[str], None] | None = None) -> None:
        self.run_id = run_id
        self._progress: Callable[[str], None] = progress or (lambda _line: None)
        self._folder = temporary_folder(run_id)
        self._marks = {**environment(run_id), _LAUNCHER: str(self._folder)}
        self._lock = threading.Lock()
        self._instances: list[ProcessInstance] = []
        self._closed = False
        # The kernel's parent death signal comes when the *thread* that forked ends: one thread,
        # which lives as long as the launcher, starts them all.
        self._nursery = ThreadPoolExecutor(1, thread_name_prefix="nursery")

    def prepare(self, revision: Revision) -> Image:
        """Unpack a component at this revision into the cache, compiled."""
        source = revision.component.root
        folder = cache_folder("components") / f"{revision.component.name}-{revision.digest}"
        if not folder.is_dir():
            self._progress(f"unpacking {revision.component.name}")
            _unpack(source, folder)
        return self._image({"HOPBENCH_COMPONENT": str(folder)})

    def worker_image(self) -> Image:
        """The interpreter that runs us, with the runtime on its path."""
        return self._image({})

    def load_image(self) -> Image:
        """Locust under this interpreter, without its web page."""
        file = str(ROOT / "bench" / "load" / "locustfile.py")
        return Image(
            str(ROOT),
            (*_PYTHON, "-m", "locust", "--headless", "--users", "1", "--spawn-rate", "1",
             "--loglevel", "WARNING", "--only-summary", "--locustfile", file),
            {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def script(self, image: Image, file: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a Python file of the image's component folder."""
        folder = Path(image.env["HOPBENCH_COMPONENT"])
        return (sys.executable, "-s", str(folder / file), *arguments)

    def inside(self, path: Path) -> str:
        """Processes see the host's own files."""
        return str(path.resolve())

    def host_name(self, name: str) -> str:
        """All of them are on this host."""
        return "127.0.0.1"

    def start(self, spec: Spec) -> Instance:
        """Start a process in a session of its own. Safe from several threads."""
        create_ns = now_ns()
        with self._lock:
            if self._closed:
                raise LaunchError("the launcher is closed already", where=spec.name)
            number = len(self._instances)
            launched = self._nursery.submit(
                self._spawn, spec, self._folder / f"{number}-{spec.name}.log", create_ns
            )
            return launched.result()

    def events(self) -> tuple[EngineEvent, ...]:
        """Starts and ends as we saw them; ``create`` is when a start was asked for."""
        with self._lock:
            instances = list(self._instances)
        events: list[EngineEvent] = []
        for each in instances:
            events.append(EngineEvent(each.create_ns, "create", each.id, each.name))
            events.append(EngineEvent(each.started_ns, "start", each.id, each.name))
            ended = each.wait(0.0)
            if ended is not None:
                events.append(EngineEvent(ended.ended_ns, "die", each.id, each.name))
        return tuple(sorted(events, key=lambda event: event.at_ns))

    def close(self) -> None:
        """Stop every process, and what it started in turn. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            instances = list(self._instances)
        try:
            if instances:
                with ThreadPoolExecutor(len(instances)) as stoppers:
                    list(stoppers.map(lambda each: each.stop(grace_s=_CLOSE_GRACE_S), instances))
            self._end_escaped()
        finally:
            self._nursery.shutdown()
            remove_folder(self._folder)

    def _end_escaped(self) -> None:
        """Kill what steps started in sessions of their own: only the environment tells whose."""
        while True:
            escaped = []
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, OSError):
                    if process.environ().get(_LAUNCHER) == str(self._folder):
                        process.kill()
                        escaped.append(process)
            # What they started meanwhile is found by another look.
            if not escaped or psutil.wait_procs(escaped, timeout=_CLOSE_GRACE_S)[1]:
                return

    def _spawn(self, spec: Spec, log: Path, create_ns: int) -> ProcessInstance:
        # As in a container, nothing of the caller's environment reaches a step but what finds
        # programs and their temporary files.
        inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        variables = {**inherited, **spec.image.env, **spec.env, **self._marks}
        argv = list(spec.argv or spec.image.argv)
        process = spawn(argv, variables, cwd=self._folder, log=log, where=spec.name)
        instance = ProcessInstance(process, spec.name, log, create_ns, now_ns())
        # Here and not in start(): whoever waits there may be interrupted.
        self._instances.append(instance)
        return instance

    def _image(self, env: Mapping[str, str]) -> Image:
        variables = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
        return Image(str(ROOT), (*_PYTHON, "-m", "runtime.worker"), variables)


def _unpack(source: Path, folder: Path) -> None:
    """Copy a component's folder under its final name, whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
            made = Path(part, "component")
            shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            compileall.compile_dir(
                made, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
            )
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was faster, with the same result
                    raise
    except OSError as error:
        raise ImageError(
            f"cannot unpack the component: {error}",
            where=str(source),
            remedy="See whether the folder can be read and the cache folder written",
        ) from error
