"""Finds the line of every key and array element of a TOML text, which the parser does not tell.

The text must have been parsed already: the scanner relies on it being valid and checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

from runtime.document import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line numbers, from 1, by path. The root ``()`` is line 1.

    A table's line is where it is first named, an array element's where it begins.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {(): 1}
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.tables: dict[KeyPath, int] = {}
        """How many elements each array of tables has so far."""

    def document(self) -> None:
        table: KeyPath = ()
        while self.blank() < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self.header(2)
            elif self.text[self.at] == "[":
                table = self.header(1)
            else:
                self.pair(table)

    def header(self, brackets: int) -> KeyPath:
        """``[table]`` or ``[[element]]``; returns the path that the pairs after it belong to."""
        self.at += brackets
        keys = self.keys()
        path: KeyPath = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            self.note(path)
            if brackets == 2 and index == len(keys) - 1:
                self.tables[path] = self.tables.get(path, 0) + 1
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
                self.note(path)
        self.blank()
        self.at += brackets
        return path

    def pair(self, table: KeyPath) -> None:
        path = table
        for key in self.keys():
            path = (*path, key)
            self.note(path)
        self.blank()
        self.at += 1  # the equals sign
        self.value(path)

    def value(self, path: KeyPath) -> None:
        self.blank()
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self.array(path)
        elif opening == "{":
            self.inline_table(path)
        elif opening in {'"', "'"}:
            self.take(_STRING)
        else:
            self.take(_PLAIN)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        self.blank()
        while self.text[self.at] != "]":
            self.note((*path, index))
            self.value((*path, index))
            index += 1
            self.separator()
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.blank()
        while self.text[self.at] != "}":
            self.pair(path)
            self.separator()
        self.at += 1

    def separator(self) -> None:
        self.blank()
        if self.text[self.at] == ",":
            self.at += 1
            self.blank()

    def keys(self) -> list[str]:
        """A key, dotted or not; quoted parts are unquoted."""
        found: list[str] = []
        self.blank()
        while True:
            key = self.take(_KEY)
            if key[0] in {'"', "'"}:
                key = tomllib.loads(f"k = {key}")["k"]
            found.append(key)
            if not self.take(_DOT):
                return found

    def blank(self) -> int:
        """Skip white space and comments; returns where that ends."""
        self.take(_BLANK)
        return self.at

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match.group()

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, bisect_right(self.newlines, self.at - 1) + 1)
