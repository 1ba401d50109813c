"""Plots as inline SVG, drawn by matplotlib: the latency distribution, and overhead against length.

The only module that imports matplotlib, and only when something is drawn. Colours in the output
are the page's CSS variables, so a plot follows the reader's light or dark scheme; the same data
give the same bytes. Names and texts from messages never enter a plot: the caller names the rows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from reports.render.numbers import TIMES, of_stat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _RULE, _BAR, _CURVE, _LIMIT, _BAND, _PANEL = (
    "#010101", "#020202", "#030303", "#040404", "#050505", "#060606", "#070707", "#080808",
)  # fmt: skip
_VARIABLES = {
    _INK: "--ink", _SOFT: "--soft", _RULE: "--rule", _BAR: "--bar", _CURVE: "--curve",
    _LIMIT: "--limit", _BAND: "--band", _PANEL: "--panel",
}  # fmt: skip
"""Stand-ins: matplotlib writes the left, the page gets the right."""

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "text.color": _SOFT,
    "text.parse_math": False,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "grid.color": _RULE,
    "grid.linewidth": 0.8,
}


class Row(NamedTuple):
    """One measure of the distribution plot: its label and its STAT."""

    label: str
    stat: Mapping[str, Any]


class Limit(NamedTuple):
    """A target: a line at ``from_ms``, or a band up to ``to_ms``; ``label`` stands above it."""

    label: str
    from_ms: float
    to_ms: float | None = None


class Point(NamedTuple):
    """One flow length: containers, measured overhead with its interval, what is allowed (ms)."""

    containers: int
    mean_ms: float
    low_ms: float | None
    high_ms: float | None
    allowed_ms: float


def distribution(
    histogram: Mapping[str, Any],
    whole: Mapping[str, Any],
    rows: Sequence[Row],
    limits: Sequence[Limit],
    *,
    width: float,
    key: str,
) -> Markup:
    """Histogram with its cumulative curve, and below it every measure against the targets."""
    upper, row, gap = 170.0, 25.0, 82.0
    lower = row * max(len(rows), 1)
    height = 4 + upper + gap + lower + 34
    left, right = (112.0, 46.0) if width >= 600 else (92.0, 44.0)

    def draw(figure: Figure) -> None:
        box = (left / width, (width - left - right) / width)
        above = figure.add_axes((box[0], 1 - (4 + upper) / height, box[1], upper / height))
        below = figure.add_axes((box[0], 34 / height, box[1], lower / height))
        _histogram(above, histogram, whole, narrow=width < 600)
        _strips(below, rows, limits, narrow=width < 600)

    described = "; ".join(f"{r.label}: mean {of_stat(r.stat).words()}" for r in rows)
    return _rendered(draw, width, height, key, "Latency distribution", described)


def overhead_by_length(points: Sequence[Point], *, width: float, key: str) -> Markup:
    """Overhead between containers against their number, with the line of what is allowed."""
    height = 270.0
    left, right = (64.0, 176.0) if width >= 600 else (56.0, 16.0)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes(
            (left / width, 46 / height, (width - left - right) / width, (height - 56) / height)
        )
        _length(axes, points, narrow=width < 600)

    described = ", ".join(f"{point.containers} containers" for point in points)
    described = f"Flows of {described}; the figures stand in the table below"
    return _rendered(draw, width, height, key, "Overhead by number of containers", described)


def _histogram(
    axes: Axes, histogram: Mapping[str, Any], whole: Mapping[str, Any], *, narrow: bool
) -> None:
    edges, counts = usable(histogram)
    if not edges:
        axes.text(0.5, 0.5, "no histogram", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    _time_ticks(axes, edges[0], edges[-1], 4 if narrow else 9)
    axes.stairs(counts, edges, fill=True, color=_BAR, linewidth=0)
    axes.set_ylim(0, max(counts) * 1.2)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="y", nbins=4, integer=True)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.set_ylabel("messages")
    total, sums = sum(counts), [0.0]
    for count in counts:
        sums.append(sums[-1] + count)
    # A second axis would cost as much as all the rest: the share is drawn on that of the counts.
    full = max(counts)
    axes.plot(edges, [full * s / total for s in sums], color=_CURVE, linewidth=1.6)
    for share in (0, 50, 100):
        axes.annotate(
            f"{share} %", (1, full * share / 100), xycoords=axes.get_yaxis_transform(),
            xytext=(5, 0), textcoords="offset points", va="center", color=_CURVE,
        )  # fmt: skip
    right = 0.0
    for name in ("p50", "p95", "p99"):
        value = whole.get(name)
        if value is not None and edges[0] <= value <= edges[-1]:
            axes.axvline(value, color=_INK, linewidth=0.9, linestyle=(0, (2, 2)), ymax=0.9)
            # Two names side by side need 28 pixels; the later one gives way to the right.
            x = max(float(axes.transData.transform((value, 0))[0]), right)
            right = x + 28
            axes.annotate(
                name, (x, 0.92), xycoords=("figure pixels", "axes fraction"), ha="center",
                color=_INK,
            )  # fmt: skip


def usable(histogram: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Edges and counts for a logarithmic axis: what lies at or below zero goes to its left end."""
    edges = [float(edge) for edge in histogram.get("edges_ms") or ()]
    counts = [float(count) for count in histogram.get("counts") or ()]
    if len(edges) != len(counts) + 1 or not any(counts):
        return [], []
    positive = [edge for edge in edges if edge > 0]
    if not positive:
        return [], []
    if edges[0] <= 0:
        first = len(edges) - len(positive)
        counts = [sum(counts[:first]), *counts[first:]]
        edges = [positive[0] / 2, *positive]
    if edges[-1] < edges[0] * 1.001:
        # All of one duration: a bar that can be seen, around it.
        return [edges[0] * 0.99, edges[-1] * 1.01], [sum(counts)]
    return edges, counts


