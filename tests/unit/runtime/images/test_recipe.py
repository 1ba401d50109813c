"""An image's name follows from its content, and its build context too."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import ImageError
from runtime.images import packages, recipe
from runtime.images.recipe import Recipe

MADE = Recipe("worker", "FROM x\n", "sha256:1", {"app/a.py": b"1", "app/b.py": b"2"}, "site-1")


def test_name_is_stable() -> None:
    """Equal content gives the equal name, in whatever order the files come."""
    turned = replace(MADE, files=dict(sorted(MADE.files.items(), reverse=True)))
    assert turned.tag == MADE.tag
    assert MADE.tag.startswith("hopbench/worker:")


@pytest.mark.parametrize(
    "changed",
    [
        replace(MADE, dockerfile="FROM x\nUSER 1\n"),
        replace(MADE, base="sha256:2"),
        replace(MADE, files={"app/a.py": b"1", "app/b.py": b"3"}),
        replace(MADE, files={"app/a.py": b"1", "app/c.py": b"2"}),
        replace(MADE, files={"app/a.py": b"12", "app/b.py": b""}),
        replace(MADE, site_key="site-2"),
    ],
)
def test_name_changes_with_the_content(changed: Recipe) -> None:
    """Whatever goes into the image changes its name."""
    assert changed.tag != MADE.tag


def test_context_is_reproducible(tmp_path: Path) -> None:
    """Two contexts of one recipe are equal byte for byte, and hold all files with plain rights."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "x.py").write_text("x")
    first, second = io.BytesIO(), io.BytesIO()
    recipe.write_context(MADE, tmp_path, first)
    (tmp_path / "package" / "x.py").touch()
    recipe.write_context(MADE, tmp_path, second)
    assert first.getvalue() == second.getvalue()
    first.seek(0)
    with tarfile.open(fileobj=first) as archive:
        members = {member.name: member.mode for member in archive}
    expected = ["Dockerfile", "app/a.py", "app/b.py", "site/package/x.py"]
    assert members == dict.fromkeys(expected, 0o644)


def test_caches_and_dot_files_stay_out(tmp_path: Path) -> None:
    """Bytecode caches and dot files do not change a component's image."""
    (tmp_path / "main.py").write_text("1")
    before = recipe.folder_files(tmp_path, "component")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"2")
    (tmp_path / ".main.py.swp").write_text("3")
    assert recipe.folder_files(tmp_path, "component") == before == {"component/main.py": b"1"}


def test_worker_gets_only_what_it_needs() -> None:
    """No launcher, no mode and no program that starts servers goes into a worker's image."""
    files = set(recipe.runtime_files())
    assert {"app/runtime/worker/__main__.py", "app/runtime/broker/rabbitmq.py"} <= files
    assert not [path for path in files if "/launch/" in path or "/modes/" in path]
    assert "app/runtime/broker/node.py" not in files
    assert "app/bench/load/locustfile.py" in recipe.load_files()
    assert {"bare/hop.py", "bare/connect.py"} <= set(recipe.bare_files())


def test_packages_are_those_that_are_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins decide the packages' key; a package without a pin is an error that names it."""
    target = packages.Target("3.11", "amd64")
    constraints = tmp_path / "constraints.txt"
    monkeypatch.setattr(packages, "CONSTRAINTS", constraints)
    with pytest.raises(ImageError, match="cannot be read"):
        packages.packages(("pika",), target)
    constraints.write_text("pika==1.0\n")
    one = packages.packages(("pika",), target)
    assert one.key == packages.packages(("pika",), target).key
    assert one.key != packages.packages(("pika",), packages.Target("3.12", "amd64")).key
    with pytest.raises(ImageError, match="nats-py"):
        packages.packages(("nats-py", "pika"), target)
    constraints.write_text("pika==1.1\n")
    assert packages.packages(("pika",), target).key != one.key
