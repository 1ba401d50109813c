"""The line locator: every key and element of a TOML text is found where it stands."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.document import KeyPath
from scenarios.toml_lines import key_lines

TEXT = (Path(__file__).parents[2] / "data" / "scenarios" / "lines.toml").read_text()

LINES: dict[KeyPath, int] = {
    ("name",): 2,
    ("quoted key",): 3,
    ("many",): 4,
    ("many", 0): 5,
    ("many", 1): 6,
    ("many", 1, 1): 6,
    ("many", 2): 6,
    ("many", 2, "deep", "key"): 6,
    ("many", 2, "other"): 6,
    ("table",): 10,
    ("table", "inner"): 10,
    ("table", "inner", "key"): 11,
    ("table", "inner", "long"): 12,
    ("steps",): 16,
    ("steps", 0): 16,
    ("steps", 0, "id"): 17,
    ("steps", 0, "config"): 18,
    ("steps", 0, "config", "expression"): 18,
    ("steps", 0, "after"): 22,
    ("steps", 1): 23,
    ("steps", 1, "id"): 24,
    ("steps", 1, "limits"): 25,
    ("steps", 1, "limits", "cpus"): 26,
    ("steps", 1, "nested", 0, "x"): 28,
    ("steps", 1, "nested", 1): 29,
    ("steps", 1, "nested", 1, "x"): 30,
}


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    """Every path of a parsed document."""
    found = {path}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths(inner, (*path, index))
    return found


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_key_is_found_in_its_line(newline: str) -> None:
    """Comments, strings of all four kinds, arrays and tables do not confuse the count."""
    text = TEXT.replace("\n", newline)
    lines = key_lines(text)
    assert {path: lines[path] for path in LINES} == LINES
    assert set(lines) == paths(tomllib.loads(text))


BARE = st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True)
QUOTED = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=4).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
KEYS = st.lists(BARE | QUOTED, min_size=1, max_size=3).map(" . ".join)
SCALARS = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "true",
        "1979-05-27T07:32:00Z",
        '"a # b"',
        "'a ] b'",
        '""',
        '"\\""',
        '"""a\n"" \\"""" b"""',
        "'''\n'' [x]\n'''",
        '"""x"""""',
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # x\n" + ",\n".join(items) + "\n]")
        | st.lists(st.tuples(KEYS, inner), max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
STATEMENTS = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    KEYS.map(lambda key: f"[{key}]"),
    KEYS.map(lambda key: f" [[ {key} ]] # x"),
    st.just("# c [x]"),
    st.just(""),
)


@given(st.lists(STATEMENTS, max_size=8))
def test_every_path_of_any_document_has_a_line(statements: list[str]) -> None:
    """Whatever the parser accepts, the locator finds the same paths, each in a line that exists."""
    text = "\n".join(statements)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert set(lines) == paths(values)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