def _strips(axes: Axes, rows: Sequence[Row], limits: Sequence[Limit], *, narrow: bool) -> None:
    values = [
        float(r.stat[name])
        for r in rows
        for name in ("min", "mean", "p99", "max")
        if r.stat.get(name) and r.stat[name] > 0
    ]
    ends = [edge for limit in limits for edge in (limit.from_ms, limit.to_ms) if edge]
    low, high = min(values + ends, default=1.0) * 0.7, max(values + ends, default=10.0) * 1.6
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    _time_ticks(axes, low, high, 3 if narrow else 9)
    axes.set_yticks(range(len(rows)), [r.label for r in rows])
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    top = axes.get_xaxis_transform()
    pixels = axes.bbox.height * 72 / axes.figure.dpi
    for index, limit in enumerate(limits):
        lift = 1 + (6 + 16 * (index % 2)) / pixels
        if limit.to_ms is None:
            axes.plot(
                [limit.from_ms] * 2, [0, lift - 3 / pixels], transform=top, color=_LIMIT,
                linewidth=1.1, clip_on=False,
            )  # fmt: skip
            middle = limit.from_ms
        else:
            axes.axvspan(limit.from_ms, limit.to_ms, color=_BAND, linewidth=0)
            middle = math.sqrt(limit.from_ms * limit.to_ms)
        axes.text(middle, lift, limit.label, ha="center", color=_LIMIT, transform=top)
    for y, measure in enumerate(rows):
        _strip(axes, y, measure.stat, low)


def _strip(axes: Axes, y: float, stat: Mapping[str, Any], floor: float) -> None:
    smallest, largest = stat.get("min"), stat.get("max")
    if smallest is not None and largest is not None:
        axes.plot([max(smallest, floor), largest], [y, y], color=_SOFT, linewidth=1)
    median, p95, p99 = stat.get("p50"), stat.get("p95"), stat.get("p99")
    if median is not None and p95 is not None:
        axes.plot([max(median, floor), p95], [y, y], color=_BAR, linewidth=8, solid_capstyle="butt")
    if p99 is not None:
        axes.plot([p99, p99], [y - 0.26, y + 0.26], color=_INK, linewidth=1.4)
    if stat.get("mean") is not None and stat["mean"] > 0:
        axes.plot([stat["mean"]], [y], "o", color=_INK, markersize=5.5)


