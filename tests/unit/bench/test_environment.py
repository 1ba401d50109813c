"""What a run says of the machine that it was made on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench import environment


def test_environment_has_the_documented_members() -> None:
    """Every member that docs/formats.md lists is there and can be stored."""
    described = environment.describe(engine="1.2", broker_version=None)
    assert set(described) == {
        "cpu", "cores", "memory_bytes", "kernel", "os", "python", "engine", "broker_version",
        "cgroup", "hopbench", "commit", "packages",
    }  # fmt: skip
    assert described["engine"] == "1.2"
    assert described["broker_version"] is None
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 0
    assert described["cpu"]
    assert described["packages"]["pika"]
    assert json.loads(json.dumps(described)) == described


def test_cpu_model_is_the_processors_own_name(tmp_path: Path) -> None:
    """The model name is taken from the first processor, colons in it included."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast: 9000 @ 3GHz\nmodel name\t: other\n")
    assert environment.cpu_model(cpuinfo) == "Fast: 9000 @ 3GHz"
    assert environment.cpu_model(tmp_path / "absent")


def test_packages_that_are_not_installed_are_null() -> None:
    """A missing package is recorded as missing."""
    versions = environment.package_versions(("numpy", "no-such-package-here"))
    assert versions["numpy"]
    assert versions["no-such-package-here"] is None


def test_commit_says_when_files_differ_from_it(tmp_path: Path) -> None:
    """None outside a checkout; the commit's hash in one; marked when files were changed."""
    assert environment.commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert environment.commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert environment.commit(tmp_path) == f"{head}+changes"
