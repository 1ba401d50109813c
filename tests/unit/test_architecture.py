"""The rules about the tree itself: who imports whom, what a module is called and opens with."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("runtime", "scenarios", "bench", "reports")
MODULES = sorted(
    path
    for folder in (*PACKAGES, "tests")
    for path in (ROOT / folder).rglob("*.py")
    if "data" not in path.relative_to(ROOT).parts
)
NAMELESS = re.compile(r"^(utils?|helpers?|common|misc|base|lib|stuff|tools)$")
REPORTS_MAY_IMPORT = {
    "runtime.model", "runtime.spans", "runtime.errors", "scenarios.model", "scenarios.search",
}  # fmt: skip
TOO_HEAVY_FOR_A_WORKER = (
    "asyncio",
    "dataclasses",
    "docker",
    "locust",
    "matplotlib",
    "nats",
    "numpy",
    "pandas",
    "pika",
    "pyarrow",
    "requests",
    "rich",
    "scipy",
)
VIOLATIONS = {
    "layers": ("runtime/planted.py", "import scenarios.model"),
    "reports": ("reports/planted.py", "import runtime.broker"),
    "front-door": ("bench/planted.py", "import reports"),
    "worker": ("runtime/worker/planted.py", "import numpy"),
    "docker": ("bench/planted.py", "from docker.errors import DockerException"),
    "pika": ("bench/planted.py", "import pika"),
    "nats": ("runtime/worker/planted.py", "import nats"),
    "locust": ("bench/load/planted.py", "import locust"),
    "matplotlib": ("reports/planted.py", "import matplotlib.pyplot"),
}


def relative(path: Path) -> str:
    """A path as seen from the repository's root: the id of a parametrised test."""
    return path.relative_to(ROOT).as_posix()


def lint_imports(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    """Run one contract of the import linter on a tree."""
    return subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from importlinter.cli import lint_imports_command as main; main()",
            ),
            *("--contract", contract, "--no-cache"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def imported(module: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the four packages and their contracts, to break rules in."""
    folder = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_contract_has_a_violation_below() -> None:
    """A contract that is added without a proof of its teeth is noticed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {contract["id"] for contract in project["tool"]["importlinter"]["contracts"]}
    assert contracts == set(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_contract_holds_and_has_teeth(copy: Path, contract: str) -> None:
    """Each import contract is kept by the tree, and broken by one planted import."""
    name, statement = VIOLATIONS[contract]
    before = lint_imports(copy, contract)
    planted = copy / name
    planted.write_text(f"{statement}\n")
    try:
        after = lint_imports(copy, contract)
    finally:
        planted.unlink()
    assert before.returncode == 0, before.stdout + before.stderr
    assert after.returncode == 1, after.stdout + after.stderr
    assert "planted" in after.stdout


def test_reports_import_only_the_vocabulary() -> None:
    """Whatever reports take from the other packages is on the short list."""
    taken = {
        name
        for path in (ROOT / "reports").rglob("*.py")
        for name in imported(ast.parse(path.read_text()))
        if name.partition(".")[0] in {"runtime", "scenarios", "bench"}
    }
    assert taken <= REPORTS_MAY_IMPORT


def test_worker_loads_the_least_possible() -> None:
    """What a worker imports before it knows its broker loads nothing heavy, orjson's own aside."""
    names = [
        "runtime.worker" if path.stem == "__init__" else f"runtime.worker.{path.stem}"
        for path in sorted((ROOT / "runtime" / "worker").glob("*.py"))
    ]
    assert len(names) > 1
    code = (
        "import importlib, sys, orjson\n"
        "brought = set(sys.modules)\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"heavy = set({TOO_HEAVY_FOR_A_WORKER!r}) & (set(sys.modules) - brought)\n"
        "print(*sorted(heavy))\n"
    )
    # -I and -S would hide the checkout; -E keeps the caller's PYTHON* variables out.
    done = subprocess.run(
        [sys.executable, "-E", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def canonical(name: str) -> str:
    """A distribution's name, as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    """The distributions that pyproject.toml asks for, at run time and in its groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"].values()
    lines = [*project["project"]["dependencies"], *(line for group in groups for line in group)]
    return {canonical(re.split(r"[<>=!~;\[ ]", line)[0]) for line in lines if isinstance(line, str)}


def test_what_is_imported_is_declared() -> None:
    """No module leans on a library that happens to come along with another one."""
    sources = [path for path in MODULES if "components" not in path.parts]
    names = {
        name.partition(".")[0] for path in sources for name in imported(ast.parse(path.read_text()))
    }
    third_party = names - sys.stdlib_module_names - {*PACKAGES, "tests"}
    distributions = importlib.metadata.packages_distributions()
    missing = {
        name
        for name in third_party
        if not {canonical(one) for one in distributions.get(name, [])} & declared()
    }
    assert len(third_party) > 10
    assert missing == set()


def test_what_is_declared_is_pinned() -> None:
    """constraints.txt has one exact version of all that pyproject.toml asks for."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin)] == []
    names = [canonical(pin.partition("==")[0]) for pin in pins]
    assert len(set(names)) == len(names)
    assert declared() - set(names) == set()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_says_what_it_is_for(path: Path) -> None:
    """Every module opens with a docstring and has a name of its own."""
    if path.stat().st_size:
        assert ast.get_docstring(ast.parse(path.read_text())), "no docstring"
    assert not NAMELESS.match(path.stem)


def test_readme_gives_two_commands_and_ci_runs_the_second() -> None:
    """The test command of the README is one line, and .ci/run takes it from there."""
    shown = subprocess.run(
        [ROOT / ".ci" / "run", "--show-test-command"], capture_output=True, text=True, check=True
    ).stdout.strip()
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"```sh\n(python3 -m venv .*)\n```", readme)
    assert len(commands) == 2
    assert commands[1] == shown
    assert shlex.split(commands[0])[-2:] == ["-s", "bench"]
    assert shlex.split(commands[1])[-2:] == ["-s", "tests"]


def test_no_file_knows_this_machine() -> None:
    """Nothing that is kept names a home folder or this checkout's own path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    personal = re.compile(rb"/(home|Users|root)/[a-z]|" + re.escape(str(ROOT).encode()) + rb"\b")
    found = [
        f"{name}: {match.group().decode()}"
        for name in listed.stdout.split("\0")
        if name and (ROOT / name).is_file()
        for match in [personal.search((ROOT / name).read_bytes())]
        if match
    ]
    assert found == []
