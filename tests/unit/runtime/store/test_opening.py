"""Opening a store: what cannot be used is named, with what to do, and is left as it was."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.errors import HopbenchError, StoreError
from runtime.flows import Definition
from runtime.model import FlowState, FlowType
from runtime.store import Store
from runtime.store.actions import Outcome
from tests.fakes.store import everything

Make = Callable[..., Path]
NOBODY = 65_534
HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
HOLD_STORE = """
import sys
from pathlib import Path
from runtime.store import Store
store = Store.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(store: Store, two_steps: Definition) -> Path:
    """The folder of a store that has been closed, with something of everything in it."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    store.flows.save_draft("flow", two_steps)
    store.flows.save_draft("other", two_steps)
    store.snapshots.save("flow", "first", {"n": 1})
    store.actions.end(store.actions.begin("flow", "publish"), Outcome.DONE)
    store.close()
    return store.folder


@contextmanager
def holding(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it holds something."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Act as a user whom permissions bind, to whom the folder belongs."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable(folder: Path) -> Iterator[Path]:
    """The store's folder, moved to where another user can reach it."""
    with tempfile.TemporaryDirectory(prefix="hopbench-test-") as place:
        Path(place).chmod(0o755)
        yield Path(shutil.move(folder, Path(place) / "store"))


def test_a_new_store_is_empty_and_private(tmp_path: Path) -> None:
    """Made with its parents; nobody else may read it."""
    folder = tmp_path / "deep" / "store"
    with Store.open(folder) as store:
        assert store.flows.entries() == ()
        assert store.revisions.components() == ()
        assert store.actions.history() == ()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "platform.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_store_is_the_same_when_it_is_opened_again(store: Store, two_steps: Definition) -> None:
    """All of it, to the last pin."""
    store.flows.save_draft("flow", two_steps, FlowType.REALTIME)
    store.flows.publish("flow")
    store.flows.set_state("flow", FlowState.STOPPED, FlowState.RUNNING, running=1)
    store.actions.begin("flow", "stop")
    before = everything(store)
    store.close()
    with Store.open(store.folder) as again:
        assert everything(again) == before


def test_what_a_crash_left_beside_is_swept(folder: Path) -> None:
    """Half a copy of a component is removed; revisions stay."""
    (folder / "revisions" / ".new-x").mkdir()
    (folder / "revisions" / ".new-x" / "main.py").write_text("")
    before = set((folder / "revisions").iterdir())
    Store.open(folder).close()
    assert set((folder / "revisions").iterdir()) == before - {folder / "revisions" / ".new-x"}


def test_a_closed_store_says_so(store: Store, make: Make, two_steps: Definition) -> None:
    """Closing twice is fine; every part then raises, and nothing is written."""
    store.close()
    store.close()
    for act in (
        store.flows.entries,
        lambda: store.flows.save_draft("flow", two_steps),
        lambda: store.revisions.deploy(make("three")),
        lambda: store.snapshots.load("flow", "first"),
        lambda: store.actions.begin("flow", "start"),
        store.__enter__,
    ):
        with pytest.raises(StoreError, match="the store has been closed"):
            act()


def test_a_second_platform_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """Within one process, and from another; when the first has been killed, the store is free."""
    folder = tmp_path / "store"
    refused = pytest.raises(StoreError, match=f"store: in use by process {os.getpid()}. Stop")
    with Store.open(folder), refused:
        Store.open(folder)
    with holding(HOLD_STORE, folder) as other:
        with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
            Store.open(folder)
        other.kill()
        other.wait()
        with Store.open(folder) as store:
            assert store.flows.entries() == ()


def test_a_lock_of_another_program_is_named(folder: Path, two_steps: Definition) -> None:
    """When it is opened, and in the middle of its life: who holds it, and nothing is changed."""
    database = folder / "platform.sqlite"
    with holding(HOLD_LOCK, database) as other:
        who = (
            rf"platform.sqlite: locked by process {other.pid} \(\S*python\S*\) for more than 0.1 s"
        )
        with pytest.raises(StoreError, match=who):
            Store.open(folder, busy_timeout_s=0.1)
    with Store.open(folder, busy_timeout_s=0.1) as store:
        before = everything(store)
        with holding(HOLD_LOCK, database) as other:
            with pytest.raises(StoreError, match=f"locked by process {other.pid} "):
                store.flows.save_draft("flow", two_steps)
            assert store.flows.entries()
        assert everything(store) == before
        store.flows.save_draft("flow", two_steps)


@pytest.mark.parametrize(
    "bytes_", [b"not a database " * 512, b"SQLite format 3\0" + b"\xff" * 8192]
)
def test_what_is_no_database_is_damaged(folder: Path, bytes_: bytes) -> None:
    """The file is named, with what to do, and is left as it was."""
    database = folder / "platform.sqlite"
    database.write_bytes(bytes_)
    with pytest.raises(
        StoreError, match=r"platform\.sqlite: damaged: .*Keep the file, and restore"
    ):
        Store.open(folder)
    assert database.read_bytes() == bytes_


@pytest.mark.parametrize("size", [0, 1, 100, 5000, 20_480])
def test_a_database_that_was_cut_is_damaged(folder: Path, size: int) -> None:
    """Wherever; an empty file beside revisions is no new store, and neither is none at all."""
    with (folder / "platform.sqlite").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(StoreError, match="damaged: "):
        Store.open(folder)


def test_a_database_that_is_gone_is_missed(folder: Path) -> None:
    """Its revisions are there: a new, empty one would hide what happened."""
    (folder / "platform.sqlite").unlink()
    with pytest.raises(StoreError, match="empty, although there are revisions beside it"):
        Store.open(folder)


