"""Bad input to the platform's commands, as its user sees it: clear errors, nothing half done."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.test_platform_session import ROOT, environment, served

SERVE = "python -m bench flow serve --launcher process --broker nats"
DRAFT = {
    "steps": [{"id": "webhook", "component": "webhook", "function": "receive"}],
    "trigger": {"kind": "webhook"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store of a platform that runs, with a component."""
    folder = tmp_path_factory.mktemp("platform")
    with served(SERVE, folder / "store", folder / "log"):
        done = flow(folder / "store", "deploy", "scenarios/components/webhook")
        assert done.returncode == 0, done.stderr
        yield folder / "store"


def flow(store: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the platform's."""
    return subprocess.run(
        [sys.executable, "-m", "bench", "flow", *arguments],
        cwd=ROOT,
        env=environment(store),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(store: Path, *arguments: str, given: str = "") -> str:
    """What a command says that must fail with exit code 2, in our words, and print no result."""
    done = flow(store, *arguments, given=given)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("hopbench: "), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def flows(store: Path) -> list[str]:
    """The names of the flows there are."""
    listed = json.loads(flow(store, "status", "--json").stdout)
    return [one["name"] for one in listed]


def components(store: Path) -> list[str]:
    """The names of the components there are."""
    place = json.loads((store / "platform.json").read_text())
    auth = (place["user"], place["password"])
    answer = requests.get(f"{place['url']}/v1/components", auth=auth, timeout=60).json()
    return [one["component"] for one in answer]


def draft_file(folder: Path, document: object) -> str:
    """A definition in a file."""
    path = folder / "draft.json"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize(
    ("manifest", "what"),
    [
        (None, "component.json"),
        ("{", "not JSON"),
        ('{"triggers": {"tick": {"main": "nowhere.py"}}}', "nowhere.py"),
        ('{"triggers": {"tick": {"main": "main.py"}}}', "not Python"),
    ],
)
def test_a_component_that_is_none(
    store: Path, tmp_path: Path, manifest: str | None, what: str
) -> None:
    """The manifest is missing, no JSON, names a file that is not there, or one that is no code."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "main.py").write_text("def process(:\n")
    if manifest is not None:
        (folder / "component.json").write_text(manifest)
    said = refused(store, "deploy", str(folder))
    assert what in said
    assert str(folder) in said
    assert components(store) == ["webhook"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"steps": []}, "steps"),
        ({"steps": [DRAFT["steps"][0], DRAFT["steps"][0]]}, "webhook"),  # type: ignore[index]
        ({"trigger": {"kind": "cron", "schedule": "99 * * * *"}}, "no cron line"),
        ({"trigger": {"kind": "nothing"}}, "trigger.kind"),
        (
            {
                "steps": [
                    {**DRAFT["steps"][0], "after": "other"},  # type: ignore[index]
                    {"id": "other", "component": "webhook", "function": "receive"}
                    | {"after": "webhook"},
                ]
            },
            "cycle",
        ),
    ],
)
def test_a_definition_with_a_mistake(
    store: Path, tmp_path: Path, change: dict[str, object], what: str
) -> None:
    """It is named with its key, and no flow is made of it."""
    said = refused(store, "draft", "wrong", draft_file(tmp_path, {**DRAFT, **change}))
    assert what in said
    assert "wrong" not in flows(store)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("draft.toml", "steps = [", "not TOML"),
        ("draft.json", "{", "not JSON"),
        ("draft.toml", "at = 2026-11-24", "JSON has no word"),
        ("draft.toml", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used(
    store: Path, tmp_path: Path, name: str, content: str | None, what: str
) -> None:
    """Neither TOML nor JSON, or no file at all: said with its path, before anything is called."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    said = refused(store, "draft", "wrong", str(path))
    assert what in said
    assert str(path) in said


def test_what_is_illegal_says_what_to_do(store: Path, tmp_path: Path) -> None:
    """An operation that the state does not allow names the state, and the way out."""
    assert flow(store, "draft", "states", draft_file(tmp_path, DRAFT)).returncode == 0
    assert "Publish its draft first" in refused(store, "start", "states")
    assert "nothing to stop" in refused(store, "stop", "states")
    assert "Publish its draft first" in refused(store, "switch", "states", "realtime")
    assert "stopped" in refused(store, "resume", "states")
    assert "stopped" in refused(store, "call", "states", "{}")
    assert "no version 3" in refused(store, "revert", "states", "3")
    assert "Start it first" in refused(store, "retry", "states", "7")
    assert "states" in refused(store, "status", "stats")


def test_a_body_that_is_no_json(store: Path) -> None:
    """The command says so before it calls; the webhook says so to who calls it directly."""
    assert "not JSON" in refused(store, "call", "states", "{name: Ada}")
    assert "not JSON" in refused(store, "call", "states", "-", given="{")


def test_a_body_that_is_too_large(store: Path, tmp_path: Path) -> None:
    """20 MiB are refused, over HTTP and by the command; the flow has no message of it."""
    assert flow(store, "draft", "large", draft_file(tmp_path, DRAFT)).returncode == 0
    assert flow(store, "publish", "large").returncode == 0
    assert flow(store, "start", "large").returncode == 0
    body = json.dumps("a" * (20 * 1024 * 1024))
    place = json.loads((store / "platform.json").read_text())
    auth = (place["user"], place["password"])
    url = f"{place['url']}/hook/large"
    assert requests.post(url, data=body, auth=auth, timeout=60).status_code == 413
    assert "10 MiB" in refused(store, "call", "large", "-", given=body)
    queues = json.loads(flow(store, "queues", "large", "--json").stdout)
    assert [queue["ready"] for queue in queues] == [0]
    assert flow(store, "stop", "large").returncode == 0


def test_credentials_are_for_their_owner_alone(store: Path) -> None:
    """Nobody else can read them, and without them nothing can be done."""
    path = store / "platform.json"
    assert path.stat().st_mode & 0o777 == 0o600
    url = json.loads(path.read_text())["url"]
    assert requests.get(f"{url}/v1/flows", timeout=60).status_code == 401
    assert requests.get(f"{url}/healthz", timeout=60).status_code == 200


def test_nobody_serves(tmp_path: Path) -> None:
    """Without a platform, every command says how to start one."""
    said = refused(tmp_path, "status")
    assert f"flow serve --store {tmp_path}" in said


def test_one_that_was_killed(tmp_path: Path) -> None:
    """What a killed platform left is not taken for one that answers."""
    place = {"url": "http://127.0.0.1:9", "user": "operator", "password": "x", "pid": 1}
    (tmp_path / "platform.json").write_text(json.dumps(place))
    assert "flow serve" in refused(tmp_path, "status")
    (tmp_path / "platform.json").write_text("{")
    assert "cannot be read" in refused(tmp_path, "status")


def test_a_second_platform_on_the_store(store: Path) -> None:
    """A store has one platform; the second one leaves the first one's credentials alone."""
    before = (store / "platform.json").read_text()
    said = refused(store, *SERVE.split()[4:])
    assert str(store) in said
    assert (store / "platform.json").read_text() == before
    assert flow(store, "status").returncode == 0


@pytest.mark.parametrize("harm", ["damaged", "newer", "unwritable"])
def test_a_store_that_cannot_be_used(tmp_path: Path, harm: str) -> None:
    """A damaged or newer database, or a folder that takes no files: nothing is started."""
    if harm == "damaged":
        (tmp_path / "platform.sqlite").write_bytes(b"no database" * 1000)
    elif harm == "newer":
        with sqlite3.connect(tmp_path / "platform.sqlite") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        (tmp_path / "revisions").write_text("where a folder is to be")
    said = refused(tmp_path, *SERVE.split()[4:])
    assert str(tmp_path) in said
    assert not (tmp_path / "platform.json").exists()


@pytest.mark.parametrize("option", [["--port", "99999"], ["--launcher", "magic"]])
def test_options_that_are_wrong(tmp_path: Path, option: list[str]) -> None:
    """A wrong option ends `serve` with 2 before there is a store."""
    done = flow(tmp_path / "new", "serve", *option)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new" / "platform.json").exists()
