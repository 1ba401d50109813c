"""Inline SVG, element by element: attributes and text are escaped, numbers are kept short."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape

from reports.render.numbers import Reading

Attribute = str | float | int | None

_ADVANCE_EM = 0.61
"""Mean width of a character in the widest of the usual system fonts (DejaVu Sans)."""


def element(name: str, *content: str | Markup, **attributes: Attribute) -> Markup:
    """One element. ``stroke_width`` is written stroke-width, ``class_`` class; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(part) for part in content)
    return Markup(f"<{name}{written}>{inner}</{name}>")  # noqa: S704 - every part is escaped


def drawing(
    key: str, width: float, height: float, title: str, description: str, parts: Iterable[Markup]
) -> Markup:
    """A drawing of ``width`` x ``height`` CSS pixels, which a screen reader reads as an image."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *parts,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{key}-title",
        aria_describedby=f"{key}-desc",
    )


def text(
    x: float, y: float, content: str, class_: str = "", anchor: str = "start", kind: str = ""
) -> Markup:
    """Text whose baseline begins (or has its middle or end) at x, y.

    ``kind`` says what a number in it is (``marks.KINDS``); a figure is drawn by :func:`figure`.
    """
    return element(
        "text",
        content,
        x=x,
        y=y,
        class_=class_ or None,
        text_anchor=None if anchor == "start" else anchor,
        data_kind=kind or None,
    )


def figure(
    x: float,
    y: float,
    shown: Reading,
    class_: str = "",
    anchor: str = "start",
    *,
    lead: str = "",
    below: float = 0.0,
) -> Markup:
    """A figure with its interval behind it, or ``below`` it by so many pixels.

    The drawing's caption says what it rests on, and why a single observation has no interval.
    """
    if not shown.given:
        return text(x, y, f"{lead}{shown.text}", class_, anchor)
    bounds = "" if shown.why == "single" else shown.bounds
    second: Markup | str = ""
    if bounds and below:
        second = element("tspan", bounds, x=x, dy=below, class_="t-soft")
    elif bounds:
        second = element("tspan", f" ({bounds})", class_="t-soft")
    return element(
        "text", lead, element("tspan", shown.text), second,
        x=x, y=y, class_=class_ or None, data_of=shown.key,
        data_why=shown.why if not shown.interval else None,
        text_anchor=None if anchor == "start" else anchor,
    )  # fmt: skip


def rect(x: float, y: float, width: float, height: float, class_: str, radius: float = 0) -> Markup:
    """A rectangle with rounded corners."""
    return element(
        "rect", x=x, y=y, width=max(width, 0), height=height, class_=class_, rx=radius or None
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(d: str, class_: str) -> Markup:
    """A path, given in SVG's own notation."""
    return element("path", d=d, class_=class_)


def width_of(content: str, size_px: float) -> float:
    """An upper estimate of how wide a text is, in pixels."""
    return len(content) * size_px * _ADVANCE_EM


def fitted(content: str, width_px: float, size_px: float) -> str:
    """The text, cut with an ellipsis where it would be wider than ``width_px``."""
    room = max(1, int(width_px / (size_px * _ADVANCE_EM)))
    return content if len(content) <= room else content[: room - 1] + "…"


def ticks(end: float, about: int) -> list[float]:
    """Round numbers from 0 to at most ``end``, around ``about`` of them."""
    if end <= 0:
        return [0.0]
    rough = end / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [index * step for index in range(int(end / step + 1e-9) + 1)]


def _short(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
