"""Numbers as elements of the page: each says whether it is a measured figure, or what else it is.

A figure's element carries what it rests on; the words for it stand in the element itself or in the
scope around it (``data-scope``: a row, a table, a drawing, a sentence), so that a page need not
repeat them with every number. A test walks the whole page and finds any number that is neither.
"""

from __future__ import annotations

from markupsafe import Markup, escape

from reports.render.numbers import NO_INTERVAL, Reading, absent, counted, quantity

KINDS = ("count", "limit", "tick", "name", "fact", "date", "prose", "size", "setting")
"""What a number can be that is no figure; ``prose`` is text that was composed elsewhere."""


def fig(shown: Reading, *, of: bool = False, inline: bool = False) -> Markup:
    """A figure with its interval below it (``inline``: behind it), and what it rests on if asked.

    Of a single observation the scope says once that it has no interval, by :func:`note`.
    """
    if not shown.given:
        return Markup("<em>{}</em>").format(shown.text)
    bounds = "" if shown.why == "single" else shown.bounds
    parts = [bounds] if bounds else []
    rest = Markup('<span class="of">{}</span>').format(shown.of) if of else Markup("")
    value = Markup("<b>{}</b>").format(shown.text)
    if inline:
        inner = Markup("; ").join([*map(escape, parts), *([rest] if of else [])])
        return _wrapped(shown, Markup("{} ({})").format(value, inner) if inner else value)
    small = Markup("").join(Markup("<small>{}</small>").format(part) for part in parts)
    below = Markup("<small>{}</small>").format(rest) if of else ""
    return _wrapped(shown, Markup("{}{}{}").format(value, small, below))


def _wrapped(shown: Reading, inner: Markup) -> Markup:
    # Unquoted: a page has thousands of them, and a key or a short name needs no quotes.
    why = Markup(" data-why={}").format(shown.why) if shown.why and not shown.interval else ""
    return Markup("<span data-of={}{}>{}</span>").format(shown.key, why, inner)


def of(shown: Reading | str) -> Markup:
    """What the figures of a scope rest on."""
    return Markup('<span class="of">{}</span>').format(
        shown if isinstance(shown, str) else shown.of
    )


def rests(*shown: Reading) -> Markup:
    """What several figures rest on, each different one named once."""
    different = list(dict.fromkeys(one.of for one in shown if one.given))
    return Markup(" or ").join(of(one) for one in different)


def note(why: str) -> Markup:
    """Says for a scope why figures in it have no interval."""
    return Markup('<span data-note="{}">{}</span>').format(why, NO_INTERVAL[why])


def other(kind: str, text: object) -> Markup:
    """A number that is no figure, or a text with such numbers."""
    if kind not in KINDS:
        raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
    return Markup('<span data-kind="{}">{}</span>').format(kind, text)


def count(number: float | None, noun: str) -> Markup:
    """So many of something that was counted."""
    return other("count", counted(number, noun))


def limit(value: float, unit: str) -> Markup:
    """A limit or a target."""
    return other("limit", quantity(value, unit))


def sentence(*parts: str | Reading) -> Markup:
    """Words and figures in a row; what neighbouring figures rest on is said after the last."""
    figures = [part for part in parts if isinstance(part, Reading) and part.given]
    written = []
    for part in parts:
        if isinstance(part, Reading):
            after = figures[figures.index(part) + 1 :] if part.given else []
            repeated = bool(after) and after[0].of == part.of
            shown = fig(part, of=not repeated, inline=True)
            single = part.given and part.why == "single"
            written.append(Markup("{} [{}]").format(shown, note("single")) if single else shown)
        else:
            written.append(escape(part))
    return Markup('<span data-scope="sentence">{}</span>').format(Markup("").join(written))


CONFIDENCE = other("setting", "95\u00a0%")
"""How often an interval is meant to hold the truth."""


def missing(text: str) -> Markup:
    """Words where a figure would stand."""
    return fig(absent(text))
