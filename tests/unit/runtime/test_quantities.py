"""Quantities: every number and unit comes out as what it says, everything else is refused."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.quantities import DURATION_MS, RATE, SIZE, Quantity

KINDS = [RATE, SIZE, DURATION_MS]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (RATE, "50/s", 50.0),
        (RATE, "30/min", 0.5),
        (RATE, "20 /min", 1 / 3),
        (RATE, "36/h", 0.01),
        (RATE, "0.5/s", 0.5),
        (SIZE, "512 B", 512.0),
        (SIZE, "64 kB", 64_000.0),
        (SIZE, "1 KiB", 1024.0),
        (SIZE, "1.5KiB", 1536.0),
        (SIZE, "1 MiB", 1_048_576.0),
        (SIZE, "2 GiB", 2_147_483_648.0),
        (DURATION_MS, "80 ms", 80.0),
        (DURATION_MS, "2 s", 2000.0),
        (DURATION_MS, "1 min", 60_000.0),
        (DURATION_MS, "250 us", 0.25),
        (DURATION_MS, "-3 ms", -3.0),
        (DURATION_MS, " .5 s ", 500.0),
    ],
)
def test_a_quantity_is_its_number_times_its_unit(kind: Quantity, text: str, value: float) -> None:
    """The units that scenario files use, each once."""
    assert kind.parse(text) == value


@given(
    st.sampled_from(KINDS).flatmap(
        lambda kind: st.tuples(st.just(kind), st.sampled_from(sorted(kind.factors)))
    ),
    st.integers(0, 10**9),
)
def test_whole_quantities_round_trip(kind_and_unit: tuple[Quantity, str], number: int) -> None:
    """Writing a number with a unit and reading it gives exactly the number in the base unit."""
    kind, unit = kind_and_unit
    assert kind.parse(f"{number} {unit}") == float(number * kind.factors[unit])


@given(st.sampled_from(KINDS), st.decimals(0, 10**6, places=3))
def test_decimals_are_exact(kind: Quantity, number: object) -> None:
    """A decimal fraction loses nothing on the way to the base unit, but for the final rounding."""
    unit = list(kind.factors)[-1]
    exact = Fraction(str(number)) * kind.factors[unit]
    if not kind.whole or exact.denominator == 1:
        assert kind.parse(f"{number}{unit}") == float(exact)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (RATE, "50 ms", "'50 ms' is not a rate; write a number and /s, /min or /h, such as"),
        (RATE, "50", "is not a rate"),
        (RATE, "/s", "is not a rate"),
        (RATE, "", "is not a rate"),
        (RATE, "1e9/s", "is not a rate"),
        (RATE, "1.2.3/s", "is not a rate"),
        (RATE, "nan/s", "is not a rate"),
        (RATE, "٣/s", "is not a rate"),
        (RATE, "9" * 31 + "/s", "is not a rate"),
        (SIZE, "1 Kib", "is not a size"),
        (SIZE, "0.3 B", "'0.3 B' is not a whole number of bytes"),
        (DURATION_MS, "80 MS", "is not a duration"),
        (DURATION_MS, "1 ms 2", "is not a duration"),
    ],
)
def test_anything_else_is_refused(kind: Quantity, text: str, said: str) -> None:
    """A wrong unit, a missing one or a wrong number is told with what may be written."""
    with pytest.raises(ValueError, match=re.escape(said)):
        kind.parse(text)


@given(st.sampled_from(KINDS), st.text(max_size=60))
def test_any_text_gives_a_finite_number_or_a_value_error(kind: Quantity, text: str) -> None:
    """No text makes the parser raise anything else or give an infinite value."""
    try:
        value = kind.parse(text)
    except ValueError:
        value = 0.0
    assert math.isfinite(value)
