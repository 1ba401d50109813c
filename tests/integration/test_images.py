"""Images as the engine builds them: named by content, built once, with bytecode that is used."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import ImageError
from runtime.images import build as images
from runtime.images.recipe import Recipe, write_context
from runtime.launch import engine
from runtime.launch.engine import Client
from runtime.model import Component, Function, Revision

pytestmark = pytest.mark.docker

IMPORTS = (
    "import runtime.worker.handler, pika, json, sys; sys.path.insert(0, '/opt/hopbench/component');"
    "import main"
)


@pytest.fixture
def client() -> Iterator[Client]:
    """A connection to the engine; images that the test has built from components go afterwards."""
    client = engine.connect()
    before = tags(client)
    yield client
    for tag in tags(client) - before:
        if tag.startswith("hopbench/component:"):
            client.remove_image(tag, force=True)
    client.close()


def tags(client: Client) -> set[str]:
    """The names of all images of ours."""
    return {
        tag
        for image in client.images(filters={"label": "hopbench.image"})
        for tag in image["RepoTags"] or ()
    }


def revision(root: Path) -> Revision:
    """A component folder as a revision."""
    functions = {"run": Function("run", "action", "main.py")}
    return Revision(Component("tried", root, "Tried", functions), "unused")


def run(client: Client, image: str, *argv: str) -> str:
    """What a container of an image writes."""
    alone = client.create_host_config(network_mode="none")
    container = client.create_container(image, list(argv), host_config=alone)["Id"]
    try:
        client.start(container)
        client.wait(container)
        return client.logs(container).decode()
    finally:
        client.remove_container(container, force=True)


def test_images_are_built_once(client: Client, tmp_path: Path) -> None:
    """An image that is there is not built again; a changed component gets another image."""
    (tmp_path / "main.py").write_text(f"X = {os.getpid()}\n")
    told: list[str] = []
    first = images.Images(client, told.append).component(revision(tmp_path))
    assert f"building {first.reference}" in told
    told.clear()
    assert images.Images(client, told.append).component(revision(tmp_path)) == first
    assert told == []
    (tmp_path / "main.py").write_text(f"X = {os.getpid()} + 1\n")
    second = images.Images(client, told.append).component(revision(tmp_path))
    assert second.reference != first.reference
    assert told == [f"building {second.reference}"]


def test_bytecode_is_used(client: Client, tmp_path: Path) -> None:
    """Interpreter, packages, worker and component are all imported from bytecode in the image."""
    (tmp_path / "main.py").write_text(f"X = {os.getpid()}\n")
    image = images.Images(client).component(revision(tmp_path))
    said = run(client, image.reference, "python3", "-v", "-c", IMPORTS)
    loaded = [line for line in said.splitlines() if line.startswith("# code object from")]
    assert any("/opt/hopbench/component/__pycache__/main." in line for line in loaded)
    assert any("/opt/hopbench/app/runtime/worker/__pycache__/handler." in line for line in loaded)
    assert any("/opt/hopbench/site/pika/__pycache__/" in line for line in loaded)
    assert any("json/__pycache__/decoder." in line for line in loaded)
    compiled = [line for line in loaded if ".pyc" not in line]
    assert compiled == []


def test_image_runs_as_nobody(client: Client) -> None:
    """An image started by hand is not root's either."""
    image = images.Images(client).worker()
    assert run(client, image.reference, "id", "-u").strip() == "65534"


def test_syntax_error_in_a_component_is_named(client: Client, tmp_path: Path) -> None:
    """A component that cannot be compiled is an error with its file and line."""
    (tmp_path / "main.py").write_text("def process(:\n")
    with pytest.raises(ImageError, match=r"main\.py.*line 1"):
        images.Images(client).component(revision(tmp_path))


def test_empty_component_is_an_error(client: Client, tmp_path: Path) -> None:
    """A folder without files is an error that names it."""
    with pytest.raises(ImageError, match="empty") as caught:
        images.Images(client).component(revision(tmp_path))
    assert caught.value.where == str(tmp_path)


def test_broken_dockerfile_shows_the_last_lines(client: Client) -> None:
    """A build that fails is an error with what the build said last; nothing is left of it."""
    base = images.Images(client).worker().reference
    made = Recipe("broken", f"FROM {base}\nRUN echo last words; exit 3\n", base)
    context = io.BytesIO()
    write_context(made, None, context)
    context.seek(0)
    before = {each["Id"] for each in client.containers(all=True)}
    with pytest.raises(ImageError, match="last words") as caught:
        images.build(client, made, context)
    assert "returned a non-zero code: 3" in caught.value.what
    assert caught.value.where == made.tag
    after = client.containers(all=True)
    assert [
        each["Image"] for each in after if each["Id"] not in before and each["Image"] == base
    ] == []


def test_missing_base_names_the_setting(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the base that was asked for, the error says which setting chooses another."""
    monkeypatch.setenv(images.SETTING, "local")
    monkeypatch.setattr(images, "LOCAL_BASE", "hopbench/base:never-made")
    with pytest.raises(ImageError, match=images.SETTING) as caught:
        images.Images(client).worker()
    assert caught.value.where == "hopbench/base:never-made"


def test_base_that_cannot_be_pulled(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that no registry has is an error with the reference and the remedy."""
    monkeypatch.setenv(images.SETTING, "localhost:1/no-such-image:1")
    told: list[str] = []
    with pytest.raises(ImageError, match=images.SETTING) as caught:
        images.Images(client, told.append).worker()
    assert caught.value.where == "localhost:1/no-such-image:1"
    assert told == ["pulling localhost:1/no-such-image:1"]


def test_base_without_python_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that lacks the interpreter is an error that names the base."""
    made = Recipe("empty", "FROM scratch\nCOPY Dockerfile /\nCMD ['none']\n", "")
    context = io.BytesIO()
    write_context(made, None, context)
    context.seek(0)
    images.build(client, made, context)
    monkeypatch.setenv(images.SETTING, made.tag)
    try:
        with pytest.raises(ImageError, match="python3") as caught:
            images.Images(client).worker()
        assert caught.value.where == made.tag
    finally:
        client.remove_image(made.tag, force=True)
