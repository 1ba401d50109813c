"""Holds the benchmarks' figures against their limits: ``python -m bench.micro.check RESULTS.json``.

Exit codes as those of the gate: 0 nothing missed, 1 a limit missed, 2 nothing was measured or the
data cannot be read, 3 undecided where ``--strict``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import FormatError, HopbenchError, InputError, MeasurementError

LIMITS = Path(__file__).with_name("limits.toml")
UNITS = {"ratio": "x", "median_us": "us", "cpu_s": "s", "peak_mb": "MB", "exponent": ""}
FLOOR_SHARE = 0.2
"""Where the floor alone takes more of a limit than this, a median over it says nothing of ours."""
MET, MISSED, UNDECIDED = "met", "missed", "undecided"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a benchmark's metric may be.

    One that does not gate is an aim that has not been reached yet: a miss is printed as one, and
    fails nothing.
    """

    benchmark: str
    metric: str
    most: float
    gates: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a limit is met, and what was measured."""

    limit: Limit
    verdict: str
    measured: str


def read_limits(path: Path = LIMITS) -> tuple[Limit, ...]:
    """The limits of a file. Raises InputError for a metric that does not exist."""
    limits = tuple(Limit(**entry) for entry in tomllib.loads(path.read_text())["limit"])
    for limit in limits:
        if limit.metric not in UNITS:
            raise InputError(
                f"there is no metric {limit.metric!r}",
                where=f"{path.name}, {limit.benchmark}",
                remedy=f"Use one of {', '.join(UNITS)}",
            )
    return limits


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Benchmark name -> its entry; one that has parts is ``NAME[PART]``, too.

    Raises FormatError, or MeasurementError when there are none.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        results = {entry["name"]: entry for entry in entries}
        for name, entry in list(results.items()):
            for part, info in entry["extra_info"].get("parts", {}).items():
                results[f"{name}[{part}]"] = {**entry, "extra_info": info}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"no results of pytest-benchmark: {type(error).__name__}: {error}",
            where=str(path),
            remedy="Write it with `pytest bench/micro --benchmark-json FILE`",
        ) from error
    if not results:
        raise MeasurementError("nothing was measured", where=str(path))
    return results


def judge(limit: Limit, results: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """Hold one limit against the results."""
    result = results.get(limit.benchmark)
    if result is None:
        return Verdict(limit, UNDECIDED, "not measured")
    info = result["extra_info"]
    if limit.metric == "median_us":
        return _median(limit, result["stats"]["median"] * 1e6, info.get("floor_us"))
    if limit.metric != "ratio":
        value = float(info[limit.metric])
        measured = f"{value:.4g} {UNITS[limit.metric]}".strip()
        return Verdict(limit, MET if value <= limit.most else MISSED, measured)
    low, high = info["ratio_low"], info["ratio_high"]
    measured = f"{info['ratio']:.2f} x [{low:.2f}, {high:.2f}]"
    if high <= limit.most:
        return Verdict(limit, MET, measured)
    return Verdict(limit, MISSED if low > limit.most else UNDECIDED, measured)


def _median(limit: Limit, value_us: float, floor_us: float | None) -> Verdict:
    """A median against its limit; undecided where the machine's own part is no longer small."""
    measured = f"{value_us:.2f} us"
    if floor_us is not None:
        measured += f" (floor {floor_us:.1f} us)"
    if value_us <= limit.most:
        return Verdict(limit, MET, measured)
    hidden = floor_us is not None and floor_us > limit.most * FLOOR_SHARE
    return Verdict(limit, UNDECIDED if hidden else MISSED, measured)


def exit_code(verdicts: Sequence[Verdict], *, strict: bool) -> int:
    """What the verdicts come to."""
    seen = {verdict.verdict for verdict in verdicts if verdict.limit.gates}
    if MISSED in seen:
        return 1
    return 3 if strict and UNDECIDED in seen else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each limit; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro.check", description=__doc__)
    parser.add_argument("results", type=Path, help="what pytest --benchmark-json wrote")
    parser.add_argument("--strict", action="store_true", help="exit 3 where a limit is undecided")
    options = parser.parse_args(arguments)
    try:
        results = read_results(options.results)
        verdicts = [judge(limit, results) for limit in read_limits()]
    except HopbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for verdict in verdicts:
        limit = verdict.limit
        aim = "" if limit.gates else " (an aim)"
        print(
            f"{verdict.verdict:10} {limit.benchmark:32} {limit.metric:10} {verdict.measured:24} "
            f"{f'at most {limit.most:g} {UNITS[limit.metric]}'.rstrip()}{aim}"
        )
    missed = [one for one in verdicts if one.verdict == MISSED and one.limit.gates]
    named = ", ".join(f"{one.limit.benchmark} {one.limit.metric}" for one in missed)
    print(f"{len(missed)} of {len(verdicts)} limits missed{': ' if missed else ''}{named}")
    return exit_code(verdicts, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
