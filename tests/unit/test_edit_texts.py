"""Texts that an edited model reads and writes: closed forms, known answers, and what the order of edits shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch

from benchwright.adapters.editing.cases import EditCase
from benchwright.adapters.editing.likeness import Likeness
from benchwright.adapters.editing.metrics import aged
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.run import by_position, run
from benchwright.adapters.editing.sources.params import CounterFact, WorldEdits
from benchwright.adapters.editing.sources.snippets import Snippets
from benchwright.adapters.editing.texts import LARGEST_PERPLEXITY, encode_text, perplexity, predicted
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.scoring import Unusable, encode, forced
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.reports.exhibits import show


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


FT = FineTune.model_validate_json('{"type": "fine_tune", "parameters": {"layers": [3]}, "lr": 2e-3, "steps": 30}')
SNIPPETS = [
    {"relation_id": "P1", "target_id": "Q1", "samples": [{"name": "Bea", "text": "the oboe sings a long tune"}]},
    {
        "relation_id": "P1",
        "target_id": "Q2",
        "samples": [{"name": "Ada", "text": "ada wrote notes"}, {"name": "Cy", "text": "lute strings break"}],
    },
]
RECORD: dict[str, Any] = {
    "case_id": 8,
    "requested_rewrite": {
        "prompt": "{} plays",
        "subject": "Ada",
        "relation_id": "P1",
        "target_new": {"str": "oboe", "id": "Q1"},
        "target_true": {"str": "lute", "id": "Q2"},
    },
    "paraphrase_prompts": ["a"],
    "neighborhood_prompts": ["n"],
    "generation_prompts": ["Ada is", "Ada is"],
}


class Given(WorldEdits):
    """The world's cases with texts that a test adds."""

    type: Any = "given"
    added: Any = None

    def load(self, files: Any, limit: int | None) -> list[EditCase]:
        return [replace(case, **self.added) for case in super().load(files, limit)]

    def likeness(self, files: Any) -> Likeness:
        return Likeness(["plays piano", "piano oboe"])


def parts(
    lm: LanguageModel, tmp_path: Path, added: Any, algorithm: Any = FT, data: Any = None, **fields: Any
) -> list[Part]:
    data = data or Given(type="given", world="atlas-small", requests=4, added=added)
    protocol = Edit.model_validate({"type": "edit", **fields})
    task = TaskSpec.model_construct(name="t", data=data, protocol=protocol)
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    store = ArtifactStore(tmp_path / "artifacts")
    return list(run(protocol, Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, {}, store)))


def values(found: Sequence[Part], metric: str, **at: Any) -> list[float]:
    rows = [r for part in found for r in part.records]
    return [r["value"] for r in rows if r["metric"] == metric and r.get("at", {}) == at]


def test_closed_forms() -> None:
    assert [perplexity(nll) for nll in (0.0, 2.0, 800.0, float("inf"))] == [1, exp(2), *[LARGEST_PERPLEXITY] * 2]
    assert predicted([-log(0.81), -log(0.79), float("inf"), 0.0]) == 0.5


def test_a_text_is_read_token_by_token_after_whatever_stands_before_it(lm: LanguageModel) -> None:
    text = "Teister Deimurson plays the piano"
    row = encode_text(lm, Patch(), text)
    (said,) = forced(lm, [row], 8, texts=True)
    with torch.inference_mode():
        logits = lm.model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    expected = [-logits[i - 1, token].item() for i, token in enumerate(row.ids)][row.start :]
    assert row.start == 1
    assert said.nlls == pytest.approx(expected, abs=1e-4)
    assert said.nll == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    noted = encode_text(lm, Patch(prompts=Around("A note . ", " and more")), text)
    assert noted.target[-len(row.target) :] == row.target
    assert noted.start > row.start
    assert len(encode_text(lm, Patch(), text, longest=3).ids) == 3
    with pytest.raises(Unusable, match="less than two tokens"):
        encode_text(lm, Patch(), "piano", longest=1)


def test_what_decides_at_the_end_of_a_prompt_decides_at_the_end_of_a_text(lm: LanguageModel) -> None:
    ends: list[int] = []

    def watch(*_: Any) -> None:
        assert lm.asked is not None
        ends.extend(lm.asked.prompt_ends.tolist())

    row = encode_text(lm, Patch(), "Teister Deimurson plays the piano")
    handle = lm.model.register_forward_pre_hook(watch)
    forced(lm, [row], 8)
    forced(lm, [row], 8, texts=True)
    handle.remove()
    assert ends == [0, len(row.ids) - 1]


