"""What each section of the page shows, picked from the results; words and rows, no markup."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reports.figures import Limit, Point, Row
from reports.render.numbers import (
    DASH,
    Reading,
    counted,
    of_stat,
    of_value,
    quantity,
    reading,
    rests_on,
    size,
)

Cell = Mapping[str, Any]
Results = Mapping[str, Any]

BAND_MS = (100.0, 400.0)
"""How long an execution is said to take (S13)."""
DECIDING_API_MS = (80.0, 350.0)
"""API times whose cells decide S13."""
PER_HOP_MS = 15.0
"""What a hop may take on average (S11, S12)."""

EVENTS = ("capacity", "changes", "listeners")
"""Members of the results that hold scenarios without cells of figures."""
VERDICTS = {"met": ("✓", "met"), "missed": ("✕", "missed"), "undecided": ("?", "undecided")}


@dataclass(frozen=True, slots=True)
class Found:
    """A cell together with the scenario it belongs to."""

    name: str
    scenario: Mapping[str, Any]
    cell: Cell

    @property
    def steps(self) -> list[str]:
        """The cell's own steps: those of the scenario, unless the cell has another length."""
        own = [str(entry["id"]) for entry in self.cell.get("steps") or ()]
        return own or [str(step) for step in self.scenario.get("steps") or ()]

    @property
    def anchor(self) -> str:
        """Where the page shows all of the scenario's figures."""
        return anchor(self.name)


def cells(results: Results, *, flow_type: str | None = None) -> Iterator[Found]:
    """Every cell that has a measured message, in the results' order."""
    for name, scenario in (results.get("figures") or {}).items():
        if flow_type is None or scenario.get("flow_type") == flow_type:
            for cell in scenario.get("cells") or ():
                if cell.get("messages"):
                    yield Found(name, scenario, cell)


def main_cell(results: Results, flow_type: str, *preferred: str) -> Found | None:
    """The cell that stands for a mode: of the first preferred scenario, else the first of all."""
    found = list(cells(results, flow_type=flow_type))
    for name in (*preferred, flow_type):
        for candidate in found:
            if candidate.name == name:
                return candidate
    return found[0] if found else None


def anchor(name: str) -> str:
    """An id for a scenario's section: letters, digits and hyphens only."""
    return "scenario-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def verdict_counts(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {v: sum(claim.get("verdict") == v for claim in claims) for v in VERDICTS}


def headline(results: Results) -> str:
    """The answer in one line."""
    counted_ = verdict_counts(results.get("claims") or ())
    if not (results.get("counts") or {}).get("valid"):
        return "Nothing valid was measured"
    total = sum(counted_.values())
    return (
        f"{counted_['met']} of {total} claims met, {counted_['missed']} missed, "
        f"{counted_['undecided']} undecided"
    )


def when(environment: Mapping[str, Any]) -> str:
    """``24 November 2026, 03:15 UTC, 3 min 21 s``; as it is written where it is not ISO 8601."""
    created, finished = environment.get("created"), environment.get("finished")
    if not created:
        return "date unknown"
    try:
        start = datetime.fromisoformat(str(created))
        end = datetime.fromisoformat(str(finished)) if finished else None
    except ValueError:
        return str(created)
    zone = "UTC" if start.utcoffset() is not None and not start.utcoffset() else ""
    text = f"{start.day} {start:%B %Y, %H:%M} {zone or start.strftime('%z')}".strip()
    if end is not None:
        minutes, seconds = divmod(round((end - start).total_seconds()), 60)
        text += f", took {minutes} min {seconds} s" if minutes else f", took {seconds} s"
    return text


def claim_rows(results: Results) -> list[dict[str, Any]]:
    """One row a claim, as the table shows it."""
    figures = results.get("figures") or {}
    events = {one["scenario"] for key in EVENTS for one in results.get(key) or ()}
    rows = []
    for claim in results.get("claims") or ():
        scenario = str(claim.get("scenario") or "")
        verdict = str(claim.get("verdict"))
        unit = str(claim.get("unit") or "")
        icon, word = VERDICTS.get(verdict, ("?", verdict))
        measured = list((figures.get(scenario) or {}).get("cells") or ())
        value = of_claim(claim)
        rows.append({
            "id": str(claim.get("id")),
            "statement": str(claim.get("statement")),
            "verdict": verdict if verdict in VERDICTS else "undecided",
            "icon": icon,
            "word": word,
            "value": value,
            "limit": DASH if claim.get("limit") is None else quantity(claim["limit"], unit),
            "gauge": gauge(claim),
            "reason": str(claim.get("reason") or ""),
            "scenario": scenario,
            "anchor": anchor(scenario) if measured or scenario in events else "",
        })  # fmt: skip
    return rows


def of_claim(claim: Mapping[str, Any]) -> Reading:
    """The figure that a claim was decided by; an observation (so many containers) has no bounds."""
    low, high = claim.get("low"), claim.get("high")
    exact = low is not None and low == high
    return reading(
        claim.get("value"),
        None if exact else low,
        None if exact else high,
        str(claim.get("unit") or ""),
        of=rests_on(claim.get("starts") or 0, claim.get("messages") or 0),
        why="observed" if exact else "starts",
        missing=DASH,
        basis=claim.get("basis"),
    )


