"""The component repository: revisions are numbered, whole, and what they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.components import load_component, revision
from runtime.errors import ComponentError, InputError, StoreError
from runtime.flows import Definition
from runtime.model import Step
from runtime.store import Store, content
from runtime.store.revisions import RevisionEntry

Make = Callable[..., Path]


def kept(store: Store) -> list[str]:
    """The folders of contents in a store, half made ones too."""
    return sorted(path.name for path in (store.folder / "revisions").iterdir())


def test_a_revision_is_the_folder_as_it_was(store: Store, make: Make) -> None:
    """Number, digest and content of what was deployed; later changes do not reach it."""
    folder = make("one", "1")
    digest = revision(load_component(folder)).digest
    entry = store.revisions.deploy(folder)
    assert entry == RevisionEntry("one", 1, digest, "2026-11-24T12:00:01.000000+00:00", is_new=True)
    make("one", "2")
    found = store.revisions.get("one")
    assert (found.digest, found.component.name) == (digest, "one")
    assert found.component.root == store.folder / "revisions" / digest
    assert (found.component.root / "main.py").read_text() == "VALUE = 1\n"
    assert set(found.component.functions) == {"go", "do"}


def test_new_content_is_a_new_revision_and_the_same_is_not(store: Store, make: Make) -> None:
    """Numbers grow with each change, back to an older content too; no change is said to be none."""
    entries = [store.revisions.deploy(make("one", code)) for code in ("1", "1", "2", "1")]
    assert [(entry.number, entry.is_new) for entry in entries] == [
        (1, True),
        (1, False),
        (2, True),
        (3, True),
    ]
    assert store.revisions.entries("one") == tuple(
        replace(entry, is_new=False) for entry in entries if entry.is_new
    )
    assert len(kept(store)) == 2
    assert (store.revisions.get("one", 2).component.root / "main.py").read_text() == "VALUE = 2\n"


def test_content_that_no_row_names_yet_is_brought_to_the_disk(
    store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy was killed between files and row: its files may be nowhere but in memory."""
    folder = make("one", "1")
    digest = revision(load_component(folder)).digest
    flushed: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)

    def killed(*_: object) -> RevisionEntry:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(store.revisions), "_enter", killed)
        with pytest.raises(KeyboardInterrupt):
            store.revisions.deploy(folder)
    whole = {store.folder / "revisions" / digest / name for name in ("", "component.json")}
    whole |= {store.folder / "revisions", store.folder / "revisions" / digest / "main.py"}
    assert set(flushed) == whole
    for is_new in (True, False):
        flushed.clear()
        assert store.revisions.deploy(folder).is_new is is_new
        assert set(flushed) == (whole if is_new else set())
    assert kept(store) == [digest]


def test_two_components_may_have_one_content(store: Store, make: Make, tmp_path: Path) -> None:
    """They share the stored folder, and each has its own name."""
    first = make("one")
    second = tmp_path / "elsewhere" / "two"
    second.parent.mkdir()
    first.rename(second)
    store.revisions.deploy(second)
    second.rename(first)
    store.revisions.deploy(first)
    assert store.revisions.components() == ("one", "two")
    assert [store.revisions.get(name).component.name for name in ("one", "two")] == ["one", "two"]
    assert len(kept(store)) == 1


def test_stored_files_are_read_only_and_leftovers_are_not_stored(store: Store, make: Make) -> None:
    """Compiled files stay behind; a program stays executable."""
    folder = make("one", tool="#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"x")
    (folder / "old.pyc").write_bytes(b"x")
    (folder / "data").mkdir()
    (folder / "data" / "rows.csv").write_text("1\n")
    (folder / "data" / ".pyc").write_text("a name, and no suffix")
    store.revisions.deploy(folder)
    root = store.revisions.get("one").component.root
    modes = {
        path.relative_to(root).as_posix(): path.stat().st_mode & 0o777
        for path in root.rglob("*")
        if path.is_file()
    }
    assert modes == {
        "component.json": 0o444,
        "data/rows.csv": 0o444,
        "data/.pyc": 0o444,
        "main.py": 0o444,
        "tool": 0o555,
    }


def test_a_link_within_the_folder_is_kept_as_a_file(store: Store, make: Make) -> None:
    """It is stored as what it leads to, so that the copy needs no link."""
    folder = make("one")
    (folder / "alias.py").symlink_to("main.py")
    store.revisions.deploy(folder)
    copy = store.revisions.get("one").component.root / "alias.py"
    assert not copy.is_symlink()
    assert copy.read_text() == "VALUE = 1\n"


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ("../../secret", "leads out of the component folder"),
        ("/etc/hostname", "leads out of the component folder"),
        ("data", "is a link to a folder"),
        ("nothing", "is a link to nothing that can be kept"),
        ("link", "is a link to nothing that can be kept"),
    ],
)
def test_a_link_that_cannot_be_kept_is_refused(
    store: Store, make: Make, tmp_path: Path, link: str, what: str
) -> None:
    """Out of the folder, to a folder, to nothing, to itself: refused by name, nothing stored."""
    (tmp_path / "secret").write_text("s")
    folder = make("one")
    (folder / "data").mkdir()
    (folder / "link").symlink_to(link)
    with pytest.raises(ComponentError, match=f"components/one/link: {what}; it cannot be part"):
        store.revisions.deploy(folder)
    assert kept(store) == []
    assert store.revisions.components() == ()


