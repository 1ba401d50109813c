"""Reads cron lines; the one module that knows the library which does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

FIELDS = "minute hour day-of-month month day-of-week, with seconds before them where wanted"
_LONGEST = 200
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001  # without a zone: only whether an instant comes


def cron_problem(line: str) -> str:
    """What is wrong with a cron line; empty when it names instants that come."""
    if len(line) > _LONGEST:
        return f"longer than {_LONGEST} characters"
    try:
        next(CronSim(line, _ANY_DAY))
    except CronSimError as error:
        what = str(error)
        return f"{what[:1].lower()}{what[1:]}; write {FIELDS}"
    except StopIteration:
        return "no such day comes within 50 years"
    return ""


def cron_instants(line: str, after: datetime) -> Iterator[datetime]:
    """The instants, in UTC, that a sound cron line names after another, in that one's time zone.

    A line of five fields with a certain hour and minute is ticked once a day also when clocks are
    changed: what the change skips comes right after it, what it repeats comes once.
    """
    for instant in CronSim(line, after):
        yield instant.astimezone(UTC)
