"""The HTML report: one page that needs nothing but itself, a pure function of the results."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import figures
from reports.render import (
    anatomy,
    balance,
    certificate,
    events,
    flow,
    leads,
    machine,
    marks,
    numbers,
    precision,
    queues,
    sensitivity,
    timeline,
    views,
    waterfall,
)
from reports.render.views import Found, Results

_TEMPLATES = Path(__file__).parent / "templates"


def render_html(results: Mapping[str, Any]) -> str:
    """The page for ``results`` (``results.json``, format 1). Same input, same bytes."""
    realtime = views.main_cell(results, "realtime")
    ordinary = views.main_cell(results, "ordinary")
    context = {
        "results": results,
        "environment": results.get("environment") or {},
        "counts": results.get("counts") or {},
        "problems": [str(problem) for problem in results.get("problems") or ()],
        "status": str(results.get("status") or "of unknown status"),
        "headline": views.headline(results),
        "when": views.when(results.get("environment") or {}),
        "claims": views.claim_rows(results),
        "verdicts": views.verdict_counts(results.get("claims") or ()),
        "realtime": realtime,
        "ordinary": ordinary,
        "flow": _flow(results, realtime),
        "distributions": _distributions(results, realtime, ordinary),
        "warm_up": _warm_up(results),
        "modes": _modes(results, realtime, ordinary),
        "anatomy": anatomy.view(realtime),
        "additivity": anatomy.additivity(results),
        "queues": queues.view(results),
        "sensitivity": sensitivity.maps(results),
        "events": events.view(results),
        "length": _length(results),
        "volume": _volume(results),
        "scenarios": _scenarios(results),
        "damaged": list(results.get("damaged") or ()),
        "floor": results.get("floor") or {},
        "floor_lead": leads.floor(results),
        "floor_rows": machine.floor_rows(results),
        "floor_moved": views.floor_moved(results),
        "moved": leads.moved(results.get("floor") or {}),
        "multiples": machine.multiples(results),
        "precision": precision.view(results.get("precision")),
        "integrity": machine.integrity_rows(results),
        "meter": certificate.section(results),
        "counted_names": machine.COUNTS,
    }
    return _environment().get_template("report.html").render(context)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    environment.globals.update(
        style=Markup(style),  # noqa: S704 - a file of this package
        fig=marks.fig,
        of=marks.of,
        rests=marks.rests,
        note=marks.note,
        other=marks.other,
        count=marks.count,
        limit=marks.limit,
        times=numbers.times,
        of_stat=numbers.of_stat,
        of_value=numbers.of_value,
        quantity=numbers.quantity,
        number=numbers.number,
        counted=numbers.counted,
        size=numbers.size,
    )
    return environment


def _noun(results: Results) -> str:
    isolates = (results.get("environment") or {}).get("isolates")
    return "process" if isolates is False else "container"


def _flow(results: Results, found: Found | None) -> dict[str, Any]:
    view: dict[str, Any] = {
        "lead": leads.flow(results, found), "wide": "", "narrow": "", "caption": "",
    }  # fmt: skip
    if found is not None and found.steps:
        noun = _noun(results)
        view["narrow"] = flow.narrow(found.cell, found.steps, noun)
        if len(found.steps) <= 3:
            view["wide"] = flow.wide(found.cell, found.steps, noun)
        view["caption"] = flow.caption(found.cell)
    return view


def _distributions(
    results: Results, realtime: Found | None, ordinary: Found | None
) -> list[dict[str, Any]]:
    drawn = []
    for mode, found in (("Realtime", realtime), ("Ordinary", ordinary)):
        if found is None:
            continue
        histogram = found.cell.get("histogram") or {}
        rows = views.strip_rows(found.cell)
        limits = views.limits(results, mode.lower(), len(found.steps))
        whole = found.cell.get("end_to_end") or {}
        plots = (
            {
                name: figures.distribution(
                    histogram,
                    whole,
                    rows,
                    limits,
                    width=width,
                    key=f"distribution-{mode.lower()}-{name}",
                )
                for name, width in (("wide", 1000.0), ("narrow", 340.0))
            }
            if rows
            else {"wide": "", "narrow": ""}
        )
        drawn.append({"mode": mode, "found": found, "lead": leads.distribution(found), **plots})
    return drawn


def _warm_up(results: Results) -> dict[str, Any]:
    found = views.main_cell(results, "realtime", "warmup")
    figures_ = (found.cell.get("warm_up") or {}) if found else {}
    view: dict[str, Any] = {
        "found": found, "lead": leads.warm_up(found), "wide": "", "narrow": "", "caption": "",
        "owners": waterfall.OWNERS,
    }  # fmt: skip
    if waterfall.bars(figures_.get("phases") or ()):
        view["wide"] = waterfall.waterfall(figures_, width=waterfall.WIDE)
        view["narrow"] = waterfall.waterfall(figures_, width=waterfall.NARROW)
        view["caption"] = waterfall.caption(figures_)
    return view


def _modes(results: Results, realtime: Found | None, ordinary: Found | None) -> dict[str, Any]:
    executions = list((results.get("timeline") or {}).values())
    runs = timeline.lives(executions[0] or ()) if executions else []
    mean = numbers.of_stat(realtime.cell.get("end_to_end") if realtime else None)
    mean_ms = (realtime.cell.get("end_to_end") or {}).get("mean") if realtime else None
    parts = timeline.segments(realtime.cell, realtime.steps) if realtime else []
    view: dict[str, Any] = {
        "lead": leads.modes(results, ordinary, realtime),
        "stages": timeline.STAGES if runs else (),
        "wide": "",
        "narrow": "",
    }
    if runs or mean_ms is not None:
        for name, width in (("wide", timeline.WIDE), ("narrow", timeline.NARROW)):
            view[name] = timeline.timeline(runs, (mean_ms, mean), parts, width=width)
    view["caption"] = timeline.caption(mean, parts)
    view["resources"] = views.resource_rows(
        results, realtime.cell if realtime else None, ordinary.cell if ordinary else None
    )
    view["break_even"] = events.break_even(results)
    view["balance"] = {
        "shown": [numbers.of_value(r.get("per_minute")) for r in results.get("break_even") or ()],
        "wide": balance.balance(results, width=balance.WIDE),
        "narrow": balance.balance(results, width=balance.NARROW),
    }
    view["measured"] = realtime is not None or ordinary is not None
    view["claim"] = views.claim(results, "S8")
    return view


def _length(results: Results) -> dict[str, Any]:
    name, points = views.length_points(results)
    plots = (
        {
            key: figures.overhead_by_length(
                [p for _, p in points], width=width, key=f"length-{key}"
            )
            for key, width in (("wide", 1000.0), ("narrow", 340.0))
        }
        if points
        else {"wide": "", "narrow": ""}
    )
    return {"name": name, "points": points, "lead": leads.length(points), **plots}


def _volume(results: Results) -> dict[str, Any]:
    grid = views.volume_map(results)
    return {"map": grid, "lead": leads.volume(grid)}


def _scenarios(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "anchor": views.anchor(name),
            "title": scenario.get("title") or "",
            "flow_type": scenario.get("flow_type") or "",
            "steps": list(scenario.get("steps") or ()),
            "cells": [
                {
                    "name": views.cell_name(cell),
                    "cell": cell,
                    "measures": views.measures(cell),
                    "resources": views.resource_figures(cell),
                }
                for cell in scenario.get("cells") or ()
            ],
        }
        for name, scenario in (results.get("figures") or {}).items()
    ]