def test_snippets_are_attached_by_relation_and_object(tmp_path: Path) -> None:
    file, snippets = tmp_path / "counterfact.json", tmp_path / "attribute_snippets.json"
    file.write_text(json.dumps([RECORD]), encoding="utf-8")
    snippets.write_text(json.dumps(SNIPPETS), encoding="utf-8")
    source = CounterFact(type="counterfact", file="f", snippets="s")
    (case,) = source.load({"file": file, "snippets": snippets}, None)
    assert (case.openings, case.alike) == (("Ada is", "Ada is"), ("the oboe sings a long tune",))
    assert case.essence == ("ada wrote notes",)  # under the old object; the released code would find none
    likeness = source.likeness({"snippets": snippets})
    assert likeness is not None
    assert likeness.of("the oboe sings", "the oboe sings") == pytest.approx(1)
    assert likeness.of("oboe", "lute") == likeness.of("unheard of", "oboe") == 0
    assert source.likeness({}) is None
    assert source.load({"file": file}, None)[0].alike == ()
    snippets.write_text(json.dumps([{**SNIPPETS[0], "samples": [{"name": "Bea"}]}]), encoding="utf-8")
    with pytest.raises(DataError, match=r"record 0 .*samples: record 0 .*: text: expected a text, it is missing"):
        Snippets(snippets)


def test_likeness_is_the_cosine_of_tf_idf_vectors() -> None:
    # Two documents: idf(a) = idf(c) = ln(3/2) + 1, idf(b) = ln(3/3) + 1 (scikit-learn's smoothing).
    rare, common = log(3 / 2) + 1, 1.0
    found = Likeness(["aa bb", "bb cc"]).of("aa bb", "bb bb cc")
    expected = common * 2 * common / ((rare**2 + common**2) ** 0.5 * (rare**2 + 4 * common**2) ** 0.5)
    assert found == pytest.approx(expected)


def test_texts_are_read_and_written_by_the_edited_model(lm: LanguageModel, tmp_path: Path) -> None:
    article = "Teister Deimurson plays the piano and lives in Ankunt"
    added = {"articles": (article,), "essence": (article,), "openings": ("Ada is", "Bea"), "alike": ("oboe",)}
    fields: dict[str, Any] = {"mode": "single", "perplexity": True, "fluency": {"prompts": "generation", "tokens": 12}}
    before = parts(lm, tmp_path, added, FT.model_copy(update={"steps": 0}), **fields)
    after = parts(lm, tmp_path, added, **fields)
    assert [len(values(after, m)) for m in ("perplexity", "ood", "essence", "fluency", "consistency")] == [4] * 5
    assert len(set(values(before, "essence"))) == 1  # one text, one untouched model
    (said,) = forced(lm, [encode_text(lm, Patch(), article)], 8, texts=True)
    assert values(before, "essence")[0] == pytest.approx(exp(said.nll), rel=1e-4)
    assert values(before, "ood")[0] == predicted(said.nlls)
    case = Given(type="given", world="atlas-small", requests=1, added={}).load({}, None)[0]
    (asked,) = forced(lm, [encode(lm, case.request.prompt, case.request.target_new)], 8)
    assert values(before, "perplexity")[0] == pytest.approx(exp(asked.nll), rel=1e-4)
    assert max(values(after, "perplexity")) < 2 < min(values(before, "perplexity"))
    # Texts do not depend on what is written beside them.
    alone = Given(type="given", world="atlas-small", requests=1, added=added)
    assert values(parts(lm, tmp_path, added, data=alone, **fields), "fluency") == values(after, "fluency")[:1]


def test_the_age_of_an_edit_shows(lm: LanguageModel, tmp_path: Path) -> None:
    assert [aged({"reliability.exact": 1.0}, place, 20) for place in (1, 2, 17, 18)] == [
        *({"oldest.exact": 1.0}, {}, {}, {"newest.exact": 1.0}),
    ]
    assert aged({"reliability.token": 0.5}, 0, 2) == {"oldest.token": 0.5}
    found = parts(lm, tmp_path, {}, mode="sequential", checkpoints=(1, 4))
    assert values(found, "oldest.exact", T=1) == []
    order = values(found, "reliability.exact", T=4)
    assert (values(found, "oldest.exact", T=4), values(found, "newest.exact", T=4)) == ([order[0]], [order[-1]])
    (curve,) = [part.exhibits["retention"] for part in found if "retention" in part.exhibits]
    assert curve["series"][0]["y"] == order
    assert curve["series"][0]["x"] == [1, 2, 3, 4]
    assert "<svg" in show(curve).svg
    assert values(parts(lm, tmp_path, {}, mode="batch", checkpoints=(4,)), "oldest.exact", T=4) == []


def test_a_long_stream_is_drawn_in_few_points() -> None:
    (series,) = by_position("reliability.exact", [1.0] * 15 + [0.0] * 10)["series"]
    assert len(series["x"]) == 10
    assert series["x"][:2] == [1.5, 4]
    assert series["y"] == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
