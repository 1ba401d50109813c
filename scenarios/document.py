"""A parsed TOML file, and every problem found in it, each with its line and key.

:class:`runtime.document.Table` takes the values out and notes what is wrong with them;
:meth:`Document.check` then raises: no stand-in gets past it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.document import DEEPEST, KeyPath, Table, dotted, walk
from runtime.errors import ScenarioError
from scenarios.toml_lines import key_lines

_SYNTAX_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")


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
            leaves = list(walk((), self._values))
            deepest = max(map(len, self._lines))
        except RecursionError:
            raise _not_toml(path, 1, "nested too deeply") from None
        except ValueError as error:
            what = str(error)
            place = _SYNTAX_LINE.search(what)
            line = int(place[1]) if place else text.count("\n") + 1
            raise _not_toml(path, line, _SYNTAX_LINE.sub(r" at column \2", what)) from error
        if deepest > DEEPEST:
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


def _not_toml(path: Path, line: int, what: str) -> ScenarioError:
    return ScenarioError((f"{path}:{line}: not TOML: {what}",), where=str(path))
