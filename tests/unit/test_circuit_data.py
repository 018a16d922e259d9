"""Questions from every source."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from circuit_fixtures import one, word_model
from pydantic import TypeAdapter, ValidationError

from benchwright.adapters.circuits.items import Question
from benchwright.adapters.circuits.pairing import (
    ALIKE,
    ALONE,
    LENGTHS,
    paired,
)
from benchwright.adapters.circuits.sources.files import read_questions
from benchwright.adapters.circuits.sources.params import (
    Arithmetic,
    CompiledQuestions,
    GreaterThan,
    Induction,
    Ioi,
    KnownFacts,
    Lre,
    Mcqa,
    PromptPairs,
    Questions,
    WorldRelations,
)
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.seeded import byte_tokenizer
from benchwright.adapters.worlds.compiled.making import make
from benchwright.adapters.worlds.knowledge.folder import shipped, shipped_names
from benchwright.adapters.worlds.params import Compiled, World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError


@pytest.fixture(scope="module")
def words() -> LanguageModel:
    return word_model()


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """The small shipped model."""
    store = ArtifactStore(tmp_path_factory.mktemp("artifacts"))
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", store))


# Files


def write(folder: Path, content: Any, name: str = "pairs.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


PAIR = {"clean": "a is", "corrupt": "b is", "answer": "c", "wrong": "d"}
BY_IDS = {"clean_ids": [1, 11], "corrupt_ids": [2, 11], "answer_id": 3, "wrong_id": 4}


def test_pairs_of_one_s_own(folder: Path) -> None:
    full = {**PAIR, "id": "x", "subject": "a", "relation": "r", "answer": ["c", "e"]}
    expected = [
        Question("pair-0", "a is", ("c",), "b is", ("d",)),
        Question("x", "a is", ("c", "e"), "b is", ("d",), "r", "a", "r"),
    ]
    assert read_questions(write(folder, [PAIR, full]), None) == expected
    lines = f"\n{json.dumps(PAIR)}\n\n{json.dumps(full)}\n"
    assert read_questions(write(folder, lines, "pairs.jsonl"), None) == expected
    assert read_questions(write(folder, json.dumps(PAIR), "one.jsonl"), None) == expected[:1]
    source = PromptPairs(type="prompt_pairs", file="pairs.json")
    assert source.load({"file": folder / "pairs.json"}, 1) == expected[:1]
    assert source.offers() == {"prompt_pairs"}


def test_pairs_by_name_and_by_token_id(folder: Path) -> None:
    both = {**PAIR, **BY_IDS}
    content = {"vocab": {"a": 1}, "examples": {"ioi": [both, {**BY_IDS, "wrong_id": [4, 5]}], "capital": [PAIR]}}
    file = write(folder, content)
    by_ids, several = read_questions(file, "ioi")
    assert by_ids == Question("ioi-0", (1, 11), (3,), (2, 11), (4,))
    assert several.wrongs == (4, 5)
    assert read_questions(file, "capital")[0].clean == "a is"
    with pytest.raises(DataError, match=r"pairs\.json: unknown examples 'iol'; did you mean 'ioi'"):
        read_questions(file, "iol")
    with pytest.raises(DataError, match="several examples; choose one of capital, ioi"):
        read_questions(file, None)
    with pytest.raises(DataError, match="no named examples; leave out 'ioi'"):
        read_questions(write(folder, [PAIR]), "ioi")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": None}, r"record 1 \(of 2, from 0\): clean: expected a text, got"),
        ({"clean": 7}, "clean: expected a text, or a list of token ids, got"),
        ({"clean": "  "}, "clean: expected a text, got"),
        ({"clean_ids": [1, "b"]}, "clean_ids: expected a list of token ids, got"),
        ({"clean_ids": [1, -2]}, "clean_ids: expected a list of token ids"),
        ({"clean_ids": [1, 2]}, "corrupt: expected text if clean is text, token ids if it is token ids"),
        ({"corrupt": "a is"}, "corrupt: expected another prompt than clean; exchange in it"),
        ({"answer": []}, "answer: expected a text, a token id, or a list of them, got"),
        ({"answer": ["c", 3]}, "answer: expected"),
        ({"wrong": True}, "wrong: expected a text, a token id, or a list of them, got"),
        ({"wrong_id": "d"}, "wrong_id: expected"),
        ({"id": "pair-0"}, "id: expected an id of its own"),
        ({"corupt": "c is"}, "unknown field 'corupt'; did you mean 'corrupt'"),
        ({"xyz": 1}, "unknown field 'xyz'; known: answer, answer_id, answer_ids, clean, clean_ids, corrupt"),
        ({"subject": 3}, "subject: expected a text, got"),
        ({"clean_ids": [1, 2], "corrupt_ids": [2, 2]}, "answer: expected token ids, .*; give answer_id"),
    ],
)
def test_a_wrong_field_is_named_with_file_record_and_fix(folder: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"pairs\.json: .*{message}"):
        read_questions(write(folder, [PAIR, {**PAIR, **change}]), None)


def test_a_misspelt_field_is_named_before_what_it_leaves_missing(folder: Path) -> None:
    misspelt = {"corupt" if name == "corrupt" else name: value for name, value in PAIR.items()}
    with pytest.raises(DataError, match=r"pairs\.jsonl: line 2: unknown field 'corupt'; did you mean 'corrupt'"):
        read_questions(write(folder, f"{json.dumps(PAIR)}\n{json.dumps(misspelt)}", "pairs.jsonl"), None)


def test_a_pair_that_does_not_fit_is_named_with_file_and_record(folder: Path, words: LanguageModel) -> None:
    longer = {**PAIR, "corrupt": "b c is"}
    file = write(folder, f"{json.dumps(PAIR)}\n\n{json.dumps(longer)}", "pairs.jsonl")
    with pytest.raises(DataError, match=r"pairs\.jsonl: line 3: question 'pair-1': .*different numbers of tokens"):
        paired(words, read_questions(file, None), strict=True, answers="single")
    named = write(folder, {"examples": {"some": [PAIR, longer]}})
    with pytest.raises(DataError, match=r"pairs\.json: examples\.some: record 1 \(of 2, from 0\): question 'some-1'"):
        paired(words, read_questions(named, "some"), strict=True, answers="single")


def test_a_file_that_is_no_list_of_pairs_says_so(folder: Path) -> None:
    for content, message in (
        ("", "the file is empty"),
        ("[]", "expected a JSON list of records"),
        ("[3]", r"record 0 \(of 1, from 0\): .all.: expected a map"),
        (f"{json.dumps(PAIR)}\n{{broken", "line 2: cannot be read as JSON"),
        (f"{json.dumps(PAIR)}\n3", "line 2: .all.: expected a map"),
        ({"examples": []}, "examples: expected a map of lists by name"),
    ):
        with pytest.raises(DataError, match=message):
            read_questions(write(folder, content), None)
    with pytest.raises(DataError, match=r"missing\.json: cannot be read"):
        read_questions(folder / "missing.json", None)


# Relations and facts


def test_a_limit_takes_the_first_ones_of_each_relation(folder: Path) -> None:
    rows = [{**PAIR, "id": name, "relation": name[0]} for name in "r0 r1 r2 r3 s0 t0 t1 t2".split()]  # noqa: SIM905
    source, files = PromptPairs(type="prompt_pairs", file="pairs.json"), {"file": write(folder, rows)}
    everything = [row["id"] for row in rows]
    for limit, expected in (
        (1, ["r0"]),
        (3, ["r0", "s0", "t0"]),
        (4, ["r0", "r1", "s0", "t0"]),
        (6, ["r0", "r1", "r2", "s0", "t0", "t1"]),
        (8, everything),
        (None, everything),
    ):
        assert [q.id for q in source.load(files, limit)] == expected
    world = WorldRelations(type="world_relations", world="atlas-small").load({}, 29)
    assert sorted(Counter(q.relation for q in world).values()) == [2] * 13 + [3]


@pytest.mark.parametrize("fields", [{}, {"seed": 3, "relations": 3, "backup": True, "heads": 6}])
def test_compiled_questions_are_the_pairs_of_the_compiled_model(fields: dict[str, int]) -> None:
    made = make(Compiled(type="compiled", **fields), fields.get("seed", 0))
    questions = CompiledQuestions(type="compiled_questions", **fields).load({}, None)
    assert paired(made.lm, questions, strict=True, answers="single").pairs == made.pairs
    assert all(q.subject in str(q.clean).split() and q.relation in str(q.clean).split() for q in questions)


RELATION = {
    "name": "color of",
    "prompt_templates": ["{} is", "{} are"],
    "prompt_templates_zs": ["The colour of {} is"],
    "properties": {"relation_type": "commonsense"},
    "samples": [
        {"subject": "coal", "object": "black"},
        {"subject": "snow", "object": "white"},
        {"subject": "coal", "object": "dark"},
    ],
}


def lre(folder: Path, **fields: Any) -> list[Question]:
    return Lre(type="lre", **fields).load({"folder": folder}, None)


def test_relations_ask_for_each_subject_once(folder: Path) -> None:
    (folder / "commonsense").mkdir()
    write(folder, RELATION, "commonsense/colour.json")
    write(folder, {**RELATION, "properties": {}}, "other.json")
    found = {q.id: q for q in lre(folder, relations=("colour",))}
    assert found["colour:coal"] == Question(
        id="colour:coal",
        clean="The colour of coal is",
        answers=("black", "dark"),
        group="colour",
        subject="coal",
        relation="colour",
        attributes={"kind": "commonsense"},
    )
    assert set(found) == {"colour:coal", "colour:snow"}
    assert [q.relation for q in lre(folder)] == ["colour", "colour", "other", "other"]
    assert lre(folder, templates="few_shot", template=1)[0].clean.endswith(" are")
    with pytest.raises(DataError, match="unknown relation 'color'; did you mean 'colour'"):
        lre(folder, relations=("color",))
    with pytest.raises(DataError, match="prompt_templates_zs: expected at least 2 templates"):
        lre(folder, template=1)
    write(folder, {**RELATION, "samples": [{"subject": "coal"}]}, "other.json")
    with pytest.raises(DataError, match=r"other\.json: samples: record 0 .*: object: expected a text, it is missing"):
        lre(folder)
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no relation files"):
        lre(folder / "empty")


def test_known_facts_are_grouped_by_what_is_around_the_subject(folder: Path) -> None:
    fact = {"known_id": 5, "subject": "Oslo", "attribute": "Norway", "prompt": "Oslo is in", "relation_id": "P17"}
    others = [
        {**fact, "known_id": 6, "subject": "Rome", "prompt": "Rome is in", "attribute": "Italy"},
        {**fact, "known_id": 7, "subject": "Bonn", "prompt": "Bonn is a city in", "attribute": "Germany"},
    ]
    file = write(folder, [fact, *others], "known.json")
    found = {q.id: q for q in KnownFacts(type="known_facts", file="known.json").load({"file": file}, None)}
    assert found["known-5"].group == found["known-6"].group != found["known-7"].group
    assert found["known-5"].answers == ("Norway",)
    assert found["known-5"].relation == "P17"
    write(folder, [{**fact, "subject": "Paris"}], "known.json")
    with pytest.raises(DataError, match="subject: expected a part of the prompt 'Oslo is in', got 'Paris'"):
        KnownFacts(type="known_facts", file="known.json").load({"file": file}, None)


def test_facts_of_the_world_make_pairs_that_the_small_model_knows(atlas: LanguageModel) -> None:
    import torch

    source = WorldRelations(type="world_relations", world="atlas-small", per_relation=8)
    questions = source.load({}, None)
    assert len(questions) == len({q.id for q in questions}) == 14 * 8
    assert questions == source.load({}, None)
    found = one(atlas, *questions)
    # Two cities of two words stand among cities of one word in the same country.
    assert len(found.pairs) == len(questions) - 2
    assert set(found.skipped.values()) == {ALONE}
    known = 0
    for pair in found.pairs:
        assert len(pair.clean) == len(pair.corrupt)
        logits = atlas.model(torch.tensor([pair.clean, pair.corrupt])).logits[:, -1]
        known += logits[0].argmax().item() in pair.answer and logits[1].argmax().item() in pair.wrong
    # The card of the model says 0.99 of all trained facts.
    assert known >= 0.95 * len(found.pairs)
    assert len(one(atlas, *questions, answers="single").pairs) >= 60
    first = next(q for q in questions if q.relation == "born_in")
    (other,) = WorldRelations(type="world_relations", relations=("born_in",), template=2, per_relation=1).load({}, None)
    assert first.clean == f"{first.subject} was born in"
    assert other.clean == f"the birthplace of {other.subject} is"


def test_an_unknown_world_relation_or_template_says_what_there_is() -> None:
    with pytest.raises(ValidationError, match="unknown world 'atlass'; did you mean 'atlas'"):
        WorldRelations(type="world_relations", world="atlass")
    with pytest.raises(DataError, match="unknown relation of the world atlas 'born'"):
        WorldRelations(type="world_relations", relations=("born",)).load({}, None)
    with pytest.raises(DataError, match="relation 'works_for' has 6 templates"):
        WorldRelations(type="world_relations", template=6).load({}, None)


def test_the_shipped_worlds_are_those_of_this_version() -> None:
    """No cell's identity holds their content: when this fails, raise `WorldRelations.version` and write it anew."""
    assert WorldRelations.version == 1
    content = {name: (shipped(name) / "world.json").read_bytes() for name in shipped_names()}
    assert {hashlib.sha256(text).hexdigest() for text in content.values()} == {
        "ebf38d446a99ec6d28e9adf9b4f64b5ab818089d432ab7eeaf582836281eb3cf"
    }


