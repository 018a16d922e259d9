"""YAML 1.2 core scalars, places of values, and the refusal of everything that is not plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwright.api import library
from benchwright.errors import Mark, Problem, SpecError
from benchwright.loading.resolve import check
from benchwright.loading.tree import MAX_DEPTH, parse_tree, read_tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4), ("1E3", 1000.0), (".5", 0.5), ("-1.", -1.0), ("0x1F", 31), ("0o17", 15), ("010", 10),
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("y", "y"), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("12:30", "12:30"),
        ("'5'", "5"), ('"true"', "true"), ("+7", 7),
    ],
)  # fmt: skip
def test_core_scalars(text: str, value: Any) -> None:
    found = parse_tree(f"a: {text}\n", "s.yaml").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_has_its_place() -> None:
    tree = parse_tree("kind: method\nsite:\n  layers: [1, 22]\n", "m.yaml")
    assert tree.marks["site", "layers", 1] == Mark("m.yaml", 3, 15)
    assert tree.keys["site", "layers"] == Mark("m.yaml", 3, 3)
    assert tree.mark(("site", "layers", 9, "x")) == Mark("m.yaml", 3, 11)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "s.yaml:3:1: a: duplicate key, first at line 1"),
        ("a: !!python/object:os.system x\n", "YAML tag"),
        ("a: !foo 1\n", "YAML tag"),
        ("base: &b {x: 1}\na: *b\n", "alias *b"),
        ("<<: {x: 1}\n", "merge key"),
        ("a: .inf\n", "not a finite number"),
        ("a: 1e999\n", "too large a number"),
        ("a: 99999999999999999999\n", "too large a number"),
        ("a: [1, 2\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "2 YAML documents"),
        ("", "is empty"),
        ("a:\n\tb: 1\n", "YAML is indented with spaces"),
        ("? [1]\n: 2\n", "a key that is not a plain name"),
        ("a: " + "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "deeper than"),
    ],
)
def test_refused(text: str, message: str) -> None:
    assert message in "\n".join(map(str, said_of(text)))


def said_of(text: str) -> Sequence[Problem]:
    """Problems of a text, whether it can be read in spite of them or not."""
    try:
        return parse_tree(text, "s.yaml").problems
    except SpecError as error:
        return error.problems


def test_all_problems_of_a_file_at_once() -> None:
    assert len(said_of("a: 1\na: 2\nb: !t 3\n")) == 2
    with pytest.raises(SpecError) as caught:
        validate_text("kind: method\nname: m\nname: n\nalgorithm: {type: fine_tune, lrr: 1}\n")
    assert [p.field for p in caught.value.problems] == ["name", "algorithm.parameters", "algorithm.lrr"]


def validate_text(text: str) -> None:
    known = library([])
    check(known, known.entry_of(parse_tree(text, "s.yaml"), Path("s.yaml")))


def test_json_with_tabs_and_its_errors() -> None:
    assert parse_tree('{\n\t"a": [1, 5e-4, "\\u00e9"]\n}', "s.json").data == {"a": [1, 5e-4, "é"]}
    with pytest.raises(SpecError, match=r"s\.json:2:1: not valid JSON"):
        parse_tree('{"a": 1,\n}', "s.json")


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nothing\.yaml:1:1: cannot be read \(No such file"):
        read_tree(tmp_path / "nothing.yaml")
    with pytest.raises(SpecError, match="is a folder or a device"):
        read_tree(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_tree(tmp_path / "b.yaml")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"\\ \n\tabx01.#?%@`", max_size=200))
def test_no_text_makes_a_traceback(text: str) -> None:
    for name in ("s.yaml", "s.json"):
        try:
            tree = parse_tree(text, name)
        except SpecError as error:
            assert str(error)  # noqa: PT017 - any other exception is the failure
        else:
            assert () in tree.marks


names = st.text("abcdef_", min_size=1, max_size=6)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn"]), max_size=20)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, plain, max_size=4))
def test_json_reads_back_as_written(data: dict[str, Any]) -> None:
    assert parse_tree(json.dumps(data), "s.json").data == data
    assert parse_tree(json.dumps(data, indent=1, ensure_ascii=False), "s.yaml").data == data
