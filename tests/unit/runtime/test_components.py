"""Component folders: what the loader accepts, what it says about the rest, and their revisions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.components import load_component, revision
from runtime.errors import ComponentError
from runtime.model import Component, Function

MANIFEST = {"title": "T", "language": "python", "actions": {"map": {"main": "map.py"}}}


def folder(root: Path, manifest: object, files: tuple[str, ...] = ("map.py",)) -> Path:
    """A component folder with this manifest (text as it is, else as JSON) and empty files."""
    root.mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).write_text("")
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (root / "component.json").write_text(text)
    return root


def test_a_component_is_read(tmp_path: Path) -> None:
    """Name, title, triggers, actions and service of a manifest arrive, each with its kind."""
    manifest = {
        "title": "All kinds",
        "language": "python",
        "credentials": {"fields": {}},
        "triggers": {"tick": {"main": "tick.py", "title": "Tick"}},
        "actions": {"map": {"main": "map.py", "title": "Map"}},
        "service": {"main": "server.py"},
    }
    root = folder(tmp_path / "all-kinds", manifest, ("tick.py", "map.py", "server.py"))
    assert load_component(root) == Component(
        name="all-kinds",
        root=root,
        title="All kinds",
        functions={
            "tick": Function("tick", "trigger", "tick.py"),
            "map": Function("map", "action", "map.py"),
            "service": Function("service", "service", "server.py"),
        },
    )


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("{", "component.json:1: not JSON"),
        ('{"title": "x",\n "actions": }', "component.json:2: not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ({}, "component.json: no functions"),
        ({"actions": {}}, "component.json: no functions"),
        ({**MANIFEST, "title": 3}, "title must be a string"),
        ({**MANIFEST, "language": "cobol"}, "language is 'cobol'"),
        ({"actions": []}, "actions must be an object"),
        ({"action": {}}, 'action is not a key of a manifest. Write "actions"'),
        ({**MANIFEST, "tiggers": {}}, 'tiggers is not a key of a manifest. Write "triggers"'),
        ({**MANIFEST, "langauge": "nodejs"}, 'is not a key of a manifest. Write "language"'),
        ({"Service": {"main": "map.py"}}, 'is not a key of a manifest. Write "service"'),
        ({"service": "map.py"}, "component.json: no functions"),
        ({"actions": {"map": {}}}, "actions.map.main is missing"),
        ({"actions": {"map": "map.py"}}, "actions.map.main is missing"),
        ({"actions": {"map": {"main": 1}}}, "actions.map.main is missing"),
        ({"actions": {"map": {"main": "mpa.py"}}}, "actions.map.main names 'mpa.py', which does"),
        ({"actions": {"map": {"main": "../map.py"}}}, "actions.map.main leaves the component"),
        ({"actions": {"map": {"main": "/etc/passwd"}}}, "actions.map.main leaves the component"),
        ({"service": {"main": "gone.py"}}, "service.main names 'gone.py', which does not exist"),
        ({**MANIFEST, "triggers": {"map": {"main": "map.py"}}}, "map names two functions"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, manifest: object, said: str) -> None:
    """Each mistake is told with file, key and remedy."""
    root = folder(tmp_path / "wrong", manifest)
    with pytest.raises(ComponentError) as caught:
        load_component(root)
    assert said in str(caught.value)
    assert str(root / "component.json") in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("source", ["def process(:\n", "x = 1\n  y = 2\n", "\0"])
def test_a_file_that_is_no_python_is_named(tmp_path: Path, source: str) -> None:
    """A mistake in the code is found when the component is read, before anything is started."""
    root = folder(tmp_path / "broken", MANIFEST)
    (root / "map.py").write_text(source)
    with pytest.raises(ComponentError, match="not Python") as raised:
        load_component(root)
    assert str(root / "map.py") in str(raised.value)


def test_a_manifest_of_the_real_platform_is_read(tmp_path: Path) -> None:
    """What its components have beside their functions is let through, and so is their language."""
    function = {
        "title": "Receive",
        "main": "./lib/receive.js",
        "type": "polling",
        "order": 99,
        "deprecated": False,
        "help": {"description": "Receives", "link": "/receive"},
        "fields": {"since": {"label": "Since", "viewClass": "TextFieldView", "required": False}},
        "metadata": {"in": {}, "out": "./lib/schemas/receive.out.json"},
        "dynamicMetadata": True,
    }
    manifest = {
        "title": "Webhook",
        "description": "Receives",
        "version": "1.2.3",
        "buildType": "docker",
        "docsUrl": "https://example.org/docs",
        "url": "https://example.org",
        "icon": "x",
        "service": "webhook",
        "deprecated": False,
        "consumesRawData": True,
        "authClientTypes": ["oauth2", "noauth"],
        "envVars": {"REGION": {"required": True, "description": "Where"}},
        "credentials": {"fields": {"key": {"label": "Key", "viewClass": "PasswordFieldView"}}},
        "fields": {"code": {"viewClass": "CodeFieldView", "label": "Code"}},
        "triggers": {"receive": function},
        "actions": {},
    }
    root = folder(tmp_path / "webhook", manifest, ())
    (root / "lib").mkdir()
    (root / "lib" / "receive.js").write_text("exports.process = async function (msg) {};")
    assert load_component(root).functions == {
        "receive": Function("receive", "trigger", "./lib/receive.js")
    }


def test_a_file_of_the_wrong_language_is_named(tmp_path: Path) -> None:
    """A manifest that says Python is held to it, whatever its files are called."""
    manifest = {"language": "python", "actions": {"map": {"main": "map.js"}}}
    root = folder(tmp_path / "mixed", manifest, ())
    (root / "map.js").write_text("exports.process = async function (msg) {};")
    with pytest.raises(ComponentError, match="not Python"):
        load_component(root)


def test_a_missing_folder_and_a_missing_manifest_are_told_apart(tmp_path: Path) -> None:
    """The two need different things to be done."""
    with pytest.raises(ComponentError, match="no such component folder"):
        load_component(tmp_path / "gone")
    with pytest.raises(ComponentError, match=r"the folder has no component\.json"):
        load_component(tmp_path)


def test_a_manifest_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """Bytes that are no text give an error of ours."""
    (tmp_path / "component.json").write_bytes(b'{"title": "\xff"}')
    with pytest.raises(ComponentError, match="cannot be read"):
        load_component(tmp_path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["title", "language", "triggers", "actions", "service", "main"])
                | st.text(max_size=4),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_a_component_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, manifest: object
) -> None:
    """No manifest makes the loader raise anything else."""
    root = folder(tmp_path_factory.mktemp("any"), manifest)
    try:
        functions = set(load_component(root).functions)
    except ComponentError:
        functions = {"refused"}
    assert functions


def test_a_revision_is_the_content(tmp_path: Path) -> None:
    """Equal content in two folders has one digest; any change of name or content has another."""
    one = folder(tmp_path / "one", MANIFEST)
    two = folder(tmp_path / "two", MANIFEST)
    before = revision(load_component(one)).digest
    assert revision(load_component(two)).digest == before

    digests = {before}
    (two / "map.py").write_text("x")
    digests.add(revision(load_component(two)).digest)
    (two / "map.py").write_text("")
    (two / "x").write_text("")
    digests.add(revision(load_component(two)).digest)
    (two / "x").rename(two / "y")
    digests.add(revision(load_component(two)).digest)
    assert len(digests) == 4


def test_what_the_interpreter_leaves_behind_is_not_content(tmp_path: Path) -> None:
    """Running a component does not make it a new revision."""
    root = folder(tmp_path / "one", MANIFEST)
    before = revision(load_component(root)).digest
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "map.cpython-311.pyc").write_bytes(b"1")
    (root / "__pycache__" / "note.txt").write_bytes(b"1")
    (root / "map.pyc").write_bytes(b"1")
    assert revision(load_component(root)).digest == before


def test_names_and_contents_do_not_run_into_each_other(tmp_path: Path) -> None:
    """Moving bytes from a file's content into its name changes the digest."""
    one = folder(tmp_path / "one", MANIFEST)
    two = folder(tmp_path / "two", MANIFEST)
    (one / "ab").write_text("c")
    (two / "a").write_text("bc")
    assert revision(load_component(one)).digest != revision(load_component(two)).digest