# Made questions


MADE = (
    Ioi(type="ioi", size=60),
    GreaterThan(type="greater_than", size=60),
    Induction(type="induction", size=60),
    Mcqa(type="mcqa", size=60),
    Arithmetic(type="arithmetic", size=60),
    Arithmetic(type="arithmetic", size=30, digits=1),
)


@pytest.mark.parametrize("source", MADE, ids=lambda s: s.type)
def test_made_questions_are_drawn_alike_each_time(source: Questions) -> None:
    found = source.load({}, None)
    assert len(found) == len({q.id for q in found}) == len({q.clean for q in found}) == source.model_dump()["size"]
    assert found == source.load({}, None)
    assert found[:7] == source.model_copy(update={"size": 7}).load({}, None) == source.load({}, 7)
    assert source.model_copy(update={"seed": 1}).load({}, None) != found
    for q in found:
        assert isinstance(q.corrupt, str)
        assert q.corrupt != q.clean
        assert not set(q.answers) & set(q.wrongs)


@pytest.mark.parametrize("source", MADE, ids=lambda s: s.type)
def test_made_questions_become_pairs_byte_by_byte(source: Questions) -> None:
    """The hardest tokenizer: every answer has several tokens, and words must have as many letters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = byte_tokenizer()
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=256, vocab_size=len(tokenizer))
    lm = LanguageModel(GPT2LMHeadModel(config), tokenizer)
    found = one(lm, *source.load({}, None))
    assert len(found.pairs) >= 8
    assert set(found.skipped.values()) <= {LENGTHS, ALIKE}
    for pair in found.pairs:
        assert len(pair.clean) == len(pair.corrupt)
        assert not set(pair.answer) & set(pair.wrong)


def answered(q: Question) -> set[str]:
    return {str(a) for a in q.answers}


def test_the_receiver_is_named_once_and_the_giver_twice() -> None:
    for q in MADE[0].load({}, None):
        (receiver,), (giver,) = q.answers, q.wrongs
        assert isinstance(q.clean, str)
        assert isinstance(q.corrupt, str)
        clean, corrupt = re.findall(r"\w+", q.clean), re.findall(r"\w+", q.corrupt)
        assert (clean.count(str(receiver)), clean.count(str(giver))) == (1, 2)
        assert (corrupt.count(str(receiver)), corrupt.count(str(giver))) == (1, 1)
        changed = [i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b]
        assert changed == [max(i for i, word in enumerate(clean) if word == giver)]
        first = clean.index(str(receiver)) < clean.index(str(giver))
        assert q.attributes == {"order": "receiver first" if first else "giver first"}


def test_later_years_are_right_and_all_others_wrong() -> None:
    for q in MADE[1].load({}, None):
        start, first = (re.findall(r"\d{4}", str(text))[0] for text in (q.clean, q.corrupt))
        assert first == f"{start[:2]}01"
        century = {f"{start[:2]}{n:02d}" for n in range(1, 100)}
        assert answered(q) == {year for year in century if year > start}
        assert set(q.wrongs) == {year for year in century if year <= start}


def test_a_row_goes_on_as_before() -> None:
    for q in MADE[2].load({}, None):
        clean, corrupt = str(q.clean).split(), str(q.corrupt).split()
        assert len(set(clean)) == 10
        assert answered(q) == {clean[clean.index(clean[-1]) + 1]}
        assert set(q.wrongs) == {corrupt[corrupt.index(corrupt[-1]) + 1]}
        assert sum(a != b for a, b in zip(clean, corrupt, strict=True)) == 1


def test_the_letter_is_that_of_the_colour() -> None:
    for q in MADE[3].load({}, None):
        for text, letters in ((q.clean, q.answers), (q.corrupt, q.wrongs)):
            stated = re.search(r"is (\w+)\.", str(text))
            assert stated
            assert re.findall(rf"^(\w)\. {stated[1]}$", str(text), re.MULTILINE) == list(letters)


@pytest.mark.parametrize(("source", "digits"), [(MADE[4], 2), (MADE[5], 1)], ids=["two", "one"])
def test_sums_are_right(source: Questions, digits: int) -> None:
    operations = set()
    for q in source.load({}, None):
        results = []
        for text in (q.clean, q.corrupt):
            first, operation, second, _ = str(text).split()
            assert len(first) == len(second) == digits
            results.append(str(int(first) + int(second) if operation == "+" else int(first) - int(second)))
            operations.add((operation, q.relation))
        assert (q.answers, q.wrongs) == ((results[0],), (results[1],))
        assert len(results[0]) == len(results[1])
    assert operations == {("+", "addition"), ("-", "subtraction")}


def test_more_questions_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match="no 5000 different arithmetic questions; choose a smaller `size`"):
        Arithmetic(type="arithmetic", size=5000, digits=1).load({}, None)


def test_sources_are_read_from_specs() -> None:
    said: Any = {"type": "arithmetic", "operations": ["+"], "digits": 1}
    assert TypeAdapter(Arithmetic).validate_json(json.dumps(said)).operations == ("+",)
    with pytest.raises(ValidationError):
        Arithmetic(type="arithmetic", digits=3)  # type: ignore[arg-type]
