"""Claims that are decided by a figure: its interval over starts against a limit or a band."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from reports import measures, resources
from reports.break_even import balances
from reports.cells import Cell
from reports.evidence import Evidence
from reports.render.numbers import size
from reports.stats import MIN_STARTS, Estimate, Samples, can_give, mean, needed, quantiles
from reports.sums import OPEN, additivity
from reports.verdict import (
    Decision,
    Verdict,
    all_of,
    decide,
    describe,
    describe_one,
    number,
    resting_on,
    side,
    undecided,
    why_open,
)
from reports.warmup import warm_up
from scenarios.model import Claim

NO_TARGET = "the claim has no limit"


def execution_s(claim: Claim, evidence: Evidence) -> Decision:
    """Mean end-to-end of an execution, in seconds, and where the time goes."""

    def seconds(cell: Cell) -> Estimate | None:
        return mean(_scaled(cell.samples(measures.end_to_end), 1e-3), evidence.bootstrap)

    def parts(cell: Cell) -> str:
        inside = mean(cell.samples(measures.component), evidence.bootstrap)
        if inside is None:
            return ""
        return (
            f"of it {describe(inside, 'ms')} inside the components, the rest starting and stopping "
            f"{cell.containers} containers"
        )

    return _worst_cell(claim, evidence, seconds, "mean execution", parts)


def hop_mean_ms(claim: Claim, evidence: Evidence) -> Decision:
    """Mean of all hops between containers, warm."""
    return _worst_cell(
        claim, evidence,
        lambda cell: mean(cell.samples(measures.hops), evidence.bootstrap), "mean hop",
    )  # fmt: skip


def end_to_end_ms(claim: Claim, evidence: Evidence) -> Decision:
    """A quantile of warm end-to-end times."""
    p = float(claim.parameters.get("quantile", 0.99))
    cells = evidence.cells[claim.scenario]
    counts = [cell.samples(measures.end_to_end).count for cell in cells]
    short = [count for count in counts if not can_give(count, p)]
    if short:
        return undecided(
            f"p{100 * p:g} cannot be given from {min(short)} warm messages; {needed(p)} are needed"
        )
    return _worst_cell(
        claim, evidence,
        lambda cell: quantiles(cell.samples(measures.end_to_end), (p,), evidence.bootstrap)[0],
        f"p{100 * p:g} of end-to-end",
    )  # fmt: skip


def warm_up_s(claim: Claim, evidence: Evidence) -> Decision:
    """Mean time from a flow's start to the first message handled by its last step, in seconds."""

    def seconds(cell: Cell) -> Estimate | None:
        return mean(_scaled(warm_up(cell).total_ms, 1e-3), evidence.bootstrap)

    def cold(cell: Cell) -> str:
        first = mean(cell.samples(measures.end_to_end, cold=True), evidence.bootstrap)
        rest = mean(cell.samples(measures.end_to_end), evidence.bootstrap)
        if first is None or rest is None:
            return ""
        return (
            f"the first message took {describe(first, 'ms')}, the later ones {describe(rest, 'ms')}"
        )

    return _worst_cell(claim, evidence, seconds, "mean warm-up", cold)


def warm_end_to_end_max_ms(claim: Claim, evidence: Evidence) -> Decision:
    """The slowest warm execution: every one must be on the good side of the limit."""
    target = claim.target
    if target is None:
        return undecided(NO_TARGET)
    warm = [cell.samples(measures.end_to_end) for cell in evidence.cells[claim.scenario]]
    values = np.sort(np.concatenate([samples.values for samples in warm]))
    if not values.size:
        return undecided("no warm execution was measured")
    slowest = float(values[-1])
    over = int((values > target.limit).sum())
    starts = min(samples.starts for samples in warm)
    (p99,) = quantiles(warm[0], (0.99,), evidence.bootstrap) if len(warm) == 1 else (None,)
    tail = f"p99 {describe(p99, 'ms')}" if p99 else f"p99 needs {needed(0.99)} messages"
    seen = describe_one(slowest, "ms", starts=starts, messages=values.size)
    reason = f"slowest warm execution {seen}; {tail}"
    if over:
        return Decision(
            Verdict.MISSED, f"{over} warm executions were over the limit; {reason}",
            slowest, slowest, slowest, starts, values.size,
        )  # fmt: skip
    enough = starts >= MIN_STARTS
    return Decision(
        Verdict.MET if enough else Verdict.UNDECIDED,
        reason if enough else f"{reason}; {MIN_STARTS} starts are needed",
        slowest, slowest, slowest, starts, values.size,
    )  # fmt: skip


