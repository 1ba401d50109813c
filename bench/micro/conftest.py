"""What the benchmarks share: the stage with launcher, broker and bare pair, and the summary."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.choice import choose
from bench.environment import ROOT
from bench.stage import Stage, open_stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Launcher, broker and bare pair, as a run takes them on this machine."""
    with open_stage(
        run_id=f"micro-{secrets.token_hex(3)}",
        choice=choose(),
        folder=tmp_path_factory.mktemp("stage"),
        components_root=ROOT / "scenarios" / "components",
    ) as opened:
        yield opened


@pytest.fixture
def container_stage(stage: Stage) -> Stage:
    """The stage, where its instances are containers; skips elsewhere, fails in CI."""
    if not stage.launcher.isolates:
        reason = f"needs containers: {choose().launcher_reason}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that containers can be given a part of."""
    tmp_path.chmod(0o755)
    return tmp_path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show each comparison with its floor."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    compared: list[tuple[str, dict[str, Any]]] = []
    for bench in session.benchmarks if session else ():
        parts = bench.extra_info.get("parts", {})
        compared += [(f"{bench.name}[{part}]", info) for part, info in parts.items()]
        if "ratio" in bench.extra_info:
            compared.append((bench.name, bench.extra_info))
    if not compared:
        return
    terminalreporter.section("beside their floors (median of pairs, 95 % interval)")
    for name, info in compared:
        terminalreporter.write_line(
            f"{name:42} {info['subject']:10.2f} {info['unit']:3} "
            f"floor {info['floor']:10.2f} {info['unit']:3} "
            f"{info['ratio']:7.2f} x [{info['ratio_low']:.2f}, {info['ratio_high']:.2f}]"
        )
