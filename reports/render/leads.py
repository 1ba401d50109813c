"""The sentence that opens each section: what was found, in words, from the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.figures import Point
from reports.render.numbers import Reading, counted, number, of_stat, of_value, quantity
from reports.render.views import Found, Map, Results

NO_REALTIME = "No realtime flow was measured in this run."


def _with_interval(reading: Reading) -> str:
    return f"{reading.text} ({reading.interval})" if reading.interval else reading.text


def flow(found: Found | None) -> str:
    """The mean hop, and what it is of the bare broker hop."""
    if found is None:
        return NO_REALTIME
    hop = of_stat(found.cell.get("hop"))
    if not hop.given:
        return "No hop was measured in this flow."
    text = f"From one step to the next a message takes {_with_interval(hop)} on average"
    multiple = of_value(found.cell.get("floor_multiple"))
    if multiple.given:
        text += (
            f"; the median is {_with_interval(multiple)} the median of a bare broker hop"
            " on this machine"
        )
    return f"{text}."


def distribution(found: Found | None) -> str:
    """Half and nearly all of the executions."""
    if found is None:
        return NO_REALTIME
    stat = found.cell.get("end_to_end")
    median, p99 = of_stat(stat, "p50"), of_stat(stat, "p99")
    if not median.given:
        executions = counted(found.cell.get("messages"), "execution")
        return f"{executions} are too few for quantiles; all of them are shown."
    text = f"Half of the executions are done within {median.text}"
    if p99.given:
        return f"{text}, 99 of 100 within {p99.text}."
    p95 = of_stat(stat, "p95")
    more = f", 95 of 100 within {p95.text}" if p95.given else ""
    return f"{text}{more}; for p99 there are too few observations."


def warm_up(found: Found | None) -> str:
    """How long a start takes, and when the flow is steady."""
    if found is None:
        return NO_REALTIME
    figures = found.cell.get("warm_up") or {}
    total = of_stat(figures.get("total"))
    if not total.given:
        return "The warm-up was not seen in full in this run."
    text = f"The flow has handled its first message {_with_interval(total)} after its start."
    cold, warm = of_stat(found.cell.get("cold_end_to_end")), of_stat(found.cell.get("end_to_end"))
    if cold.given and warm.given:
        text += (
            f" That first message takes {cold.text} through the flow;"
            f" the mean over all of them is {warm.text}."
        )
    steady = figures.get("messages_to_steady") or {}
    if steady.get("class"):
        text += f" From message to message: {steady['class']}"
        if steady.get("class") == "warm-up" and steady.get("messages") is not None:
            text += f", steady after {counted(steady['messages'], 'message')}"
        text += "."
    return text


def modes(ordinary: Found | None, realtime: Found | None) -> str:
    """How many times the one is the other."""
    means = [
        ((found.cell.get("end_to_end") or {}).get("mean") if found else None)
        for found in (ordinary, realtime)
    ]
    if means[0] is None and means[1] is None:
        return "Neither an ordinary nor a realtime execution was measured in this run."
    if means[0] is None:
        return "No ordinary execution was measured in this run, so there is nothing to compare."
    if means[1] is None:
        return "No realtime execution was measured in this run, so there is nothing to compare."
    text = (
        f"An ordinary execution takes {quantity(means[0], 'ms')}, a realtime one "
        f"{quantity(means[1], 'ms')}"
    )
    if means[1] > 0:
        text += f": {number(float(f'{means[0] / means[1]:.3g}'))} times as fast"
    return f"{text}."


def length(points: Sequence[tuple[Found, Point]]) -> str:
    """Whether every length stays under its line."""
    if not points:
        return "No flow was measured at more than one length in this run."
    over = [
        p for _, p in points if (p.high_ms if p.high_ms is not None else p.mean_ms) >= p.allowed_ms
    ]
    last = points[-1][1]
    used = f"{100 * last.mean_ms / last.allowed_ms:.2g}\u00a0%"
    text = (
        f"{last.containers} containers add {quantity(last.mean_ms, 'ms')}: {used} of the "
        f"{quantity(last.allowed_ms, 'ms')} that 15\u00a0ms a hop would allow."
    )
    if over:
        names = ", ".join(str(p.containers) for p in over)
        return f"{text} With {names} containers the overhead does not stay below the line."
    return f"{text} Every length stays below its line."


def volume(grid: Map | None) -> str:
    """How many of the deciding squares lie in the band."""
    if grid is None:
        return "No scenario of this run varies the API's response time."
    deciding = [
        square
        for _, row in grid.rows
        for (_, decides), square in zip(grid.delays, row, strict=True)
        if decides and square is not None and square.place
    ]
    inside = sum(square.place == "in the band" for square in deciding)
    if not deciding:
        return "No API time of this run lies between 80 and 350 ms, where the band is decided."
    return (
        f"Where the API alone takes 80 to 350\u00a0ms, {inside} of {len(deciding)} mean execution "
        "times lie between 100 and 400\u00a0ms."
    )


def floor(results: Results) -> str:
    """Whether the machine was the same before and after."""
    figures: Mapping[str, Any] = results.get("floor") or {}
    if not figures.get("before") and not figures.get("after"):
        return "The machine's floor was not measured in this run: multiples of it cannot be given."
    ratio = figures.get("moved_ratio")
    if ratio is None:
        return "The floor was measured only once, so it is not known whether the machine changed."
    change = 100 * (ratio - 1)
    if abs(change) < 0.5:
        return "The bare broker hop was the same before and after the run."
    word = "slower" if change > 0 else "faster"
    return f"After the run the bare broker hop was {abs(change):.0f}\u00a0% {word} than before it."