def overhead_per_hop_ms(claim: Claim, evidence: Evidence) -> Decision:
    """Overhead between containers over N - 1, for every N; and whether one cost speaks for all."""
    target = claim.target
    if target is None:
        return undecided(NO_TARGET)
    shares: dict[int, Estimate] = {}
    for cell in evidence.cells[claim.scenario]:
        hops = cell.containers - 1
        found = mean(
            _scaled(cell.samples(measures.overhead_between), 1 / max(hops, 1)), evidence.bootstrap
        )
        if found is None or hops < 1:
            continue
        shares[cell.containers] = found
    planned = evidence.scenario(claim.scenario)
    lengths = [n for n in (planned.start_cells if planned else ()) if n is not None]
    missing = sorted(set(lengths) - set(shares))
    if not shares or missing:
        return undecided(f"flows of {missing or 'more than one'} containers have no valid start")
    verdict = all_of([side(share, target) for share in shares.values()])
    worst = max(shares.values(), key=lambda share: share.value)
    per_length = ", ".join(f"{n}: {describe(shares[n], 'ms')}" for n in sorted(shares))
    reason = (
        f"overhead per hop by number of containers {per_length}"
        f"{_adding_up(claim, evidence)}{_expected(claim, shares)}"
    )
    if verdict is Verdict.UNDECIDED:
        reason += f"; {why_open(list(shares.values()), target)}"
    return resting_on(worst, verdict, reason)


def execution_band_ms(claim: Claim, evidence: Evidence) -> Decision:
    """Mean execution of every cell whose API time alone lies in the band's reach.

    The band's upper edge decides, as it does for every time that a statement gives as a range:
    being faster is no miss. Where the band is left, on either side, is said in the reason.
    """
    target = claim.target
    if target is None:
        return undecided(NO_TARGET)
    band = _band(claim)
    judged: dict[str, tuple[Estimate, Verdict]] = {}
    outside: dict[str, list[str]] = {"below": [], "above": []}
    for cell in evidence.cells[claim.scenario]:
        found = mean(cell.samples(measures.end_to_end), evidence.bootstrap)
        delay = cell.message_cell.api_delay_ms
        if found is None or delay is None:
            continue
        if band["api_low_ms"] <= delay <= band["api_high_ms"]:
            judged[_cell_words(cell)] = (found, side(found, target))
        if not band["low_ms"] <= found.value <= target.limit:
            edge = "below" if found.value < band["low_ms"] else "above"
            outside[edge].append(f"{_cell_words(cell)}: {describe(found, 'ms')}")
    reach = f"an API time of {number(band['api_low_ms'])} to {number(band['api_high_ms'])} ms"
    if not judged:
        return undecided(f"no cell has {reach}")
    estimates = [found for found, _ in judged.values()]
    met = sum(verdict is Verdict.MET for _, verdict in judged.values())
    reason = f"{met} of {len(judged)} cells with {reach} stay within {number(target.limit)} ms"
    doubtful = [
        f"{name}: {describe(found, 'ms')}"
        for name, (found, verdict) in judged.items()
        if verdict is not Verdict.MET
    ]
    if doubtful:
        reason += f"; not {'; '.join(doubtful)}"
    if outside["above"]:
        reason += f". Above the band: {', '.join(outside['above'])}"
    if outside["below"]:
        reason += (
            f". Faster than the band's {number(band['low_ms'])} ms, since API and flow together "
            f"take less: {', '.join(outside['below'])}"
        )
    slowest = max(estimates, key=lambda estimate: estimate.value)
    verdict = all_of([verdict for _, verdict in judged.values()])
    return resting_on(slowest, verdict, reason)