def floor_moved(results: Results) -> bool:
    """Whether the machine's floor moved between before and after the trials."""
    return (results.get("floor") or {}).get("moved") is True


def claim(results: Results, claim_id: str) -> Mapping[str, Any] | None:
    """One row of the claims by its id; None when the run has no such claim."""
    return next((row for row in claim_rows(results) if row["id"] == claim_id), None)


def gauge(claim: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Where value, low and high lie on a log scale of four decades whose limit is at 0.75."""
    value, limit = claim.get("value"), claim.get("limit")
    if not value or not limit or value < 0 or limit < 0 or claim.get("unit") not in {"ms", "s"}:
        return None

    def place(v: float | None) -> float:
        if v is None or v <= 0:
            return place(value)
        return min(1.0, max(0.0, (math.log10(v / limit) + 3) / 4))

    return place(value), place(claim.get("low")), place(claim.get("high"))


def limits(results: Results, flow_type: str, containers: int) -> list[Limit]:
    """The targets that apply to a mode, as lines and bands on a time axis."""
    by_id = {str(claim.get("id")): claim for claim in results.get("claims") or ()}

    def in_ms(claim_id: str, default_ms: float) -> float:
        claim = by_id.get(claim_id, {})
        limit = claim.get("limit")
        if limit is None:
            return default_ms
        return float(limit) * {"s": 1000.0, "ms": 1.0}.get(str(claim.get("unit")), 1.0)

    if flow_type == "ordinary":
        return [Limit("1 to 3 min (S7)", 60_000.0, in_ms("S7", 180_000.0))]
    hop_ms = in_ms("S11", PER_HOP_MS)
    found = [Limit(quantity(hop_ms, "ms"), hop_ms)]
    if containers > 2:
        found.append(Limit(quantity((containers - 1) * hop_ms, "ms"), (containers - 1) * hop_ms))
    whole_ms = in_ms("S10", 1000.0)
    found.append(Limit(f"100{DASH}400 ms", *BAND_MS))
    found.append(Limit(quantity(whole_ms, "ms"), whole_ms))
    return found


def strip_rows(cell: Cell) -> list[Row]:
    """The measures that the distribution plot sets against the targets."""
    hops = list(cell.get("hops") or ())
    rows = [(f"hop {i + 1}", hop.get("total")) for i, hop in enumerate(hops[:4])]
    if len(hops) != 1:
        rows.append(("all hops", cell.get("hop")))
    rows += [
        ("overhead", cell.get("overhead_between")),
        ("execution", cell.get("end_to_end")),
        ("uncorrected", cell.get("uncorrected")),
        ("first message", cell.get("cold_end_to_end")),
    ]
    return [Row(label, stat) for label, stat in rows if stat and stat.get("mean") is not None]


def length_points(results: Results) -> tuple[str, list[tuple[Found, Point]]]:
    """The scenario that was measured at several lengths, and its points by length."""
    by_scenario: dict[str, list[tuple[Found, Point]]] = {}
    for found in cells(results, flow_type="realtime"):
        stat = found.cell.get("overhead_between") or {}
        containers = (found.cell.get("cell") or {}).get("containers")
        if containers and stat.get("mean") is not None and stat["mean"] > 0:
            point = Point(
                containers,
                stat["mean"],
                stat.get("mean_low"),
                stat.get("mean_high"),
                (containers - 1) * PER_HOP_MS,
            )
            by_scenario.setdefault(found.name, []).append((found, point))
    for name, points in by_scenario.items():
        if len({point.containers for _, point in points}) > 1:
            return name, sorted(points, key=lambda pair: pair[1].containers)
    return "", []


@dataclass(frozen=True, slots=True)
class Square:
    """One square of the volume-and-API map."""

    value: Reading
    level: int
    place: str
    mark: str


@dataclass(frozen=True, slots=True)
class Map:
    """Execution time over payload size (rows) and API time (columns)."""

    scenario: str
    delays: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, tuple[Square | None, ...]], ...]

    def rests(self) -> set[str]:
        """What its figures rest on."""
        shown = [square.value for _, row in self.rows for square in row if square is not None]
        return {value.of for value in shown if value.given}


def volume_map(results: Results) -> Map | None:
    """The map of the scenario that varies payload or API time; None when there is none."""
    by_scenario: dict[str, dict[tuple[int, float], Cell]] = {}
    for found in cells(results):
        cell = found.cell.get("cell") or {}
        if cell.get("api_delay_ms") is not None:
            key = (cell.get("payload_bytes") or 0, float(cell["api_delay_ms"]))
            by_scenario.setdefault(found.name, {})[key] = found.cell
    if not by_scenario:
        return None
    name, grid = max(by_scenario.items(), key=lambda item: len(item[1]))
    delays = sorted({delay for _, delay in grid})
    payloads = sorted({payload for payload, _ in grid})
    low, high = DECIDING_API_MS
    return Map(
        name,
        tuple((quantity(d, "ms") if d else "0 ms", low <= d <= high) for d in delays),
        tuple(
            (size(p), tuple(_square(grid[p, d]) if (p, d) in grid else None for d in delays))
            for p in payloads
        ),
    )


def _square(cell: Cell) -> Square:
    stat = cell.get("end_to_end") or {}
    mean = stat.get("mean")
    if mean is None:
        return Square(of_stat(stat), 0, "", "")
    low, high = BAND_MS
    place, mark = ("in the band", "●") if low <= mean <= high else ("above", "▲")
    if mean < low:
        place, mark = "below", "▼"
    level = 0 if mean <= 0 else min(6, max(0, round(2 * math.log10(mean))))
    return Square(of_stat(stat), level, place, mark)


def resource_rows(
    results: Results, realtime: Cell | None, ordinary: Cell | None
) -> list[dict[str, Any]]:
    """Container-, CPU- and MB-seconds a message in both modes, and how many times one the other."""
    rows = []
    for key, label in (
        ("container_seconds", "Container-seconds"),
        ("cpu_seconds", "CPU-seconds"),
        ("mb_seconds", "Memory (MB-seconds)"),
        ("memory_peak_mb", "Memory at its peak"),
    ):
        both = [
            ((cell or {}).get("resources") or {}).get(key) or {} for cell in (ordinary, realtime)
        ]
        rows.append({
            "label": label,
            "ordinary": of_value(both[0]),
            "realtime": of_value(both[1]),
            "times": of_value((results.get("comparison") or {}).get(key)),
        })  # fmt: skip
    return rows


def resource_figures(cell: Cell) -> list[tuple[str, Mapping[str, Any]]]:
    """What a cell costs, by name: per message, at its peak, and while no message comes."""
    found = cell.get("resources") or {}
    per = found.get("per") or "message"
    idle = found.get("idle_per_second") or {}
    named = (
        (f"Container-seconds per {per}", found.get("container_seconds")),
        (f"CPU-seconds per {per}", found.get("cpu_seconds")),
        (f"Memory (MB-seconds) per {per}", found.get("mb_seconds")),
        ("Memory at its peak", found.get("memory_peak_mb")),
        ("Idle, container-seconds per second", idle.get("container_seconds")),
        ("Idle, CPU-seconds per second", idle.get("cpu_seconds")),
        ("Idle, MB-seconds per second", idle.get("mb_seconds")),
        ("Load generator: CPU of the busiest", cell.get("generator_cpu")),
        ("Hop p50 as a multiple of the floor's", cell.get("floor_multiple")),
    )
    return [(label, figure) for label, figure in named if figure]


def cell_name(cell: Cell) -> str:
    """``3 containers, 1 KiB, API 100 ms``."""
    key = cell.get("cell") or {}
    parts = []
    if key.get("containers"):
        parts.append(counted(key["containers"], "container"))
    if key.get("payload_bytes") is not None:
        parts.append(size(key["payload_bytes"]))
    if key.get("api_delay_ms") is not None:
        parts.append(f"API {quantity(key['api_delay_ms'], 'ms')}")
    if key.get("injected_delay_ms") is not None:
        delay = quantity(key["injected_delay_ms"], "ms")
        parts.append(f"{key['delayed_step']} delayed by {delay}")
    if key.get("network_delay_ms") is not None:
        parts.append(f"network {quantity(key['network_delay_ms'], 'ms')}")
    return ", ".join(parts) or "as written"


MEASURES = (
    ("hop", "Hop, all"),
    ("ingress", "Ingress (hop 0)"),
    ("end_to_end", "Execution, from the intended send"),
    ("uncorrected", "Execution, from the actual send"),
    ("cold_end_to_end", "Execution of a start's first message"),
    ("lag", "Load generator: actual after intended send"),
    ("component", "Component time"),
    ("overhead", "Overhead"),
    ("overhead_between", "Overhead between containers"),
)


def measures(cell: Cell) -> list[tuple[str, Mapping[str, Any]]]:
    """Every STAT of a cell with its name, hop by hop and step by step."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for key, label in MEASURES:
        if cell.get(key):
            rows.append((label, cell[key]))
    for hop in cell.get("hops") or ():
        name = f"{hop.get('from')} → {hop.get('to')}"
        for key, label in (
            ("total", "hop"),
            ("client_out", "client-out"),
            ("transit", "transit"),
            ("client_in", "client-in"),
            ("confirm", "confirm, beside it"),
            ("ack", "ack, beside it"),
        ):
            if hop.get(key):
                rows.append((f"{name}: {label}", hop[key]))
    rows += [
        (f"{step.get('id')}: process", step["process"])
        for step in cell.get("steps") or ()
        if step.get("process")
    ]
    warm_up = cell.get("warm_up") or {}
    if warm_up.get("total"):
        rows.append(("Warm-up, whole flow", warm_up["total"]))
    return rows
