"""How numbers are written for people: three significant digits, always with their unit.

A measured figure is a :class:`Reading`, and every view shows it through one: it cannot be made
without its unit, without what it rests on, and without its interval or the reason why it has none.
What is no measurement (a limit, a tick, a size, a count) is written by the plain functions.
"""

from __future__ import annotations

import math
import re
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


NO_INTERVAL = {
    "starts": "no interval: fewer than 3 starts",
    "single": "a single observation, without an interval",
    "observed": "observed, without an interval",
    "range": "the ends of a range, each with its interval where its cell is shown",
    "unsampled": "no interval: the samples were not kept",
    "batch": "no interval: too few observations beyond it",
}
"""Why a figure has no interval: short names that stand in results and pages, and their words."""
WITHIN = "within these starts only"
"""What an interval over blocks of messages says: nothing of other starts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A measured figure as it is shown.

    ``text`` is the number with its unit, or the words that stand for it where it is not ``given``.
    A given figure has an ``interval``, or in ``why`` the name of the reason why it has none
    (:data:`NO_INTERVAL`), and in ``of`` what it rests on: its starts and messages.
    """

    text: str
    interval: str = ""
    given: bool = True
    of: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.given and not (self.of and (self.interval or self.why in NO_INTERVAL)):
            raise ValueError(f"figure {self.text!r} lacks its counts, or its interval")

    @property
    def key(self) -> str:
        """The counts that it rests on as a short key: ``5/1000``."""
        return key_of(self.of)

    @property
    def bounds(self) -> str:
        """The interval, or why there is none, in words."""
        return self.interval or NO_INTERVAL.get(self.why, "")

    def words(self, *, of: bool = True) -> str:
        """The figure in a sentence: ``0.84 ms (0.79 to 0.90 ms; 5 starts, 1000 messages)``."""
        if not self.given:
            return self.text
        rest = f"; {self.of}" if of else ""
        return f"{self.text} ({self.bounds}{rest})"


def key_of(of: str) -> str:
    """The counts in words as a short key: two figures with one key rest on the same."""
    return "/".join(re.findall(r"\d+", of.replace(THIN, "")))


def plain(text: str) -> str:
    """The text without typographic spaces: they help on a page, and hinder a search in a log."""
    return text.replace(NO_BREAK, " ").replace(THIN, "")


def absent(text: str) -> Reading:
    """What stands where there is no figure."""
    return Reading(text, given=False)


def rests_on(starts: float, messages: float, noun: str = "message") -> str:
    """What a figure rests on: ``5 starts, 1000 messages``."""
    return f"{counted(starts, 'start')}, {counted(messages, noun)}"


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
    of: str,
    why: str = "starts",
    missing: str = NOT_MEASURED,
    fixed: bool = False,
    basis: str | None = None,
) -> Reading:
    """A value and its interval, in one unit and with one number of places.

    ``of`` is what it rests on, ``why`` the reason that is given where there are no bounds.
    """
    if value is None:
        return absent(missing)
    if not unit:
        raise ValueError(f"a figure of {value} has no unit")
    factor, shown = (1.0, spelled(unit)) if fixed else scaled(value, unit)
    whole = all(v is None or float(v).is_integer() for v in (value, low, high))
    places = None if whole and factor == 1.0 else decimals(value * factor)
    text = f"{number(value * factor, places)}{NO_BREAK}{shown}"
    if low is None or high is None:
        return Reading(text, of=of, why=why)
    ends = f"{number(low * factor, places)} to {number(high * factor, places)}{NO_BREAK}{shown}"
    return Reading(text, f"{ends}, {WITHIN}" if basis == "blocks" else ends, of=of)


def batches(count: int, observations: float | None, noun: str = "message") -> str:
    """What a figure of the floor rests on: ``1 batch, 200 messages``."""
    word = "batch" if count == 1 else "batches"
    return f"{count}{NO_BREAK}{word}, {counted(observations, noun)}"


def of_stat(stat: Mapping[str, Any] | None, name: str = "mean") -> Reading:
    """One statistic of a STAT: ``mean``, ``p50``, ``p95``, ``p99``, ``min`` or ``max``."""
    if not stat:
        return absent(NOT_MEASURED)
    return reading(
        stat.get(name),
        stat.get(f"{name}_low"),
        stat.get(f"{name}_high"),
        str(stat.get("unit", "ms")),
        of=_of(stat),
        why="single" if name in {"min", "max"} else _why(stat),
        missing=NEEDS_MORE if name.startswith("p") else NOT_MEASURED,
        basis=stat.get("basis"),
    )


def of_value(figure: Mapping[str, Any] | None, *, fixed: bool = False) -> Reading:
    """A figure of the form ``{value, low, high, unit, starts, messages}``."""
    if not figure:
        return absent(NOT_MEASURED)
    return reading(
        figure.get("value"),
        figure.get("low"),
        figure.get("high"),
        str(figure.get("unit", "")),
        of=_of(figure),
        why=_why(figure),
        fixed=fixed,
        basis=figure.get("basis"),
    )


def times(figure: Mapping[str, Any] | None, factor: float, unit: str | None = None) -> Reading:
    """The mean of a STAT (or the value of an X) times a known factor, its bounds as well."""
    if not figure:
        return absent(NOT_MEASURED)
    name = "value" if "value" in figure else "mean"
    low, high = ("low", "high") if name == "value" else ("mean_low", "mean_high")
    found = [figure.get(key) for key in (name, low, high)]
    value, least, most = (None if one is None else one * factor for one in found)
    return reading(
        value, least, most, unit or str(figure.get("unit", "ms")),
        of=_of(figure), why=_why(figure), basis=figure.get("basis"),
    )  # fmt: skip


def observed(value: float, unit: str) -> Reading:
    """An instant or a duration of one execution, as it was seen."""
    return reading(value, None, None, unit, of=rests_on(1, 1), why="single")


def _of(figure: Mapping[str, Any]) -> str:
    """What a STAT or an X rests on; of a floor, one batch of so many observations."""
    noun = str(figure.get("of") or "messages")
    messages = figure.get("messages")
    if figure.get("basis") in {"batch", "least", "unsampled"}:
        return batches(figure.get("batches") or 1, messages, noun.removesuffix("s"))
    return rests_on(figure.get("starts") or 0, messages or 0)


def _why(figure: Mapping[str, Any]) -> str:
    """The reason that is given where a STAT or an X has no bounds."""
    named = {"batch": "batch", "least": "single", "unsampled": "unsampled"}
    return named.get(str(figure.get("basis")), "starts")


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