def break_even_rate(claim: Claim, evidence: Evidence) -> Decision:
    """Up to which arrival rate an ordinary flow costs less: in all resources, the least decides.

    The limit is the lowest rate that is asked about: met where ordinary is cheaper in every
    resource up to a rate above it, missed where a realtime flow is cheaper in one even there.
    """
    target = claim.target
    if target is None:
        return undecided(NO_TARGET)
    names = tuple(str(claim.parameters.get(mode, mode)) for mode in ("ordinary", "realtime"))
    for name in names:
        absence = evidence.absence(name)
        if absence is not None:
            return undecided(absence)
    cells = [evidence.cells[name][0] for name in names]
    found: list[Estimate] = []
    words, lacking = [], []
    for one in balances(cells[0], cells[1], evidence.bootstrap):
        what = _words(one.kind)
        if one.always:
            words.append(f"{what} at any rate")
        elif one.per_minute is None:
            lacking.append(what)
        else:
            found.append(one.per_minute)
            words.append(f"{what} up to {describe(one.per_minute, target.unit)}")
    reason = f"by arrival rate, an ordinary message costs less in {'; '.join(words) or 'nothing'}"
    if lacking:
        return undecided(f"no break-even is known of {' and '.join(lacking)}; {reason}")
    if not found:
        return Decision(Verdict.MET, reason)
    least = min(found, key=lambda estimate: estimate.value)
    verdict = all_of([side(estimate, target) for estimate in found])
    if verdict is Verdict.UNDECIDED:
        reason += f"; {why_open(found, target)}"
    return resting_on(least, verdict, reason)


def _worst_cell(
    claim: Claim,
    evidence: Evidence,
    figure: Callable[[Cell], Estimate | None],
    what: str,
    more: Callable[[Cell], str] = lambda _: "",
) -> Decision:
    """Decide by every cell of the scenario; the reason speaks of the worst."""
    target = claim.target
    if target is None:
        return undecided(NO_TARGET)
    cells = evidence.cells[claim.scenario]
    figures = [(cell, figure(cell)) for cell in cells]
    known = [(cell, estimate) for cell, estimate in figures if estimate is not None]
    if len(known) < len(cells) or not known:
        return undecided(f"{what} was not measured in every cell")
    sign = 1 if target.upper else -1
    cell, worst = max(known, key=lambda pair: sign * pair[1].value)
    name = what if len(known) == 1 else f"{what} of the worst cell ({cell.name()})"
    decision = decide(worst, target, name, more(cell))
    verdict = all_of([side(estimate, target) for _, estimate in known])
    return replace(decision, verdict=verdict)


def _scaled(samples: Samples, factor: float) -> Samples:
    return replace(samples, values=samples.values * factor)


def _adding_up(claim: Claim, evidence: Evidence) -> str:
    """Whether one cost a hop speaks for every hop and length, in words; '' for a single hop."""
    found = additivity(evidence.cells[claim.scenario], evidence.bootstrap)
    if found is None:
        return ""
    verdict = found["verdict"]
    lead = f"whether hop means add up is {verdict}" if verdict == OPEN else f"hop means {verdict}"
    return f"; {lead}: {found['words']}"


def _expected(claim: Claim, shares: dict[int, Estimate]) -> str:
    containers, expected = (
        claim.parameters.get("containers"), claim.parameters.get("expected_ms"),
    )  # fmt: skip
    if containers not in shares or expected is None:
        return ""
    hops, share = containers - 1, shares[containers]
    low, high = (None if end is None else hops * end for end in (share.low, share.high))
    whole = replace(share, value=hops * share.value, low=low, high=high)
    return (
        f"; {containers} containers: {describe(whole, 'ms')}, "
        f"where the platform says {number(float(expected))} ms"
    )


def _cell_words(cell: Cell) -> str:
    """A cell by what varies in the sweep."""
    return f"{size(cell.message_cell.payload_bytes)}, API {cell.message_cell.api_delay_ms:g} ms"


def _band(claim: Claim) -> dict[str, float]:
    """The band's lower edge and the API times that are judged, in ms."""
    defaults = {"low_ms": 100.0, "api_low_ms": 80.0, "api_high_ms": 350.0}
    return {key: float(claim.parameters.get(key, value)) for key, value in defaults.items()}


def _words(kind: str) -> str:
    return {
        resources.CONTAINER: "container-seconds",
        resources.CPU: "CPU-seconds",
        resources.MB: "MB-seconds",
    }.get(kind, kind)
