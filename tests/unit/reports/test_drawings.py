"""The drawings: every part that was measured is in them, and what was not is left out."""

from __future__ import annotations

from typing import Any

import pytest

from reports import figures
from reports.render import flow, svg, timeline, waterfall
from reports.render.numbers import absent, quantity
from tests.fakes import results as fakes


def realtime() -> dict[str, Any]:
    """The cell of the realtime scenario."""
    cell: dict[str, Any] = fakes.full()["figures"]["realtime"]["cells"][0]
    return cell


def test_svg_escapes_text_and_attributes() -> None:
    """Text becomes neither an element nor the end of an attribute."""
    drawn = svg.element("text", "<b>", x=1.25, class_='"><script>')
    assert str(drawn) == '<text x="1.2" class="&#34;&gt;&lt;script&gt;">&lt;b&gt;</text>'


@pytest.mark.parametrize(("end", "expected"), [(1412.0, [0, 500, 1000]), (0.9, [0, 0.5])])
def test_ticks_are_round(end: float, expected: list[float]) -> None:
    """Ticks fall on 1, 2 or 5 times a power of ten."""
    assert svg.ticks(end, 3) == expected


@pytest.mark.parametrize("draw", [flow.wide, flow.narrow])
def test_flow_names_each_hop_and_part(draw: Any) -> None:
    """Two hops of three parts, three boxes, two queues."""
    drawn = str(draw(realtime(), ["source", "mapper", "action"], "container"))
    assert drawn.count('class="box"') == 3
    assert drawn.count('class="queue"') == 2
    assert [drawn.count(f">{part}<") for part in ("client-out", "transit", "client-in")] == [2] * 3


def test_long_flow_is_drawn_downwards() -> None:
    """Eight boxes one below the other stay within the width of a phone."""
    found = next(c for c in fakes.full()["figures"]["length"]["cells"] if len(c["steps"]) == 8)
    drawn = str(flow.narrow(found, [step["id"] for step in found["steps"]], "container"))
    assert drawn.count('class="box"') == 8
    assert 'viewBox="0 0 340 ' in drawn


def test_hop_without_parts_has_no_bar() -> None:
    """A part that was not measured leaves no gap in a bar: the bar is left out."""
    cell = realtime()
    cell["hops"][0]["transit"]["mean"] = None
    drawn = str(flow.wide(cell, ["source", "mapper", "action"], "container"))
    # The sign in each legend stays; of the bars only the second hop's is there.
    assert drawn.count('class="part-transit"') == 2 + 1


def test_waterfall_shows_every_phase_seen() -> None:
    """Three containers of seven phases; a phase whose end was not seen is left out."""
    warm_up = fakes.full()["figures"]["warmup"]["cells"][0]["warm_up"]
    assert str(waterfall.waterfall(warm_up, width=1000)).count('class="phase ') == 21
    warm_up["phases"][0]["to_ms"] = None
    assert str(waterfall.waterfall(warm_up, width=1000)).count('class="phase ') == 20


def test_container_without_an_end_has_no_life() -> None:
    """An instant that was not seen drops a stage; without begin or end there is no bar at all."""
    seen = {"step": "a", "create_ms": 1.0, "start_ms": 2.0, "consuming_ms": None, "end_ms": 9.0}
    unseen = seen | {"end_ms": None}
    assert timeline.lives([seen, unseen]) == [
        timeline.Life("a", 1.0, (("create", 2.0), ("stop", 9.0)))
    ]


def test_last_tick_stays_in_the_drawing() -> None:
    """A tick at the right edge has its label before it, not cut in half by the edge."""
    drawn = str(
        timeline.timeline(
            [timeline.Life("a", 0.0, (("stop", 401.0),))],
            (None, absent("not measured")),
            (),
            width=1000,
        )
    )
    assert f'text-anchor="end" data-kind="tick">{quantity(400.0, "ms")}</text>' in drawn
    assert f'text-anchor="middle" data-kind="tick">{quantity(300.0, "ms")}</text>' in drawn


def test_histogram_keeps_what_lies_below_zero() -> None:
    """Negative intervals are drawn at the left end of a logarithmic axis, not dropped."""
    shown = {"edges_ms": [-1.0, 0.0, 2.0, 4.0], "counts": [3, 5, 7]}
    drawn = figures.distribution(shown, {}, [], [], width=600, key="k")
    assert figures.usable(shown) == ([1.0, 2.0, 4.0], [8.0, 7.0])
    assert "no histogram" not in drawn


def test_single_execution_is_a_bar() -> None:
    """One duration has no width: it is drawn as a bar around its place."""
    shown = {"edges_ms": [1412.0, 1412.000001], "counts": [1]}
    edges, counts = figures.usable(shown)
    assert edges[0] < 1412.0 < edges[1]
    assert counts == [1.0]
    assert "var(--bar)" in figures.distribution(shown, {}, [], [], width=600, key="k")


def test_plots_follow_the_colours_of_the_page() -> None:
    """No fixed colour is left in a plot, and the same data give the same bytes."""
    points = [figures.Point(n, n - 1.0, n - 1.1, n - 0.9, 15.0 * (n - 1)) for n in (2, 3, 5)]
    first, second = (figures.overhead_by_length(points, width=1000, key="length") for _ in range(2))
    assert first == second
    assert "var(--curve)" in first
    assert "#0" not in first
    assert "<style" not in first