def test_what_is_neither_file_nor_folder_is_refused(store: Store, make: Make) -> None:
    """A named pipe would hang whoever reads it."""
    folder = make("one")
    os.mkfifo(folder / "pipe")
    with pytest.raises(ComponentError, match="one/pipe: is neither file nor folder"):
        store.revisions.deploy(folder)


def test_a_name_that_is_not_utf8_is_refused(store: Store, make: Make) -> None:
    """The digest covers names, and needs them as text."""
    folder = make("one")
    (folder / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(ComponentError, match="has a name that is not UTF-8"):
        store.revisions.deploy(folder)


def test_a_folder_that_is_too_large_is_refused(
    store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte over the limit, by the sizes of its files; at the limit it is kept."""
    folder = make("one")
    size = sum(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(content, "MOST_BYTES", size)
    store.revisions.deploy(folder)
    (folder / "more").write_text("x")
    with pytest.raises(ComponentError, match=r"components/one: more than 0 MiB\. Leave out"):
        store.revisions.deploy(folder)
    assert len(store.revisions.entries("one")) == 1


def test_the_limit_is_64_mib(store: Store, make: Make) -> None:
    """A sparse file of 64 MiB, with the rest of the component, is too much."""
    with (make("one") / "blob").open("wb") as file:
        file.truncate(64 * 1024**2)
    with pytest.raises(ComponentError, match="more than 64 MiB"):
        store.revisions.deploy(make("one"))


@pytest.mark.parametrize("name", ["One", "a_b", "a" * 41, "-a"])
def test_a_name_that_cannot_be_an_image_is_refused(store: Store, make: Make, name: str) -> None:
    """The folder's name becomes part of other names."""
    with pytest.raises(ComponentError, match="is no name for a component"):
        store.revisions.deploy(make(name))


def test_a_folder_that_is_no_component_is_refused(store: Store, make: Make) -> None:
    """The loader's own error, about the folder that was given, and nothing stored."""
    folder = make("one")
    (folder / "main.py").unlink()
    with pytest.raises(ComponentError, match=r"components/one/component\.json: triggers\.go\.main"):
        store.revisions.deploy(folder)
    assert kept(store) == []


def test_the_current_folder_has_a_name(
    store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy of "." is called as the folder is."""
    monkeypatch.chdir(make("one"))
    assert store.revisions.deploy(Path()).component == "one"


@pytest.mark.parametrize("damage", ["change", "remove", "add", "empty"])
def test_tampered_content_is_named_and_a_deploy_mends_it(
    store: Store, make: Make, damage: str
) -> None:
    """A copy that is not what it was is not started; the same folder again puts it right."""
    entry = store.revisions.deploy(make("one"))
    root = store.folder / "revisions" / entry.digest
    (root / "main.py").chmod(0o644)
    if damage == "change":
        (root / "main.py").write_text("VALUE = 0\n")
    elif damage == "remove":
        (root / "main.py").unlink()
    elif damage == "add":
        (root / "more.py").write_text("")
    else:
        root.rename(root.with_name("gone"))
    with pytest.raises(StoreError, match=f"{entry.digest}: the content of a revision of compo"):
        store.revisions.get("one")
    assert not store.revisions.deploy(make("one")).is_new
    assert store.revisions.get("one").digest == entry.digest


def test_unknown_components_and_revisions_are_named(store: Store, make: Make) -> None:
    """With what there is instead, and what is close."""
    with pytest.raises(InputError, match="there is no component 'one'; there are none"):
        store.revisions.get("one")
    store.revisions.deploy(make("one"))
    with pytest.raises(InputError, match="no component 'ones'; did you mean 'one'"):
        store.revisions.entries("ones")
    with pytest.raises(InputError, match=r"'one' has no revision 2\. It has 1 to 1"):
        store.revisions.get("one", 2)
    with pytest.raises(InputError, match="there is no component"):
        store.revisions.get("\ud800")


def test_steps_are_started_from_pins_or_from_the_newest(store: Store, make: Make) -> None:
    """A pinned step keeps its revision after a deploy; one that follows the newest does not."""
    store.revisions.deploy(make("one", "1"))
    steps = (Step("a", "one", "go"), Step("b", "one", "do", follow_newest=True))
    store.flows.save_draft("flow", Definition(steps))
    version = store.flows.publish("flow")
    store.revisions.deploy(make("one", "2"))
    code = {
        step: (revision.component.root / "main.py").read_text()
        for step, revision in store.revisions.of(version).items()
    }
    assert code == {"a": "VALUE = 1\n", "b": "VALUE = 2\n"}


def test_the_library_is_the_newest_of_each(store: Store, make: Make) -> None:
    """What a definition is checked against; others are not in it."""
    store.revisions.deploy(make("one"))
    library = store.revisions.library()
    assert (list(library), len(library), "two" in library) == (["one"], 1, False)
    assert set(library["one"].functions) == {"go", "do"}
    with pytest.raises(KeyError):
        library["two"]


def test_deploys_from_many_threads(store: Store, make: Make) -> None:
    """Each thread's component gets its revision, and what they share gets one."""
    folders = [make(f"c{index}", str(index % 2)) for index in range(8)]
    shared = make("shared")
    numbers: list[int] = []

    def deploy(folder: Path) -> None:
        store.revisions.deploy(folder)
        numbers.append(store.revisions.deploy(shared).number)

    threads = [threading.Thread(target=deploy, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 8
    assert len(store.revisions.components()) == 9
