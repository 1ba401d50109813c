"""Splits a batch: one message with a CSV text becomes one message per row, or per ``rows`` rows.

Configuration: ``field`` ("csv"), the body's member that has the text, whose first line names the
columns; ``delimiter`` (","); ``rows`` (1) in each message. A message has ``rows``, each of them an
object by column, and ``part`` (from 1) of ``parts``; what else the body has goes along with each.
"""

from __future__ import annotations

import csv
import io
from typing import Any

# Python's own limit for one value is 128 KiB; a message may be larger.
csv.field_size_limit(10 * 1024 * 1024)


def init(cfg: dict[str, Any]) -> None:
    """Raises ValueError where the configuration makes no sense."""
    rows = cfg.get("rows", 1)
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise ValueError(f"rows is {rows!r}, not a whole number from 1")
    csv.reader((), delimiter=cfg.get("delimiter", ","))


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Any
) -> None:
    """Emit every part. Raises csv.Error or ValueError, before the first one, for broken CSV."""
    field = cfg.get("field", "csv")
    size = cfg.get("rows", 1)
    rows = _rows(msg["body"][field], cfg.get("delimiter", ","))
    rest = {name: value for name, value in msg["body"].items() if name != field}
    parts = -(-len(rows) // size)
    for part in range(parts):
        own = {"rows": rows[part * size : (part + 1) * size], "part": part + 1, "parts": parts}
        context.emit("data", {"body": {**rest, **own}})


def _rows(text: str, delimiter: str) -> list[dict[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = next(reader, [])
    rows = []
    for values in reader:
        if values and len(values) != len(columns):
            raise ValueError(
                f"line {reader.line_num} has {len(values)} values, the first {len(columns)}"
            )
        if values:
            rows.append(dict(zip(columns, values, strict=True)))
    return rows
