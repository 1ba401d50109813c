"""Whether the execution that was sent last has ended, as the spools of the flow's steps tell.

For a closed loop. The spools are files that the workers append to, so that nothing of this crosses
the broker, and an execution that fails or ends early is seen to end as well as one that goes
through.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import InputError
from runtime.spans import EMIT, HEADER, OK, PROCESS, REBOUND, RECORD, Span, decode

_READ_BYTES = 64 * 1024


class Tail:
    """Follows one spool. Looking at it costs two microseconds while there is nothing new."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"the spool of a step cannot be followed: {error.strerror}",
                where=str(path),
                remedy="A closed loop needs the spools of all steps of a flow that is running",
            ) from error
        self._offset = HEADER.size

    def new_spans(self) -> list[Span]:
        """Whole records added since the last call. A damaged one is left to whoever reads all."""
        found: list[Span] = []
        while True:
            data = os.pread(self._fd, _READ_BYTES, self._offset)
            whole = len(data) // RECORD.size * RECORD.size
            self._offset += whole
            for start in range(0, whole, RECORD.size):
                try:
                    found.append(decode(data[start : start + RECORD.size]))
                except ValueError:
                    continue
            if whole < _READ_BYTES - RECORD.size:
                return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Executions:
    """Follows one execution at a time, from its SEND until no message of it is under way."""

    def __init__(self, spools: Sequence[Path]) -> None:
        self._tails: list[Tail] = []
        try:
            for path in spools:
                self._tails.append(Tail(path))
        except InputError:
            self.close()
            raise
        self._trace = 0
        self._refused = False
        self._there: set[int] = set()
        self._done: set[int] = set()
        self._expected = 0

    def sent(self, trace: int, message: int) -> None:
        """Follow this execution from now on."""
        self._trace = trace
        self._refused = False
        self._there = {message}
        self._done = set()
        self._expected = 1

    def refused(self, trace: int) -> None:
        """The broker did not take an execution's first message: it has ended."""
        self._refused = self._refused or trace == self._trace

    def have_ended(self) -> bool:
        """Whether every message of the execution is done with, those included that came of it.

        A step writes what it handled and what it emitted together, but the next step may be faster:
        so messages are matched by their ids, and their number by what the handled ones say.
        """
        for tail in self._tails:
            for span in tail.new_spans():
                if span.trace != self._trace:
                    continue
                if span.kind == PROCESS and span.outcome != REBOUND:
                    self._done.add(span.message)
                    self._expected += span.aux
                elif span.kind == EMIT and span.outcome == OK:
                    self._there.add(span.message)
        if self._refused:
            return True
        return len(self._there) == self._expected and self._there <= self._done

    def close(self) -> None:
        """Let the files go."""
        for tail in self._tails:
            tail.close()
        self._tails.clear()
