"""``bench flow serve``: a platform and its HTTP API, from its store to its end."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.choice import GIVEN_URL, Choice, choose
from bench.flow.place import FILE, announced
from bench.flow.place import Place as Announced
from bench.stage import BrokerPlace, ending, open_broker, open_launcher
from runtime.api.access import OPERATOR, Access
from runtime.api.app import create_app
from runtime.api.entrance import Entrances
from runtime.api.server import Server
from runtime.control import recovery
from runtime.control.plan import OwnBroker, Place
from runtime.errors import BrokerUnavailable
from runtime.launch import Launcher, owner
from runtime.launch.kept_data import FOLDER, KeptData, open_kept
from runtime.platform import Platform
from runtime.store import Store

SPANS = "spans"
"""Folder of the store that gets what containers write."""
_KEPT = 3
"""Of each step's ended containers, and of a flow's starts: what they wrote is there to be read."""


def serve(folder: Path, *, launcher: str, broker: str, host: str, port: int) -> int:
    """Run the platform until it is told to stop; the exit code.

    Raises StoreError when another platform has the store, and what launcher and broker raise.
    """
    console = Console(stderr=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    choice = choose(launcher, broker)
    troubles: list[str] = []
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(_told_to_stop())
        store = stack.enter_context(Store.open(folder))
        say(f"hopbench: {_described(choice)}")
        access = Access.new()
        server = _open(stack, store, choice, access, host, port, say, troubles.append)
        place = Announced(server.url, OPERATOR, access.password, os.getpid())
        stack.enter_context(announced(folder, place))
        say(f"hopbench: serving {server.url}; credentials are in {folder / FILE}")
        told.wait()
        say("hopbench: stopping")
    for trouble in troubles:
        say(f"hopbench: {trouble}")
    return 2 if troubles else 0


def _open(
    stack: contextlib.ExitStack,
    store: Store,
    choice: Choice,
    access: Access,
    host: str,
    port: int,
    say: Callable[[str], None],
    trouble: Callable[[str], None],
) -> Server:
    """Open launcher, broker, platform and API; ``stack`` ends them in reverse order."""
    run_id = f"flow-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    work = owner.temporary_folder(run_id)
    stack.callback(owner.remove_folder, work)
    kind = None if choice.placement == GIVEN_URL else f"{choice.broker}, {choice.placement}"
    kept = open_kept(store.folder / FOLDER, kind)
    rest = _Rest(kept, say)
    stack.callback(ending, rest.settle, trouble)
    launcher = open_launcher(choice.launcher, run_id, lambda _text: None)
    stack.callback(ending, launcher.close, trouble)
    with _naming(kept):
        broker = open_broker(stack, choice, launcher, run_id, work, trouble, kept)
    spans = store.folder / SPANS
    spans.mkdir(exist_ok=True)
    place = _place(launcher, broker, spans, kept)
    stack.callback(rest.look, store, place)
    platform = Platform(store, place)
    stack.callback(ending, platform.close, trouble)
    for one in platform.recovered:
        say(f"hopbench: left by a platform that ended without closing: {one}")
    entrances = Entrances(broker.url_host)
    app = create_app(platform, store, entrances, access, spans=spans, census=broker.census)
    server = Server(app, host=host, port=port)
    stack.callback(server.close)
    # First of all: who waits for a reply would hold up the server's end.
    stack.callback(entrances.close)
    return server


@contextlib.contextmanager
def _naming(kept: KeptData | None) -> Iterator[None]:
    """Say of a broker that does not start on an earlier one's data where that is."""
    try:
        yield
    except BrokerUnavailable as error:
        if kept is None or kept.is_new:
            raise
        remedy = (
            f"{error.remedy}. What an earlier platform accepted waits in {kept.root}: to begin "
            "without it, remove that folder"
        )
        raise BrokerUnavailable(error.what, where=error.where, remedy=remedy) from error


def _place(launcher: Launcher, broker: BrokerPlace, spans: Path, kept: KeptData | None) -> Place:
    own = None
    if kept is not None and broker.is_alive is not None:
        own = OwnBroker(not kept.is_new, broker.is_alive)
    return Place(launcher, broker.url_host, broker.url_inside, spans, kept=_KEPT, own_broker=own)


class _Rest:
    """What becomes of the broker's data: it stays where something may wait in it."""

    def __init__(self, kept: KeptData | None, say: Callable[[str], None]) -> None:
        self._kept = kept
        self._say = say
        self._is_needed = kept is not None and not kept.is_new

    def look(self, store: Store, place: Place) -> None:
        """See whether something is left, while the broker can still be asked."""
        if self._kept is not None:
            self._is_needed = recovery.has_rest(store, place)

    def settle(self) -> None:
        """Leave the data to the next platform, or remove it. The broker has ended."""
        if self._kept is None:
            return
        if self._is_needed:
            self._kept.release()
            self._say(
                f"hopbench: what waited is in {self._kept.root}; serve again the same way, and it "
                "is among the errors of its flows"
            )
        else:
            self._kept.remove()


def _described(choice: Choice) -> str:
    steps = "containers" if choice.launcher == "docker" else "processes"
    return f"steps as {steps} ({choice.launcher_reason}), {choice.broker} ({choice.broker_reason})"


class _Told:
    """Whether Ctrl-C or SIGTERM came. A second one is not needed, and changes nothing."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._is_awaited = False

    @property
    def has_come(self) -> bool:
        """Whether one has."""
        return self._came.is_set()

    def wait(self) -> None:
        """Return when one has come."""
        self._is_awaited = True
        self._came.wait()

    def signalled(self, *_: object) -> None:
        """One comes: who waits goes on, what is being opened is left at once."""
        is_first = not self._came.is_set()
        self._came.set()
        if is_first and not self._is_awaited:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _told_to_stop() -> Iterator[_Told]:
    """Take Ctrl-C and SIGTERM as what to wait for."""
    told = _Told()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, told.signalled) for one in signals]
    try:
        yield told
    finally:
        for one, handler in zip(signals, before, strict=True):
            # A second Ctrl-C must not turn an end in order into a death by a signal.
            signal.signal(one, signal.SIG_IGN if told.has_come else handler)
