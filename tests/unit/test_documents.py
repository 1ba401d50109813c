"""What the documents point at and quote exists: links, commands, options, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SESSION = re.compile(r"nox -s ([a-z]+)")


def readme_commands() -> dict[str, set[str]]:
    """The commands in the README's table, each with the options shown for it."""
    commands: dict[str, set[str]] = {}
    current = ""
    for left, right in re.findall(
        r"^\| ?(.*?) ?\| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        if named := re.match(r"`([a-z]+)(?: [A-Z_.]+)?`$", left):
            current = named.group(1)
            commands[current] = set()
        elif left.strip():
            current = ""
        if current:
            commands[current] |= set(re.findall(r"`(--[a-z]+)", right))
    return commands


def bench_help(*command: str) -> str:
    """What ``python -m bench ... --help`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link of a document names a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    relative = [link for link in links if "://" not in link]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sessions_exist(document: Path) -> None:
    """Each nox session that a document names is defined."""
    noxfile = (ROOT / "noxfile.py").read_text()
    defined = set(re.findall(r"@nox\.session.*\ndef ([a-z]+)\(", noxfile))
    assert "bench" in defined
    assert set(SESSION.findall(document.read_text())) <= defined


def test_readme_shows_the_commands_there_are() -> None:
    """The README's table and the program's own help name the same commands."""
    listed = re.findall(r"^ {4}([a-z]+) {2,}", bench_help(), re.MULTILINE)
    assert set(readme_commands()) == set(listed)


@pytest.mark.parametrize("command", ["run", "certify", "report", "gate", "doctor", "images"])
def test_readme_shows_the_options_there_are(command: str) -> None:
    """For each command, the README and the program's own help name the same options."""
    offered = set(re.findall(r"(--[a-z]+)", bench_help(command))) - {"--help"}
    assert readme_commands()[command] == offered


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    """Decision records are numbered 0001, 0002, ... and each is in the list."""
    folder = ROOT / "docs" / "decisions"
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    index = (folder / "README.md").read_text()
    assert [name for name in records if f"]({name})" not in index] == []