def _length(axes: Axes, points: Sequence[Point], *, narrow: bool) -> None:
    numbers = [p.containers for p in points]
    means = [p.mean_ms for p in points]
    allowed = [p.allowed_ms for p in points]
    axes.set_yscale("log")
    axes.set_xlim(min(numbers) - 0.4, max(numbers) + 0.4)
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.set_xlabel("containers in the flow")
    known = [v for p in points for v in (p.mean_ms, p.low_ms, p.allowed_ms) if v and v > 0]
    low, high = min(known) * 0.6, max(known) * 1.6
    axes.set_ylim(low, high)
    _time_ticks(axes, low, high, 8, vertical=True)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    axes.plot(numbers, allowed, color=_LIMIT, linewidth=1.4, marker="_", markersize=12)
    axes.plot(numbers, means, color=_CURVE, linewidth=1.2, linestyle=(0, (3, 2)))
    for p in points:
        if p.low_ms is not None and p.high_ms is not None:
            axes.plot(
                [p.containers] * 2, [p.low_ms, p.high_ms], color=_CURVE, linewidth=5, alpha=0.45
            )
        axes.plot([p.containers], [p.mean_ms], "o", color=_CURVE, markersize=6.5)
    for value, label, colour in (
        (allowed[-1], f"(N \u2212 1) {TIMES} 15 ms", _LIMIT),
        (means[-1], "measured overhead", _INK),
    ):
        shift = (-8, 12) if narrow else (12, -4)
        axes.annotate(
            label, (numbers[-1], value), xytext=shift, textcoords="offset points", color=colour,
            ha="right" if narrow else "left", annotation_clip=False,
        )  # fmt: skip


def _time_ticks(axes: Axes, low: float, high: float, most: int, *, vertical: bool = False) -> None:
    """Label 1, 2, 5 of every decade (or less, where that is too many) with their unit."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) <= most:
            break
    while len(found) > most:
        found = found[::2]
    if len(found) < 2:
        # Less than a factor of two is shown: evenly spaced ticks are round there.
        spaced = MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high)
        found = [float(value) for value in spaced if low <= value <= high]
    axis = axes.yaxis if vertical else axes.xaxis
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(found, [_duration(value) for value in found])


def _duration(value_ms: float) -> str:
    for size_ms, unit in ((1000.0, "s"), (1.0, "ms"), (0.001, "µs")):
        if value_ms >= size_ms * (0.1 if unit == "ms" else 1):
            return f"{value_ms / size_ms:.3g} {unit}"
    return f"{value_ms * 1e6:.3g} ns"


def _rendered(
    draw: Any, width: float, height: float, key: str, title: str, description: str
) -> Markup:
    """Draw on a fresh figure whose point is a CSS pixel, and make the SVG fit for a page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": key}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inlined(buffer.getvalue(), key, title, description)


def _inlined(source: str, key: str, title: str, description: str) -> Markup:
    body = source[source.index("<svg") :]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(
        r' id="([^"]*)"',
        lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "",
        body,
    )
    body = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{key}-", body)
    body = re.sub(r"font-family: [^;\"]*; ?", "", body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    assert size is not None
    opening = (
        f'<svg viewBox="0 0 {size[1]} {size[2]}" width="{size[1]}" height="{size[2]}" role="img" '
        f'aria-labelledby="{key}-title" aria-describedby="{key}-desc" class="plot" '
        'data-kind="tick">'
        f'<title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>'
    )
    body = re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1)
    body = body.replace("xlink:href", "href")
    return Markup(re.sub(r"\s*\n\s*", "\n", body))  # noqa: S704 - matplotlib's own output
