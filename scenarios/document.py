"""Takes values out of a TOML file one by one, and collects every problem with its line and key.

A wrong or missing value is noted and a stand-in of its type returned, so that reading goes on and
finds the other problems too. :meth:`Document.check` then raises: no stand-in gets past it.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from runtime.errors import ScenarioError
from scenarios.quantities import Quantity
from scenarios.toml_lines import KeyPath, key_lines

T = TypeVar("T")

_MISSING = object()
_ABSENT = object()
_SYNTAX_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 40
_DEEPEST = 64
"""More nesting than anyone writes, and less than any JSON library minds."""


class Document:
    """One parsed file and the problems found in it so far.

    Raises ScenarioError at once when the text is not TOML.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.problems: list[tuple[int, str]] = []
        try:
            self._values: Mapping[str, Any] = tomllib.loads(text)
            self._lines: Mapping[KeyPath, int] = key_lines(text)
            leaves = list(_walk((), self._values))
            deepest = max(map(len, self._lines))
        except RecursionError:
            raise _not_toml(path, 1, "nested too deeply") from None
        except ValueError as error:
            what = str(error)
            place = _SYNTAX_LINE.search(what)
            line = int(place[1]) if place else text.count("\n") + 1
            raise _not_toml(path, line, _SYNTAX_LINE.sub(r" at column \2", what)) from error
        if deepest > _DEEPEST:
            raise _not_toml(path, 1, "nested too deeply")
        for key, value in leaves:
            # TOML promises no more, and larger ones cannot be shown or stored everywhere.
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                self.problem(key, "an integer must fit into 64 bits")
        self.check()

    def root(self) -> Table:
        """The file's own table."""
        return Table(self, (), self._values)

    def problem(self, key: KeyPath, what: str) -> None:
        """Note a problem at a key; where the key itself is missing, at its nearest parent."""
        place = key
        while place not in self._lines:
            place = place[:-1]
        line = self._lines[place]
        name = f"{dotted(key)}: " if key else ""
        self.problems.append((line, f"{self.path}:{line}: {name}{what}"))

    def check(self) -> None:
        """Raise ScenarioError with all problems, in order of line, when there are any."""
        if self.problems:
            self.problems.sort(key=lambda problem: problem[0])
            raise ScenarioError(tuple(text for _, text in self.problems), where=str(self.path))


class Table:
    """One table of a document. Keys that nobody asked for are unknown."""

    def __init__(self, document: Document, key: KeyPath, values: Mapping[str, Any]) -> None:
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
        for key, value in _walk(table.key, table.values):
            if isinstance(value, float) and not math.isfinite(value):
                self.document.problem(key, f"{value} does not exist in JSON")
            elif not isinstance(value, dict | list | str | int | float):
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
        case bool():
            return str(value).lower()
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


def _walk(key: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk((*key, name), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk((*key, index), inner)
    else:
        yield key, value


def _not_toml(path: Path, line: int, what: str) -> ScenarioError:
    return ScenarioError((f"{path}:{line}: not TOML: {what}",), where=str(path))
