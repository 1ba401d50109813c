"""Takes values out of a table of TOML or JSON one by one, and notes every problem with its key.

A wrong or missing value is noted and a stand-in of its type returned, so that reading goes on and
finds the other problems too. Whoever keeps the problems raises them when reading has ended.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypeVar

from runtime.quantities import Quantity

T = TypeVar("T")

KeyPath = tuple[str | int, ...]
"""Keys and array indices from the document's root to a value."""

DEEPEST = 64
"""More nesting than anyone writes, and less than any JSON library minds."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""Names become part of container, queue and host names (RFC 1123 labels)."""

NAME_RULE = "use a-z, 0-9 and -, at most 40 characters"

_MISSING = object()
_ABSENT = object()
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 40


class Problems(Protocol):
    """Where the problems of a document are noted."""

    @property
    def problems(self) -> Sized:
        """Those found so far."""

    def problem(self, key: KeyPath, what: str) -> None:
        """Note one, at a key."""


class Table:
    """One table of a document. Keys that nobody asked for are unknown."""

    def __init__(self, document: Problems, key: KeyPath, values: Mapping[str, Any]) -> None:
        self.document = document
        self.key = key
        self.values = values
        self._asked: set[str] = set()

    def problem(self, name: str, what: str) -> None:
        """Note a problem at a key of this table."""
        self.document.problem((*self.key, name), what)

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return name in self.values

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required unless there is a default."""
        value = self._take(name, default)
        if isinstance(value, str):
            return value
        self._wrong_type((*self.key, name), "a string", value)
        return ""

    def name(self, name: str) -> str:
        """A string that can be part of container, queue and host names."""
        text = self.text(name)
        if isinstance(self.values.get(name), str) and not NAME.fullmatch(text):
            self.problem(name, f"{shown(text)} is no name; {NAME_RULE}")
        return text

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A boolean; required unless there is a default."""
        value = self._take(name, default)
        if isinstance(value, bool):
            return value
        self._wrong_type((*self.key, name), "true or false", value)
        return False

    def whole(
        self, name: str, default: int | None = None, *, least: int = 1, most: int | None = None
    ) -> int:
        """A whole number of at least ``least`` and at most ``most``; required without a default."""
        return self._whole((*self.key, name), self._take(name, default), least, most)

    def number(self, name: str, default: float | None = None, *, positive: bool = False) -> float:
        """A finite number, whole or not; required unless there is a default."""
        key = (*self.key, name)
        value = self._take(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self._wrong_type(key, "a number", value)
        elif not math.isfinite(value):
            self.document.problem(key, f"{value} is not a finite number")
        elif positive and value <= 0:
            self.document.problem(key, f"{value} is too small; it must be above 0")
        else:
            return float(value)
        return 1.0

    def quantity(
        self, name: str, kind: Quantity, default: str | None = None, *, zero: bool = False
    ) -> float:
        """A number with a unit, above 0 (or from 0 up); required unless there is a default."""
        return self._quantity((*self.key, name), self._take(name, default), kind, zero=zero)

    def quantities(self, name: str, kind: Quantity, *, zero: bool = False) -> tuple[float, ...]:
        """The values of an axis, different from each other; empty where it is absent."""
        return self._axis(name, lambda key, value: self._quantity(key, value, kind, zero=zero))

    def wholes(self, name: str, *, least: int) -> tuple[int, ...]:
        """The same for an axis of whole numbers."""
        return self._axis(name, lambda key, value: self._whole(key, value, least, None))

    def words(self, name: str) -> tuple[str, ...]:
        """The same for an axis of strings."""
        return self._axis(name, self._word)

    def choice(self, name: str, choices: Iterable[str], default: str | None = None) -> str:
        """One of some words; required unless there is a default."""
        words = [str(choice) for choice in choices]
        wanted = " or ".join(f'"{word}"' for word in words)
        value = self._take(name, default)
        if isinstance(value, str) and value in words:
            return value
        if isinstance(value, str):
            self.problem(name, f"{shown(value)} is unknown; write {wanted}{meant(value, words)}")
        else:
            self._wrong_type((*self.key, name), wanted, value)
        return words[0]

    def table(self, name: str, *, required: bool = False) -> Table | None:
        """A table within this one; None where it is absent or not a table."""
        key = (*self.key, name)
        value = self._take(name, None if required else _ABSENT)
        if isinstance(value, dict):
            return Table(self.document, key, value)
        if value is not _ABSENT:
            self._wrong_type(key, f"a table, as in [{dotted(key)}]", value)
        return None

    def tables(self, name: str, *, required: bool = False) -> tuple[Table, ...]:
        """The elements of an array of tables; at least one when it is required."""
        key = (*self.key, name)
        header = f"[[{dotted(key)}]]"
        value = self._take(name, None if required else _ABSENT)
        if isinstance(value, list) and all(isinstance(element, dict) for element in value):
            if required and not value:
                self.problem(name, f"is empty; add at least one {header}")
            return tuple(
                Table(self.document, (*key, index), element) for index, element in enumerate(value)
            )
        if value is not _ABSENT:
            self._wrong_type(key, f"an array of tables, as in {header}", value)
        return ()

    def plain(self, name: str) -> dict[str, Any]:
        """A table of anything that JSON can hold; empty where it is absent."""
        table = self.table(name)
        if table is None:
            return {}
        for key, value in walk(table.key, table.values):
            if isinstance(value, float) and not math.isfinite(value):
                self.document.problem(key, f"{value} does not exist in JSON")
            elif not isinstance(value, dict | list | str | int | float | None):
                self.document.problem(key, f"{shown(value)} does not exist in JSON; write a string")
        return dict(table.values)

    def strings(self, name: str) -> dict[str, str]:
        """A table of strings; empty where it is absent."""
        table = self.table(name)
        return {} if table is None else {key: table.text(key) for key in table.values}

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for name in self.values:
            if name not in self._asked:
                known = sorted(self._asked)
                hint = meant(name, known) or f"; known here: {', '.join(known)}"
                self.problem(name, f"unknown key{hint}")

    def _take(self, name: str, default: object) -> object:
        self._asked.add(name)
        return self.values.get(name, _MISSING if default is None else default)

    def _wrong_type(self, key: KeyPath, wanted: str, value: object) -> None:
        if value is _MISSING:
            self.document.problem(key, f"is missing; it must be {wanted}")
        else:
            self.document.problem(key, f"must be {wanted}, not {shown(value)}")

    def _whole(self, key: KeyPath, value: object, least: int, most: int | None) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong_type(key, "a whole number", value)
        elif value < least:
            self.document.problem(key, f"{value} is too small; it must be at least {least}")
        elif most is not None and value > most:
            self.document.problem(key, f"{value} is too large; it must be at most {most}")
        else:
            return value
        return least

    def _quantity(self, key: KeyPath, value: object, kind: Quantity, *, zero: bool) -> float:
        if not isinstance(value, str):
            self._wrong_type(key, f"a string with {kind.how()}", value)
            return 1.0
        try:
            number = kind.parse(value)
        except ValueError as error:
            self.document.problem(key, str(error))
            return 1.0
        if number < 0 or (number == 0 and not zero):
            bound = "0 or more" if zero else "above 0"
            self.document.problem(key, f"{shown(value)} is too small; it must be {bound}")
            return 1.0
        return number

    def _word(self, key: KeyPath, value: object) -> str:
        if isinstance(value, str) and value:
            return value
        self._wrong_type(key, "a string", value)
        return ""

    def _axis(self, name: str, one: Callable[[KeyPath, object], T]) -> tuple[T, ...]:
        value = self._take(name, _ABSENT)
        if value is _ABSENT:
            return ()
        if not isinstance(value, list):
            self._wrong_type((*self.key, name), "an array of the values to vary over", value)
            return ()
        if not value:
            self.problem(name, "is empty; give it the values to vary over, or leave it out")
        found: list[T] = []
        for index, element in enumerate(value):
            key = (*self.key, name, index)
            before = len(self.document.problems)
            item = one(key, element)
            if len(self.document.problems) > before:
                continue  # a stand-in
            if item in found:
                self.document.problem(key, f"{shown(element)} is there twice; keep one")
            found.append(item)
        return tuple(found)


def distinct(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """The same tables; an ``id`` that an earlier one has is noted."""
    seen: dict[str, int] = {}
    for index, table in enumerate(tables):
        name = table.values.get("id")
        if isinstance(name, str):
            if name in seen:
                table.problem("id", f"{shown(name)} is already the id of element {seen[name]}")
            seen.setdefault(name, index)
    return tables


def dotted(key: KeyPath) -> str:
    """A key as one writes it: ``steps[1].config.expression``."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else _brief(part)
            text += f".{name}" if text else name
    return text


def shown(value: object) -> str:
    """A value as an error names it: the value where it is short, else what it is."""
    match value:
        case bool() | None:
            return json.dumps(value)
        case int() | float():
            return str(value)
        case str():
            return _brief(value)
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return f"the {type(value).__name__} {value}"


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word[:_LONGEST_SHOWN], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _brief(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def walk(key: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    """Every value that is neither table nor array, with its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk((*key, name), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk((*key, index), inner)
    else:
        yield key, value
