"""The sentence that opens each section: what was found, in words, from the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.figures import Point
from reports.render.marks import count, limit, other, sentence
from reports.render.numbers import Reading, of_stat, of_value, times
from reports.render.views import Found, Map, Results, floor_moved

NO_REALTIME = Markup("No realtime flow was measured in this run.")


def flow(results: Results, found: Found | None) -> Markup:
    """The mean hop, and what it is of the bare broker hop."""
    if found is None:
        return NO_REALTIME
    hop = of_stat(found.cell.get("hop"))
    if not hop.given:
        return Markup("No hop was measured in this flow.")
    parts: list[str | Reading] = ["From one step to the next a message takes ", hop, " on average"]
    multiple = of_value(found.cell.get("floor_multiple"))
    if multiple.given:
        parts += ["; the median is ", multiple, " the median of a bare broker hop on this machine"]
        if floor_moved(results):
            parts.append(", whose floor moved during the run")
    return sentence(*parts, ".")


def distribution(found: Found | None) -> Markup:
    """Half and nearly all of the executions."""
    if found is None:
        return NO_REALTIME
    stat = found.cell.get("end_to_end")
    median, p95, p99 = (of_stat(stat, name) for name in ("p50", "p95", "p99"))
    if not median.given:
        executions = count(found.cell.get("messages"), "execution")
        return sentence(executions, " are too few for quantiles; all of them are shown.")
    parts: list[str | Reading] = ["Half of the executions are done within ", median]
    if p99.given:
        return sentence(*parts, ", all but one in a hundred within ", p99, ".")
    if p95.given:
        parts += [", all but one in twenty within ", p95]
    return sentence(*parts, "; for p99 there are too few observations.")


def warm_up(found: Found | None) -> Markup:
    """How long a start takes, and when the flow is steady."""
    if found is None:
        return NO_REALTIME
    figures = found.cell.get("warm_up") or {}
    total = of_stat(figures.get("total"))
    if not total.given:
        return Markup("The warm-up was not seen in full in this run.")
    parts: list[str | Reading] = [
        "The flow has handled its first message ", total, " after its start.",
    ]  # fmt: skip
    cold, warm = of_stat(found.cell.get("cold_end_to_end")), of_stat(found.cell.get("end_to_end"))
    if cold.given and warm.given:
        parts += [
            " That first message takes ", cold,
            " through the flow; the mean over all later ones is ", warm, ".",
        ]  # fmt: skip
    steady = figures.get("messages_to_steady") or {}
    if steady.get("class"):
        parts.append(f" From message to message: {steady['class']}")
        if steady.get("class") == "warm-up" and steady.get("messages") is not None:
            parts += [", steady after ", count(steady["messages"], "message")]
        parts.append(".")
    return sentence(*parts)


def modes(results: Results, ordinary: Found | None, realtime: Found | None) -> Markup:
    """How many times the one is the other."""
    means = [of_stat(found.cell.get("end_to_end") if found else None)
             for found in (ordinary, realtime)]  # fmt: skip
    if not means[0].given and not means[1].given:
        return Markup("Neither an ordinary nor a realtime execution was measured in this run.")
    for shown, word in zip(means, ("ordinary", "realtime"), strict=True):
        if not shown.given:
            return Markup(
                "No {} execution was measured in this run, so there is nothing to compare."
            ).format(word)
    parts: list[str | Reading] = [
        "An ordinary execution takes ", means[0], ", a realtime one ", means[1],
    ]  # fmt: skip
    ratio = of_value((results.get("comparison") or {}).get("end_to_end"))
    if ratio.given:
        parts += [": ", ratio, " as long"]
    return sentence(*parts, ".")


def length(points: Sequence[tuple[Found, Point]]) -> Markup:
    """Whether every length stays under its line."""
    if not points:
        return Markup("No flow was measured at more than one length in this run.")
    over = [
        p for _, p in points if (p.high_ms if p.high_ms is not None else p.mean_ms) >= p.allowed_ms
    ]
    found, last = points[-1]
    stat = found.cell.get("overhead_between")
    parts: list[str | Reading] = [
        count(last.containers, "container"), " add ", of_stat(stat), ", ",
        times(stat, 100 / last.allowed_ms, "%"), " of the ", limit(last.allowed_ms, "ms"),
        " that ", limit(15, "ms"), " a hop would allow.",
    ]  # fmt: skip
    if not over:
        return sentence(*parts, " Every length stays below its line.")
    names = ", ".join(str(p.containers) for p in over)
    return sentence(
        *parts, " With ", other("count", f"{names} containers"),
        " the overhead does not stay below the line.",
    )  # fmt: skip


def volume(grid: Map | None) -> Markup:
    """How many of the deciding squares lie in the band."""
    if grid is None:
        return Markup("No scenario of this run varies the API's response time.")
    deciding = [
        square
        for _, row in grid.rows
        for (_, decides), square in zip(grid.delays, row, strict=True)
        if decides and square is not None and square.place
    ]
    inside = sum(square.place == "in the band" for square in deciding)
    api = other("limit", "80 to 350\u00a0ms")
    if not deciding:
        return sentence("No API time of this run lies within ", api, ", where the band is decided.")
    return sentence(
        "Where the API alone takes ", api, ", ", other("count", f"{inside} of {len(deciding)}"),
        " mean execution times lie between ", other("limit", "100 and 400\u00a0ms"), ".",
    )  # fmt: skip


def floor(results: Results) -> Markup:
    """Whether the machine was the same before and after."""
    figures: Mapping[str, Any] = results.get("floor") or {}
    if not figures.get("before") and not figures.get("after"):
        return Markup(
            "The machine's floor was not measured in this run: multiples of it cannot be given."
        )
    shift = moved(figures)
    if not shift.given:
        return Markup(
            "The floor was measured only once, so it is not known whether the machine changed."
        )
    verdict = {
        True: ": the floor moved. What was measured in between may be the machine's doing",
        False: ", which is within the limit",
        None: ", which is beyond the limit, but may be chance",
    }[figures.get("moved")]
    most = float(figures.get("moved_limit") or 0)
    return sentence(
        "After the run the bare broker hop took ", shift, " as long as before it", verdict,
        " (", limit(most, "x"), " or its reciprocal).",
    )  # fmt: skip


def moved(figures: Mapping[str, Any]) -> Reading:
    """The median bare hop after the run over that before it."""
    return of_value({
        "value": figures.get("moved_ratio"), "low": figures.get("moved_low"),
        "high": figures.get("moved_high"), "unit": "x", "starts": 2, "basis": "batch",
        "messages": figures.get("moved_messages") or 0, "batches": 2,
    })  # fmt: skip