def test_damage_anywhere_is_an_error_or_harmless(folder: Path) -> None:
    """Sixteen bytes overwritten at 150 places: StoreError, or the store can be read as before."""
    database = folder / "platform.sqlite"
    whole = database.read_bytes()
    with Store.open(folder) as store:
        sound = everything(store)
    whole = database.read_bytes()
    rng = random.Random(4)
    seen = {"error": 0, "same": 0, "other": 0}
    for _ in range(150):
        place = rng.randrange(len(whole) - 16)
        database.write_bytes(whole[:place] + rng.randbytes(16) + whole[place + 16 :])
        try:
            with Store.open(folder) as store:
                found = everything(store)
        except HopbenchError:
            seen["error"] += 1
        else:
            seen["same" if found == sound else "other"] += 1
    assert seen["error"] > 10
    assert seen["same"] > 10
    # Text within a cell carries no checksum: a name may be another one.
    assert seen["other"] < 5, seen


def test_a_row_that_lost_its_other_is_damage(folder: Path) -> None:
    """Pins whose revision is gone would be pins that are silently missing."""
    connection = sqlite3.connect(folder / "platform.sqlite")
    named = "SELECT sql FROM sqlite_schema WHERE name = 'revision_is_kept'"
    trigger = connection.execute(named).fetchone()[0]
    with connection:
        connection.execute("DROP TRIGGER revision_is_kept")
        connection.execute("DELETE FROM revision WHERE number = 1")
        connection.execute(trigger)
    connection.close()
    with pytest.raises(StoreError, match=r"damaged: a row of \w+_pin has lost the row of revision"):
        Store.open(folder)


def test_other_tables_than_ours_are_damage(folder: Path) -> None:
    """A constraint that somebody took away is one we rely on."""
    connection = sqlite3.connect(folder / "platform.sqlite")
    connection.execute("DROP TRIGGER version_stays")
    connection.close()
    with pytest.raises(StoreError, match="damaged: its tables are not those of schema 1"):
        Store.open(folder)


def test_a_definition_that_is_none_is_damage(folder: Path) -> None:
    """JSON that we cannot have written is named with the draft it should be."""
    connection = sqlite3.connect(folder / "platform.sqlite")
    with connection:
        connection.execute("UPDATE draft SET definition = '{\"steps\": 3}' WHERE flow = 'flow'")
    connection.close()
    what = r"damaged: the draft of 'flow': 1 problem found\n  steps: must be an array"
    with Store.open(folder) as store, pytest.raises(StoreError, match=what):
        store.flows.draft("flow")


def test_a_newer_schema_is_refused_untouched(folder: Path) -> None:
    """Of a later hopbench: named with both numbers."""
    connection = sqlite3.connect(folder / "platform.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match=r"has schema 2; this hopbench knows 1. Use the hopbench"):
        Store.open(folder)
    connection = sqlite3.connect(folder / "platform.sqlite")
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """It gets no tables, and its journal stays what it was."""
    folder = tmp_path / "store"
    folder.mkdir()
    connection = sqlite3.connect(folder / "platform.sqlite")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (folder / "platform.sqlite").read_bytes()
    with pytest.raises(StoreError, match=r"a database of another program. Give the store a folder"):
        Store.open(folder)
    assert (folder / "platform.sqlite").read_bytes() == before


@pytest.mark.parametrize("path", [".", "platform.sqlite", "platform.lock", "revisions"])
def test_a_read_only_store_is_refused(reachable: Path, path: str) -> None:
    """Its folder, its database, its lock or its revisions: the place is named, and what to do."""
    (reachable / "platform.lock").unlink()
    if path == "platform.lock":
        (reachable / path).touch()
    if path == "revisions":
        (reachable / path / ".new-x").mkdir()
    place = reachable / path
    with unprivileged(reachable):
        mode = place.stat().st_mode
        place.chmod(0o555 if place.is_dir() else 0o444)
        try:
            with pytest.raises(StoreError, match=r"(cannot be written|for writing): .*Make the"):
                Store.open(reachable)
        finally:
            place.chmod(mode)
        Store.open(reachable).close()


def test_a_deploy_into_read_only_revisions_is_refused(reachable: Path, make: Make) -> None:
    """It is the store that cannot be written, not the component that is wrong."""
    component = Path(shutil.move(make("three"), reachable.parent / "three"))
    with unprivileged(reachable), Store.open(reachable) as store:
        before = everything(store)
        (reachable / "revisions").chmod(0o555)
        with pytest.raises(StoreError, match="revisions: cannot be written: Permission denied"):
            store.revisions.deploy(component)
        assert everything(store) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="store: cannot be written: "):
        Store.open(tmp_path / "store")


def test_a_full_disk_changes_nothing(store: Store, two_steps: Definition) -> None:
    """SQLite finds no room for a page: named as that, and all is as before."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    before = everything(store)
    with store._database.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match=r"the disk is full; nothing was changed. Make room"):
        store.snapshots.save("flow", "first", {"x": "y" * 100_000})
    assert everything(store) == before


def test_a_commit_that_need_not_be_synced_is_the_only_one(store: Store) -> None:
    """The next one reaches the disk again, also where it failed."""
    database = store.flows._database
    normal, full = 1, 2

    def level(*, is_synced: bool) -> int:
        with database.transaction(is_synced=is_synced) as connection:
            return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    assert [level(is_synced=one) for one in (True, False, True)] == [full, normal, full]
    with pytest.raises(StoreError), database.transaction(is_synced=False) as connection:
        connection.execute("no SQL")
    assert level(is_synced=True) == full
