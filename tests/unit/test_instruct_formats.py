"""Reading and writing instruction data: every format, every kind of file, and what is broken in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwright.adapters.instruct.formats.reading import KEPT, rows_of
from benchwright.adapters.instruct.formats.records import Broken, records
from benchwright.adapters.instruct.formats.shapes import SHAPES
from benchwright.adapters.instruct.formats.writing import Writer
from benchwright.adapters.instruct.rows import Rejected, Row, Turn
from benchwright.errors import DataError

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say hi."},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": [{"type": "text", "text": "And bye?"}]},
    {"role": "assistant", "content": "Bye."},
]
EXAMPLES: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "And bye?", "input": "", "output": "Bye."},
    "self_instruct": {"instruction": "And bye?", "instances": [{"input": "", "output": "Bye."}]},
    "messages": {"messages": CHAT},
    "sharegpt": {"conversations": [{"from": "human", "value": "And bye?"}, {"from": "gpt", "value": "Bye."}]},
    "prompt_completion": {"prompt": "And bye?", "completion": "Bye."},
    "dolly": {"instruction": "And bye?", "context": "", "response": "Bye."},
    "question_answer": {"question": "And bye?", "answer": "Bye."},
    "document": {"text": "Bye."},
}


def read(found: Any, format: str | None = None) -> tuple[str, list[Row | Rejected]]:
    name, rows = rows_of(found, "file.jsonl", format)
    return name, list(rows)


def placed(*values: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"line {i}", value) for i, value in enumerate(values, start=1)]


@pytest.mark.parametrize("format", EXAMPLES)
def test_a_format_is_recognised_read_and_written_again(format: str, tmp_path: Path) -> None:
    name, (row,) = read(placed(EXAMPLES[format]))
    assert isinstance(row, Row)
    assert (name, row.output, row.id) == (format, "Bye.", "0")
    assert row.instruction == ("" if format == "document" else "And bye?")
    # What a stage has changed is written from its fields, and means the same when it is read again.
    with Writer(tmp_path / "rows.jsonl") as out:
        out.add(row.changed(output="Farewell."), format)
    again, (other,) = read(records(str(tmp_path / "rows.jsonl")))
    assert isinstance(other, Row)
    # A text alone has no place for an instruction.
    assert again == ("alpaca" if format == "document" else format)
    assert (other.instruction, other.output, other.earlier) == (row.instruction, "Farewell.", row.earlier)


def test_of_a_conversation_the_last_exchange_is_the_row() -> None:
    _, (row,) = read(placed({"messages": CHAT}))
    assert isinstance(row, Row)
    assert row.earlier == (Turn("system", "Be brief."), Turn("user", "Say hi."), Turn("assistant", "Hi."))
    _, (thanked,) = read(placed({"messages": [*CHAT, {"role": "user", "content": "Thanks!"}]}))
    assert isinstance(thanked, Row)
    assert (thanked.instruction, thanked.output) == ("And bye?", "Bye.")
    call = [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "12"}]
    _, (tools,) = read(placed({"messages": [*CHAT[:2], *call, CHAT[2]]}))
    assert isinstance(tools, Row)
    assert (tools.instruction, tools.output) == ("Say hi.", "Hi.")
    _, (question,) = read(placed({"messages": CHAT[:2]}))
    assert isinstance(question, Row)
    assert (question.instruction, question.output) == ("Say hi.", "")


def test_trl_pairs_of_messages() -> None:
    _, (row,) = read(placed({"prompt": CHAT[:4], "completion": CHAT[4:]}))
    assert isinstance(row, Row)
    assert (row.instruction, row.output, len(row.earlier)) == ("And bye?", "Bye.", 3)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"instruction": "x", "output": None}, "output: expected a text, got None"),
        ({"instruction": 3, "output": "y"}, "instruction: expected a text, got 3"),
        ({"output": "y"}, "instruction: expected a text, it is missing"),
    ],
)
def test_a_record_that_does_not_fit_is_set_aside_with_its_place(record: dict[str, Any], why: str) -> None:
    _, (first, second, third) = read(placed(EXAMPLES["alpaca"], record, EXAMPLES["alpaca"]))
    assert isinstance(second, Rejected)
    assert (second.reason, second.row.notes["why"], second.row.notes["place"]) == (
        "not in format alpaca",
        why,
        "line 2",
    )
    assert second.row.record == record
    assert isinstance(first, Row)
    assert isinstance(third, Row)
    assert [first.id, second.row.id, third.id] == ["0", "1", "2"]


@pytest.mark.parametrize("role", ["narrator", None])
def test_unknown_roles_are_told(role: str | None) -> None:
    _, (_, row) = read(placed(EXAMPLES["messages"], {"messages": [{"role": role, "content": "x"}]}))
    assert isinstance(row, Rejected)
    assert "messages.0.role: expected one of system, developer, user, assistant, tool, function" in row.row.notes["why"]


def test_ids_are_kept_and_unique() -> None:
    rows = placed(*({"id": i, "instruction": "x"} for i in (7, 7, "a")))
    _, found = read(rows)
    assert [row.id for row in found if isinstance(row, Row)] == ["7", "7#2", "a"]
    _, mixed = read(placed({"instruction": "x"}, {"id": "0", "instruction": "x"}, {"instruction": "x"}))
    assert [(row.id, row.notes) for row in mixed if isinstance(row, Row)] == [
        ("0", {}),
        ("0#2", {"id_was": "0"}),
        ("2", {}),
    ]


def test_broken_lines_are_set_aside_and_all_others_read(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    good = json.dumps(EXAMPLES["alpaca"]).encode()
    file.write_bytes(b"\n".join([b'{"instruction": ', b"", good, b"[1]", b'{"instruction": "\xff"}', good]))
    name, found = read(records(str(file)))
    assert name == "alpaca"
    kinds = [(type(row).__name__, row.row.notes["place"] if isinstance(row, Rejected) else "") for row in found]
    assert kinds == [("Rejected", "line 1"), ("Row", ""), ("Rejected", "line 4"), ("Rejected", "line 5"), ("Row", "")]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ""])
def test_every_kind_of_file_comes_back(suffix: str, tmp_path: Path) -> None:
    rows = [
        Row(str(i), f"Say {i}", "", f"é{i} 你好 🙂", record={"instruction": f"Say {i}", "output": f"é{i} 你好 🙂"})
        for i in range(3)
    ]
    path = tmp_path / f"rows{suffix}"
    with Writer(path) as out:
        for row in rows:
            out.add(row.scored(length=float(row.id)), "alpaca")
    _, found = read(records(str(path)))
    assert [(r.id, r.instruction, r.output, r.scores) for r in found if isinstance(r, Row)] == [
        (r.id, r.instruction, r.output, {"length": float(r.id)}) for r in rows
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_half_a_character_is_no_reason_to_stop(tmp_path: Path) -> None:
    with Writer(tmp_path / "x.jsonl") as out:
        out.add(Row("0", "a", output="\ud800"), "alpaca")
    _, (row,) = read(records(str(tmp_path / "x.jsonl")))
    assert isinstance(row, Row)
    assert row.output == "\ud800"


def test_a_run_that_is_cut_short_leaves_what_it_has(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Writer(tmp_path / "x.jsonl") as out:
            out.add(Row("0", "a", output="b"), "alpaca")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl.unfinished"]
    assert KEPT in json.loads((tmp_path / "x.jsonl.unfinished").read_text())


@given(
    values=st.lists(
        st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers() | st.lists(st.text(max_size=3))),
        max_size=5,
    ),
    indent=st.sampled_from([None, 1]),
    block=st.integers(1, 40),
)
def test_a_list_is_read_block_by_block(values: list[Any], indent: int | None, block: int) -> None:
    import tempfile

    from benchwright.adapters.instruct.formats import records as module

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        file = Path(folder) / "x.json"
        file.write_text(json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
        assert [found[1] for found in records(str(file)) if not isinstance(found, Broken)] == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected records, the file is empty"),
        (b"\n\n", "expected records, the file is empty"),
        (b"no", "line 1: not JSON"),
        (b'{"query": "x"}', "in no known format (its fields: query)"),
        (b'[{"instruction": "x"}, {"in', "record 1 (from 0): cannot be read as JSON"),
    ],
)
def test_what_cannot_be_read_at_all_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError) as error:
        read(records(str(tmp_path / "x.json")))
    assert message in str(error.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ""])
def test_no_rows_are_a_file_as_well(suffix: str, tmp_path: Path) -> None:
    with Writer(tmp_path / f"rows{suffix}"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [f"rows{suffix}"]
    assert list(records(str(tmp_path / f"rows{suffix}"))) == []


def test_what_a_table_cannot_hold_is_told_and_kept(tmp_path: Path) -> None:
    def write() -> None:
        with Writer(tmp_path / "rows.parquet") as out:
            out.add(Row("0", "x", record={"instruction": "\ud800"}), "alpaca")

    with pytest.raises(DataError, match=r"rows.parquet: row 0 holds half a character .* as JSON Lines"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet.unfinished"]


def test_a_damaged_archive_and_unknown_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(b'{"instruction": "x"}\n' * 999)[:-20])
    for name, message in (("x.jsonl.gz", "cannot be read"), ("missing.jsonl", "no such file"), ("", "not the folder")):
        with pytest.raises(DataError, match=message):
            read(records(str(tmp_path / name)))
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(DataError, match=r"expected a file named \.jsonl"):
        read(records(str(tmp_path / "x.csv")))


def test_every_shape_has_an_example() -> None:
    assert set(SHAPES) == set(EXAMPLES)
