"""Finds every number of a page or a text that is neither a whole figure nor said to be no figure.

A figure is whole when its unit, its interval (or why it has none) and what it rests on can be read:
in its own element, or in the scope around it. In text that is composed elsewhere (reasons,
problems), a figure has all of this in brackets, and what else is a number stands with a word that
says so: ``limit of 15 ms``, ``trial 3``, ``5 starts``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from reports.render.marks import KINDS
from reports.render.numbers import NO_INTERVAL, key_of

VOID = {"meta", "link", "br", "input", "wbr", "hr"}
N = r"-?\d[\d\u202f]*(?:\.\d+)?(?:e-?\d+)?"
UNIT = (
    r"(?:/min|ns|µs|us|ms/ms|ms|s|\u00d7|x|%|/s|MB·s/s|MB·s|s/s|MB|"
    r"messages(?: a minute| a second)?|cores?|descriptors|threads)"
)
OF = (
    rf"(?:{N} starts?, {N} (?:messages?|executions?)"
    rf"|{N} batch(?:es)?, {N} (?:messages?|sleeps?|round trips?|readings?))"
)
BOUNDS = rf"(?:{N} to {N} {UNIT}(?:, within these starts only)?|{'|'.join(NO_INTERVAL.values())})"
FIGURE = re.compile(rf"(?<![\w.]){N} {UNIT} \({BOUNDS}; {OF}\)")
NOUN = (
    r"(?:step starts|starts?|(?:warm |accepted |planned )?messages?|(?:planned |valid )?trials?|"
    r"(?:different |step )?containers?|cells?|connections?|different ids|different clocks|"
    r"(?:warm )?executions?|flows|(?:span )?records?|intervals|hops|claims|claims met|missed|"
    r"undecided|calls?|events?|times|copies|pass(?:es)?|\u00d7|steps|processes|bytes|mean)"
)
NAMES = re.compile(r"\bp(?:50|90|95|99)s?\b")
"""Quantiles by name."""
BEFORE = (
    r"limit(?: of| is)?|limits of|within|at least|at most|band's|needs|API|API time of|than|"
    r"platform says|side of|allowed|required|beyond|[Bb]etween|take|takes|at"
)
PHRASES = (
    r"(?:^|(?<= ))\S*/\S*",  # a path or an address
    r"\bS\d+\b",
    r"\brevision \d+\b",
    r"\bflow [0-9a-f]{16}\b",
    r"\b(?:trial|execution|hop|step|container|process|format|code|than) \[?\d+(?:, \d+)*\]?",
    rf"\b{N} (?:to {N} )?(?:KiB|MiB|GiB|B)\b",
    rf"\b(?:{BEFORE}) {N}(?: (?:to|and) {N})?(?: ?(?:{UNIT}|a minute|messages?|starts))?",
    rf"\b{N} (?:{UNIT} |starts |messages )?(?:are|is) needed",
    rf"\b{N} starts decide nothing",
    rf"\b{N} % between them\b",  # beyond so much within starts, so much between them
    rf"\bwhere {N} messages a second were due",
    rf"\b{N} (?:of {N} )?{NOUN}(?!\w)",
    rf"\b{N} of {N}\b",
    rf"\b{N}: (?=\u25c6)",
)
OTHERS = [NAMES, *map(re.compile, PHRASES)]
"""What a number in a text may be, by the words around it."""


def loose_in(text: str) -> list[str]:
    """The numbers of a text that are neither part of a whole figure nor of a known phrase."""
    left = " ".join(text.replace("\u202f", "").split())
    left = FIGURE.sub("\u25c6", left)
    for other in OTHERS:
        left = other.sub("\u25c7", left)
    return [
        left[max(0, m.start() - 30) : m.end() + 30] for m in re.finditer(r"\d[\d.]*", left)
    ]  # fmt: skip


@dataclass(slots=True)
class Node:
    """An element with its attributes, and its texts and elements in order."""

    tag: str
    attributes: dict[str, str | None]
    parent: Node | None
    inside: list[Node | str] = field(default_factory=list)

    def text(self) -> str:
        """All text in it, words kept apart where elements end."""
        parts = [one if isinstance(one, str) else one.text() for one in self.inside]
        # A thin space sets thousands apart; it would split a number in two.
        return " ".join(" ".join(parts).replace("\u202f", "").split())

    def every(self) -> list[Node]:
        """It and every element in it."""
        found = [self]
        for one in self.inside:
            if isinstance(one, Node):
                found += one.every()
        return found

    def around(self) -> list[Node]:
        """It and every element around it, from the inside out."""
        return [self, *(self.parent.around() if self.parent else ())]


class Tree(HTMLParser):
    """A page as a tree of nodes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.at = Node("page", {}, None)
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        node = Node(tag, dict(attrs), self.at)
        self.at.inside.append(node)
        if tag not in VOID:
            self.at = node

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        if self.at.parent is not None:
            self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.at.inside.append(data)


def loose_on_page(html: str) -> list[str]:
    """What is wrong with the numbers of a page; empty when each is a whole figure or no figure."""
    root = Tree(html).root
    wrong: list[str] = []
    # What a scope says is looked up for each figure in it: once is enough.
    said = {
        id(scope): Said(
            {key_of(n.text()) for n in scope.every() if n.attributes.get("class") == "of"},
            {n.attributes.get("data-note") for n in scope.every()},
        )
        for scope in root.every()
        if "data-scope" in scope.attributes
    }
    for node in root.every():
        if "data-of" in node.attributes:
            wrong += _lacking(node, said)
        kind = node.attributes.get("data-kind")
        if kind == "prose" or node.tag == "desc":
            wrong += [f"in a text: {found}" for found in loose_in(node.text())]
        elif kind is not None and kind not in KINDS:
            wrong.append(f"unknown kind {kind}")
        wrong += [
            f"bare number: {text.strip()!r} in {node.tag} of {_place(node)}"
            for text in node.inside
            if isinstance(text, str)
            and re.search(r"\d", NAMES.sub("", text))
            and not _accounted(node)
        ]
    return wrong


def _accounted(node: Node) -> bool:
    """Whether a text in this element is part of a figure, or said to be something else."""
    return any(
        bool({"data-of", "data-kind", "data-note"} & set(one.attributes))
        or one.attributes.get("class") == "of"
        or one.tag in {"style", "desc", "head"}
        for one in node.around()
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What a scope says for the figures in it: counts, and why some have no interval."""

    counts: set[str]
    notes: set[str | None]


def _lacking(figure: Node, said: dict[int, Said]) -> list[str]:
    """What a figure's element and the scope around it do not say."""
    text, lacks = figure.text(), []
    if not re.search(rf"{N} (?:{UNIT}|[a-z]+)(?!\w)", text):
        lacks.append("its unit")
    why = figure.attributes.get("data-why")
    scopes = [said[id(one)] for one in figure.around() if id(one) in said]
    if why is None and not re.search(rf"{N} to {N} {UNIT}", text):
        lacks.append("its interval")
    explained = why is None or NO_INTERVAL.get(why, "?") in text
    if not explained and not any(why in scope.notes for scope in scopes):
        lacks.append("why it has no interval")
    if not scopes or figure.attributes["data-of"] not in scopes[0].counts:
        lacks.append("what it rests on")
    return [f"{text!r} in {_place(figure)} lacks {what}" for what in lacks]


def _place(node: Node) -> str:
    return next((str(one.attributes["id"]) for one in node.around() if "id" in one.attributes), "?")
