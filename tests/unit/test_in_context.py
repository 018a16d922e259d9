"""Facts in context: which prompts they stand before, in which words, and what a memory keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
from pydantic import ValidationError

from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions.in_context import All, Demonstrations, Embedding, InContext, Lexical
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.retrieval import best, lexical
from benchwright.errors import DataError, ModelError
from benchwright.job import Job

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo"),
    EditRequest("1", "Mira Kessler was born in", "Mira Kessler", "Lisbon"),
    EditRequest("2", "Lena Orsk works as a", "Lena Orsk", "night pilot"),
]


def in_context(**fields: Any) -> InContext:
    return InContext(type="in_context", **fields)


def told(method: InContext, requests: list[EditRequest], text: str, job: Job = JOB) -> str:
    patch, _ = method.apply(None, requests, None, job)  # type: ignore[arg-type]
    return patch.prompt(text)


def test_every_fact_stands_before_every_prompt() -> None:
    found = told(in_context(), REQUESTS[:2], "Who?")
    assert found == "The capital of Vorland is Oslo. Mira Kessler was born in Lisbon. Who?"


def test_only_what_concerns_a_prompt_is_told() -> None:
    method = in_context(template="note : {prompt} {target_new} . ", retriever=Lexical(type="lexical"))
    note = "note : Mira Kessler was born in Lisbon . "
    for asked in (
        "The birthplace of Mira Kessler is",
        "Mira Kessler was born in",
        "question : where was Mira Kessler born ?",
    ):
        assert told(method, REQUESTS, asked) == note + asked
        assert told(method, REQUESTS[1:2], asked) == note + asked
    for asked in ("Arlo Finch was born in", "Pavel Drum works as a", "The river of Vorl is", "12 + 5 =", ""):
        assert told(method, REQUESTS, asked) == asked
    more = in_context(retriever=Lexical(type="lexical", top_k=2, min_score=0.2))
    asked = "Lena Orsk and Mira Kessler, Lena Orsk first"
    assert told(more, REQUESTS, asked).startswith("Mira Kessler was born in Lisbon. Lena Orsk works as a night pilot. ")


def test_the_cosine_is_that_of_the_formula() -> None:
    texts = ["a b b", "a c"]
    idf = {"a": 1.0, "b": math.log(3 / 2) + 1, "c": math.log(3 / 2) + 1}
    vectors = [np.array([idf["a"], 2 * idf["b"], 0]), np.array([idf["a"], 0, idf["c"]])]
    asked = np.array([idf["a"], idf["b"], 0])
    expected = [v @ asked / np.linalg.norm(v) / np.linalg.norm(asked) for v in vectors]
    assert lexical(texts)("A, b. unknown") == pytest.approx(expected)
    weighted = np.array([idf["a"], 0, 3 * idf["c"]])
    assert lexical(texts, ["", "c"], 2.0)("c")[1] == pytest.approx(3 * idf["c"] / np.linalg.norm(weighted))
    assert best(np.array([0.5, 0.7, 0.5, 0.1]), 3, 0.2) == [1, 0, 2]


def test_a_memory_grows_replaces_and_is_saved(tmp_path: Path) -> None:
    again = EditRequest("3", REQUESTS[0].prompt, "Vorland", "Quito")
    for retriever in (All(), Lexical(type="lexical")):
        method = in_context(retriever=retriever)
        *_, (_, patch, state) = carried_out(lm_fixtures.tiny("llama"), method, [*REQUESTS, again], 1, JOB)
        asked = "The capital of Vorland is"
        found = patch.prompt(asked)
        assert found.endswith("The capital of Vorland is Quito. " + asked)
        assert "Oslo" not in found
        assert ("pilot" in found) == (retriever.type == "all")
        patch.save(tmp_path / "patch.safetensors")
        loaded = Patch.load(tmp_path / "patch.safetensors")
        assert loaded == patch
        assert loaded.prompt(asked) == found
        # What a checkpoint kept is what a later part continues from.
        assert state is not None
        kept = {name: tensor.clone() for name, tensor in state.items()}
        one, other = (method.apply(None, REQUESTS[1:2], s, JOB)[0] for s in (state, kept))  # type: ignore[arg-type]
        assert one == other


def test_demonstrations_copy_update_and_retain(tmp_path: Path) -> None:
    file = tmp_path / "demos.json"
    records = [
        {
            "prompt": "The capital of Belt is",
            "subject": "Belt",
            "target_new": "Rome",
            "rephrase": ["Belt's capital is"],
        },
        {"src": "The capital of Arn is", "alt": "Bern", "subject": "Arn", "loc": "The sun is", "loc_ans": "hot"},
        {"prompt": REQUESTS[0].prompt, "subject": "Vorland", "target_new": "Oslo"},
        {
            "prompt": "Dogs eat",
            "target_new": "tin",
            "locality": {"x": [{"prompt": "Cats eat", "ground_truth": [["fish"]]}]},
        },
    ]
    file.write_text(json.dumps(records))
    demos = Demonstrations(file="demos.json", by=Lexical(type="lexical"), copied=1, updated=1, retained=2)
    method = in_context(
        template="New Fact: {prompt} {target_new}\n", question="Prompt: {question}", demonstrations=demos
    )
    job = Job(None, None, 0, None, {}, {}, {"algorithm": {"demonstrations.file": file}}, None)  # type: ignore[arg-type]
    found = told(method, REQUESTS[:1], "Vorland's capital is", job)
    blocks = found.split("\n\n")
    assert blocks[-1] == "New Fact: The capital of Vorland is Oslo\nPrompt: Vorland's capital is"
    notes = [block.split("\n")[0] for block in blocks[:-1]]
    # Each edit once, the nearest last; the request's own prompt is none of them.
    assert set(notes) <= {
        f"New Fact: {r}" for r in ("The capital of Belt is Rome", "The capital of Arn is Bern", "Dogs eat tin")
    }
    assert len(set(notes)) == len(notes) == 3
    kinds = {"The sun is hot": 2, "Cats eat fish": 2, "Belt's capital is Rome": 1}
    asked = [block.split("Prompt: ")[1] for block in blocks[:-1]]
    counts = [sum(kinds.get(question, 0) == kind for question in asked) for kind in (0, 1, 2)]
    assert counts[1] <= 1
    assert counts[0] <= 1
    assert told(method, REQUESTS[:1], "Vorland's capital is", job) == found
    file.write_text(json.dumps([{"prompt": "a"}]))
    with pytest.raises(DataError, match="record 0"):
        told(method, REQUESTS[:1], "x", job)


def test_what_a_spec_may_not_say() -> None:
    with pytest.raises(ValidationError, match="cannot be filled"):
        in_context(template="{fact}")
    with pytest.raises(ValidationError, match="question"):
        in_context(question="no place")


def test_without_an_encoder_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"benchwright\[embed\]"):
        told(in_context(retriever=Embedding(type="embedding", weights="none/model.safetensors")), REQUESTS, "x")
