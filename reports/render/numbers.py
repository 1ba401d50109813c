"""How numbers are written for people: three significant digits, always with their unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_BREAK = "\u00a0"
TIMES = "\u00d7"
DASH = "\u2013"
THIN = "\u202f"
NEEDS_MORE = "n/a (needs more observations)"
NOT_MEASURED = "not measured"

_LADDER = ("ns", "µs", "ms", "s")
_SPELLING = {"us": "µs", "x": TIMES, "MB*s": "MB·s", "MB*s/s": "MB·s/s"}


@dataclass(frozen=True, slots=True)
class Reading:
    """A number as it is shown: its text with the unit, and its interval's text ('' when none)."""

    text: str
    interval: str = ""
    given: bool = True


def spelled(unit: str) -> str:
    """The unit as it is printed."""
    return _SPELLING.get(unit, unit)


def decimals(value: float, digits: int = 3) -> int:
    """Places after the point that show ``digits`` significant digits of ``value``."""
    if value == 0 or not math.isfinite(value):
        return 0
    return max(0, min(9, digits - 1 - math.floor(math.log10(abs(value)))))


def number(value: float, places: int | None = None) -> str:
    """A number without its unit; thousands are set apart by thin spaces."""
    if float(value).is_integer() and places is None:
        places = 0
    places = decimals(value) if places is None else places
    text = f"{value:,.{places}f}".replace(",", THIN)
    return "0" if text.strip("-0.") == "" else text


def scaled(value: float, unit: str) -> tuple[float, str]:
    """The factor and unit in which a duration reads best: 1412 ms is 1.412 s, 0.004 ms is 4 µs."""
    unit = spelled(unit)
    if unit not in _LADDER or value == 0 or not math.isfinite(value):
        return 1.0, unit
    rung, size, factor = _LADDER.index(unit), abs(value), 1.0
    while size >= 1000 and rung < len(_LADDER) - 1:
        size, factor, rung = size / 1000, factor / 1000, rung + 1
    while size < 0.01 and rung > 0:
        size, factor, rung = size * 1000, factor * 1000, rung - 1
    return factor, _LADDER[rung]


def quantity(value: float | None, unit: str, *, fixed: bool = False) -> str:
    """``0.982 ms``. A None is said in words. ``fixed`` keeps the unit as it is."""
    if value is None:
        return NOT_MEASURED
    factor, shown = (1.0, spelled(unit)) if fixed else scaled(value, unit)
    return f"{number(value * factor)}{NO_BREAK}{shown}" if shown else number(value * factor)


def reading(
    value: float | None,
    low: float | None,
    high: float | None,
    unit: str,
    *,
    missing: str = NOT_MEASURED,
    fixed: bool = False,
) -> Reading:
    """A value and its interval, in one unit and with one number of places."""
    if value is None:
        return Reading(missing, given=False)
    factor, shown = (1.0, spelled(unit)) if fixed else scaled(value, unit)
    whole = all(v is None or float(v).is_integer() for v in (value, low, high))
    places = None if whole and factor == 1.0 else decimals(value * factor)
    text = number(value * factor, places)
    if shown:
        text = f"{text}{NO_BREAK}{shown}"
    if low is None or high is None:
        return Reading(text)
    ends = f"{number(low * factor, places)} to {number(high * factor, places)}"
    return Reading(text, f"{ends}{NO_BREAK}{shown}" if shown else ends)


def of_stat(stat: Mapping[str, Any] | None, name: str = "mean") -> Reading:
    """One statistic of a STAT: ``mean``, ``p50``, ``p95``, ``p99``, ``min`` or ``max``."""
    if not stat:
        return Reading(NOT_MEASURED, given=False)
    missing = NEEDS_MORE if name.startswith("p") else NOT_MEASURED
    return reading(
        stat.get(name),
        stat.get(f"{name}_low"),
        stat.get(f"{name}_high"),
        str(stat.get("unit", "ms")),
        missing=missing,
    )


def of_value(figure: Mapping[str, Any] | None, *, fixed: bool = False) -> Reading:
    """A figure of the form ``{value, low, high, unit}``."""
    if not figure:
        return Reading(NOT_MEASURED, given=False)
    return reading(
        figure.get("value"),
        figure.get("low"),
        figure.get("high"),
        str(figure.get("unit", "")),
        fixed=fixed,
    )


def counted(count: float | None, noun: str) -> str:
    """``1 start``, ``5 starts``; a noun that already ends in s stays."""
    if count is None:
        return f"unknown number of {noun}s"
    return f"{number(count)}{NO_BREAK}{noun if count == 1 else noun + 's'}"


def size(size_bytes: float | None) -> str:
    """A size in bytes, KiB, MiB or GiB."""
    if size_bytes is None:
        return NOT_MEASURED
    value = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{number(value)}{NO_BREAK}{unit}"
        value /= 1024
    raise AssertionError("unreachable")
