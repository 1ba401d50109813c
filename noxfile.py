"""What there is to run in this repository: ``nox -l`` lists it.

All sessions share one environment, ``.nox/hopbench``, made with nothing but venv and pip and made
anew only when the requirements or the Python change.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types", "imports"]
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints.txt"
ENVIRONMENT = ROOT / ".nox" / "hopbench"
# After Ctrl-C nox waits for a third of a second, then kills: too soon to remove containers.
CLEAN_UP_S = 60.0
UNDECIDED = 3
SHELL_SCRIPTS = (".ci/provision.sh", ".ci/run")


def stated_requirements() -> list[str]:
    """What pyproject.toml asks for: to run, to test and to check."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")
    return [
        *project["project"]["dependencies"],
        *nox.project.dependency_groups(project, "dev"),
    ]


def shared_python(session: nox.Session) -> str:
    """Path of the shared environment's Python; the environment is made first where it must be.

    The stamp names everything the environment depends on, and is written when it is complete, so
    an installation that was interrupted starts again.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  # nox runs on older ones
        session.error(f"hopbench needs Python 3.11 or newer; this nox runs on {sys.version}")
    requirements = stated_requirements()
    wanted = json.dumps([sys.version, sys.base_prefix, requirements, CONSTRAINTS.read_text()])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = ENVIRONMENT / "complete"
    python = ENVIRONMENT / "bin" / "python"
    if not (python.exists() and stamp.exists() and stamp.read_text() == digest):
        session.log("installing the environment, once: about a minute")
        session.run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT), external=True)
        pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        session.run(*pip, "--constraint", str(CONSTRAINTS), *requirements, external=True, log=False)
        stamp.write_text(digest)
    # Programs are found beside that Python first: nats-server, py-spy, locust.
    session.env["VIRTUAL_ENV"] = str(ENVIRONMENT)
    session.env["PATH"] = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    return str(python)


def run_module(
    session: nox.Session, module: str, *args: str, success_codes: tuple[int, ...] = (0,)
) -> None:
    """Run a module with the shared environment's Python, from the repository's root."""
    session.run(
        *(shared_python(session), "-m", module, *args),
        external=True,
        success_codes=success_codes,
        interrupt_timeout=CLEAN_UP_S,
        terminate_timeout=CLEAN_UP_S,
    )


def run_program(session: nox.Session, program: str, *args: str) -> None:
    """Run a program of the shared environment, from the repository's root."""
    session.run(str(Path(shared_python(session)).parent / program), *args, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, then report: the whole catalogue, quick profile; or pass what `bench run` takes."""
    run = ROOT / "runs" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    args = session.posargs or ["all", "--profile", "quick"]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    if given := parser.parse_known_args(args)[0].out:
        run = given.absolute()
    else:
        args = [*args, "--out", str(run)]
    try:
        run_module(session, "bench", "run", *args)
    finally:
        # Trials that failed are part of the report; the session fails all the same.
        if (run / "run.json").exists():
            run_module(session, "bench", "report", str(run))
            # nox has a word to say after the session; the report's path comes after that.
            atexit.register(print, run / "index.html", flush=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; what the machine lacks is skipped, with its reason, or fails where CI=true."""
    # Most of the time a test waits for what it has started: two lanes take two thirds of it.
    run_module(session, "pytest", *(session.posargs or ("-n", "2")))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style: ruff for Python, shellcheck for the scripts."""
    run_module(session, "ruff", "check", *session.posargs)
    run_module(session, "ruff", "format", "--check")
    run_program(session, "shellcheck", *SHELL_SCRIPTS)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    run_module(session, "mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Check who may import whom."""
    run_program(session, "lint-imports", *session.posargs)


@nox.session
def micro(session: nox.Session) -> None:
    """Time the small parts beside their floors (pytest-benchmark); hold them to their limits."""
    results = ENVIRONMENT.parent / "micro.json"
    command = ("pytest", "bench/micro", "--benchmark-only", f"--benchmark-json={results}")
    run_module(session, *command, *session.posargs)
    run_module(session, "bench.micro.check", str(results))


@nox.session
def certify(session: nox.Session) -> None:
    """Measure the meter itself: known delays, a freeze, its own overhead, its clocks."""
    # As for the gate, what a noisy machine leaves undecided is no failure: the certificate, and
    # every report that carries it, says so. Something that is shown to be wrong is one.
    run_module(session, "bench", "certify", *session.posargs, success_codes=(0, UNDECIDED))


@nox.session
def images(session: nox.Session) -> None:
    """Build the container images ahead of a run."""
    run_module(session, "bench", "images", *session.posargs)


@nox.session
def provision(session: nox.Session) -> None:
    """Install Docker, RabbitMQ, Chromium, tcpdump on Debian or Ubuntu (as root, or with sudo)."""
    session.log(
        "this installs docker.io, rabbitmq-server, debootstrap, tcpdump and chromium with apt, "
        "starts the container engine and makes the image hopbench/base; no RabbitMQ service is "
        "started"
    )
    command = [str(ROOT / ".ci" / "provision.sh")]
    session.run(*([] if os.geteuid() == 0 else ["sudo"]), *command, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Check that what the documents link to and quote exists."""
    run_module(session, "pytest", "tests/unit/test_documents.py", *session.posargs)


@nox.session(venv_backend="venv", reuse_venv=False)
def constraints(session: nox.Session) -> None:
    """Take the newest versions that fit together, and write them to constraints.txt."""
    session.install(*stated_requirements(), "nox")
    frozen = session.run("python", "-m", "pip", "freeze", silent=True)
    header = CONSTRAINTS.read_text().partition("\n")[0]
    CONSTRAINTS.write_text(f"{header}\n{frozen}")
