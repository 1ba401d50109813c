"""The platform's answers as people read them on a terminal: tables, and short sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Answer = Mapping[str, Any]
_SHORT = 12


def revisions(entries: Sequence[Answer]) -> None:
    """What was deployed."""
    for one in entries:
        note = "" if one["is_new"] else " (its content is not new)"
        _say(f"{one['component']} revision {one['number']}, {one['digest'][:_SHORT]}{note}")


def draft(answer: Answer) -> None:
    """A draft that was saved."""
    _say(f"{answer['flow']}: draft saved, with {_pins(answer)}")


def version(answer: Answer) -> None:
    """A version that was published."""
    _say(f"{answer['flow']}: version {answer['number']} published, with {_pins(answer)}")


def state(answer: Answer) -> None:
    """What an operation has led to."""
    _say(f"{answer['name']}: {answer['flow_type']}, {answer['state']}")


def retried(answer: Answer) -> None:
    """How many messages were published again."""
    count = answer["retried"]
    _say(f"{count} message{'' if count == 1 else 's'} published again")


def log(answer: Answer) -> None:
    """A step's log."""
    _say(answer["text"].rstrip("\n") or "nothing was written")


def flows(answers: Sequence[Answer]) -> None:
    """All flows, one a line."""
    if not answers:
        _say("there are no flows; save a draft of one")
        return
    _table(
        ("flow", "type", "state", "running", "published", "draft", "reason"),
        [
            (
                *(one["name"], one["flow_type"], one["state"], one["running"], one["published"]),
                *("yes" if one["has_draft"] else "no", one["reason"]),
            )
            for one in answers
        ],
    )


def flow(answer: Answer) -> None:
    """One flow and its steps."""
    flows([answer])
    if answer["steps"]:
        _table(
            ("step", "component", "revision", "state", "containers", "restarts", "error"),
            [
                (
                    *(one["id"], one["component"], one["revision"][:_SHORT], one["state"]),
                    *(len(one["containers"]), one["restarts"], one["error"]),
                )
                for one in answer["steps"]
            ],
        )


def errors(answers: Sequence[Answer]) -> None:
    """What went wrong with messages."""
    if not answers:
        _say("no errors")
        return
    _table(
        ("number", "step", "error", "failed at", "message"),
        [
            (one["id"], one["step"], one["error"], one["failed_at"], _message(one))
            for one in answers
        ],
    )


def more(last: int) -> None:
    """That a page of errors is full."""
    _say(f"for those that may come after them: --after {last}")


def queues(answers: Sequence[Answer]) -> None:
    """How full queues are."""
    if not answers:
        _say("no queues: the flow is stopped")
        return
    columns = [name for name in answers[0] if name != "step"]
    _table(
        ("step", *columns),
        [(one["step"], *(one[name] for name in columns)) for one in answers],
    )


def ticks(answer: Answer | None) -> None:
    """What became of calls by clock."""
    if answer is None:
        _say("no ticks: no clock calls the flow, or it is not up")
        return
    late_ns = sorted(answer["late_ns"])
    median = f"{late_ns[len(late_ns) // 2] / 1e6:.1f} ms" if late_ns else None
    _table(
        ("ticks", "missed", "failed", "late (median)", "last error"),
        [(answer["ticks"], answer["missed"], answer["failed"], median, answer["error"])],
    )


def history(answers: Sequence[Answer]) -> None:
    """What was done."""
    if not answers:
        _say("nothing was done yet")
        return
    _table(
        ("begun at", "flow", "operation", "detail", "outcome", "error"),
        [
            (
                *(one["begun_at"], one["flow"], one["operation"], one["detail"]),
                *(one["outcome"] or "not ended", one["error"]),
            )
            for one in answers
        ],
    )


def _pins(answer: Answer) -> str:
    return ", ".join(f"{pin['component']} {pin['number']}" for pin in answer["pins"])


def _message(failure: Answer) -> str:
    if failure["message_bytes"] is None:
        return "none"
    cut = "" if failure["is_whole"] else ", cut"
    return f"{failure['message_bytes']} B{cut}"


def _say(text: str) -> None:
    # What comes from components goes to the terminal as text, and not as its commands.
    _console().print(Text(_printable(text)), soft_wrap=True)


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable("-" if cell is None else str(cell))) for cell in row))
    _console().print(table)


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        # A program reads it, or a person later: lines are not to be broken for a width of 80.
        console.width = 1000
    return console
