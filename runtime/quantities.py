"""Reads quantities: a number and its unit, as scenario files write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of quantity: its name, the unit of its values, and what each written unit is in it."""

    name: str
    unit: str
    factors: Mapping[str, Fraction]
    example: str
    whole: bool = False

    def parse(self, text: str) -> float:
        """The value in :attr:`unit`.

        Raises ValueError, saying what may be written, when ``text`` is not a number and one of the
        units, or when it comes to a fraction of a ``whole`` unit or to more than a float can hold.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None or match["unit"] not in self.factors:
            raise ValueError(f"{text!r} is not a {self.name}; write {self.how()}")
        exact = Fraction(match["number"]) * self.factors[match["unit"]]
        if self.whole and exact.denominator != 1:
            raise ValueError(f"{text!r} is not a whole number of {self.unit}")
        try:
            value = float(exact)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise ValueError(f"{text!r} is too large")
        return value

    def how(self) -> str:
        """What may be written, with an example."""
        *most, last = self.factors
        units = f"{', '.join(most)} or {last}" if most else last
        return f'a number and {units}, such as "{self.example}"'


# A number of at most 30 characters: more is never meant, and long ones cost quadratic time to read.
_FORM = re.compile(
    r"(?P<number>[+-]?(?=[\d.]{1,30}(?![\d.]))(?:\d+\.?\d*|\.\d+)) *(?P<unit>\S+)", re.ASCII
)

RATE = Quantity(
    name="rate",
    unit="per second",
    factors={"/s": Fraction(1), "/min": Fraction(1, 60), "/h": Fraction(1, 3600)},
    example="50/s",
)
SIZE = Quantity(
    name="size",
    unit="bytes",
    factors={
        "B": Fraction(1),
        "kB": Fraction(1000),
        "MB": Fraction(1000**2),
        "KiB": Fraction(1024),
        "MiB": Fraction(1024**2),
        "GiB": Fraction(1024**3),
    },
    example="64 KiB",
    whole=True,
)
DURATION_MS = Quantity(
    name="duration",
    unit="milliseconds",
    factors={
        "us": Fraction(1, 1000),
        "ms": Fraction(1),
        "s": Fraction(1000),
        "min": Fraction(60_000),
    },
    example="80 ms",
)
DURATION_S = Quantity(
    name="duration",
    unit="seconds",
    factors={
        "ms": Fraction(1, 1000),
        "s": Fraction(1),
        "min": Fraction(60),
        "h": Fraction(3600),
    },
    example="30 s",
)
