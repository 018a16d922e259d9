"""Questions from the files that other projects publish, as far as they are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchwright.adapters.circuits.pairing import ALONE, paired
from benchwright.adapters.circuits.sources.files import read_questions
from benchwright.adapters.circuits.sources.params import KnownFacts, Lre
from benchwright.adapters.lm.loading import open_folder
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.seeded import byte_tokenizer
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.loading.resolve import resolve
from benchwright.records import read_json


@pytest.fixture(scope="module")
def circuits(shared: Path) -> Path:
    """The peer's models and prompts."""
    return shared / "fixtures" / "circuits"


def model(folder: Path) -> LanguageModel:
    return open_folder(folder, Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere"))))


@pytest.fixture(scope="module")
def byte_model() -> LanguageModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = byte_tokenizer()
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=256, vocab_size=len(tokenizer))
    return LanguageModel(GPT2LMHeadModel(config), tokenizer)


@pytest.mark.parametrize(
    ("file", "examples", "count", "length"), [("prompts", "ioi", 100, 14), ("prompts", "capital", 32, 6)]
)
def test_the_peers_pairs_are_the_same_from_ids_and_from_text(
    circuits: Path, folder: Path, file: str, examples: str, count: int, length: int
) -> None:
    lm = model(circuits / "llama-tiny")
    raw = read_json(circuits / f"{file}.json")["examples"][examples]
    questions = read_questions(circuits / f"{file}.json", examples)
    found = paired(lm, questions, strict=True, answers="single").pairs
    assert len(found) == count
    for pair, row in zip(found, raw, strict=True):
        assert [*pair.clean] == row["clean_ids"]
        assert [*pair.corrupt] == row["corrupt_ids"]
        assert (pair.answer, pair.wrong) == ((row["answer_id"],), (row["wrong_id"],))
        assert len(pair.clean) == length


def test_pairs_of_a_model_without_a_tokenizer(circuits: Path) -> None:
    questions = read_questions(circuits / "prompts_handmade.json", None)
    assert len(questions) == 112
    assert {len(q.clean) for q in questions} == {4}
    assert questions[0].clean == (0, 2, 4, 1)
    assert (questions[0].corrupt, questions[0].answers, questions[0].wrongs) == ((0, 3, 5, 1), (15,), (20,))


LRE_KINDS = {"bias": 7, "commonsense": 8, "factual": 26, "linguistic": 6}


@pytest.mark.parametrize("kind", LRE_KINDS)
def test_every_relation_is_read(shared: Path, kind: str) -> None:
    found = Lre(type="lre", folder=kind).load({"folder": shared / "data" / "lre_relations" / kind}, None)
    counts = Counter(q.relation for q in found)
    assert len(counts) == LRE_KINDS[kind]
    assert len({q.id for q in found}) == len(found)
    assert all(q.attributes["kind"] == kind and q.subject in str(q.clean) for q in found)
    # Nothing is lost but that the objects of a subject are asked for together.
    for relation, count in counts.items():
        samples = read_json(shared / "data" / "lre_relations" / kind / f"{relation}.json")["samples"]
        assert count == len({s["subject"] for s in samples})
        answers = sum(len(q.answers) for q in found if q.relation == relation)
        assert answers == len({(s["subject"], s["object"]) for s in samples})


def test_the_task_of_knowledge_circuits_names_the_14_relations(shared: Path) -> None:
    known = library([])
    data = resolve(known, known.get("task", "knowledge-circuits")).spec.data
    found = data.load({"folder": shared / "data" / "lre_relations"}, None)
    assert {q.attributes["kind"] for q in found} == set(LRE_KINDS)
    assert len(Counter(q.relation for q in found)) == 14
    first = data.load({"folder": shared / "data" / "lre_relations"}, 14)
    assert [q.relation for q in first] == list(data.relations)
    assert next(q.clean for q in first if q.relation == "occupation_gender").endswith(" are typically")


def test_relations_make_pairs_byte_by_byte(shared: Path, byte_model: LanguageModel) -> None:
    source = Lre(type="lre", folder="bias", relations=("name_religion", "occupation_age"))
    questions = source.load({"folder": shared / "data" / "lre_relations" / "bias"}, None)
    found = paired(byte_model, questions, strict=False, answers="first_differing")
    assert set(found.skipped.values()) == {ALONE}
    assert len(found.pairs) >= 0.6 * len(questions)
    for pair, q in zip(found.pairs, found.questions, strict=True):
        # Answers begin with a space, which is a token that all have in common.
        answer = byte_model.tokenizer.decode(pair.clean)[len("<s>") :] + byte_model.tokenizer.decode(pair.answer)
        assert f"{q.clean} {q.answers[0]}".startswith(answer)


def test_known_facts_are_read(shared: Path, byte_model: LanguageModel) -> None:
    source = KnownFacts(type="known_facts", file="known_1000.json")
    questions = source.load({"file": shared / "data" / "known_1000" / "known_1000.json"}, None)
    assert len(questions) == len({q.id for q in questions}) == 1209
    assert all(q.subject in str(q.clean) for q in questions)
    assert len({q.relation for q in questions}) == 33
    found = paired(byte_model, questions[:200], strict=False, answers="first_differing")
    assert set(found.skipped.values()) <= {ALONE}
    assert found.pairs
