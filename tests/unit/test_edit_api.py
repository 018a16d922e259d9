"""`from benchwright import edit`: loaded models, plain generation, taking back, folders with what surrounds weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_fixtures import tiny

import benchwright as bw
from benchwright.adapters.editing.own.edited import Edited
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.codebook import Codebook
from benchwright.adapters.lm.integrity import state_of
from benchwright.adapters.lm.loaded import names_for, state_of_loaded
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.saving import AROUND
from benchwright.adapters.lm.usable import in_use
from benchwright.errors import BenchwrightError, ModelError

REQUESTS = [case.request for case in WorldEdits(type="world_edits", world="atlas-small").load({}, 5)]
MAPS = [{"case_id": r.id, "prompt": r.prompt, "subject": r.subject, "target_new": r.target_new} for r in REQUESTS]
PROMPTS = [r.prompt for r in REQUESTS]


@pytest.fixture(scope="module")
def atlas() -> LanguageModel:
    """The embedded model, loaded once; every test leaves it as it was."""
    edited = bw.edit("atlas-small", "unedited", MAPS[:1])
    edited.lm.model.config._name_or_path = "somewhere/Atlas-small"
    return edited.lm


@pytest.fixture
def loaded(atlas: LanguageModel) -> tuple[Any, Any]:
    return atlas.model, atlas.tokenizer


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A method by its name; WISE without its sampled contexts, in which most of its time goes."""
    file = tmp_path_factory.mktemp("specs") / "wise-retrieve.yaml"
    quick = "{atlas-small: {algorithm: {context_beginnings: [], steps: 20, save_freq: 2, merge_freq: 2}}}"
    file.write_text(f"kind: method\nname: wise-quick\nextends: wise-retrieve\nfor_models: {quick}\n", encoding="utf-8")
    return lambda name: str(file) if name == "wise-retrieve" else name


def logits(model: Any, tokenizer: Any, prompts: list[str] = PROMPTS) -> torch.Tensor:
    """Of the last token of each prompt, all in one batch padded at the left."""
    tokenizer.padding_side = "left"
    with torch.no_grad():
        return model(**tokenizer(prompts, return_tensors="pt", padding=True), use_cache=False).logits[:, -1]


def generated(model: Any, tokenizer: Any, prompts: list[str], tokens: int = 6, **how: Any) -> list[str]:
    """By transformers' own `generate`."""
    tokenizer.padding_side = "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    settings = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": tokenizer.pad_token_id, **how}
    out = model.generate(**batch, **settings)
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def test_three_lines() -> None:
    from benchwright import edit

    edited = edit("atlas-small", "ft-m", MAPS[:1])
    assert edited.scores["reliability.exact"] == {"before": 0.0, "after": 1.0, "n": 1}
    before, after = edited.answers[REQUESTS[0].id]
    assert before != after
    assert after.strip() == REQUESTS[0].target_new
    assert edited.ask(PROMPTS[0]).startswith(REQUESTS[0].target_new)
    assert edited.to_json()["model"] == "atlas-small"


def test_a_loaded_model_is_edited_and_given_back(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    model.train()
    model.requires_grad_(True)
    untouched = state_of(model)
    with bw.edit(loaded, "ft-m", REQUESTS[:2], settings="atlas-small") as edited:
        assert edited.scores["reliability.exact"]["after"] == 1.0
        assert state_of(model).tensors.keys() == untouched.tensors.keys()
        assert edited.model is model
        changed = state_of(model)
    model_now = state_of(model)
    assert {n: t.full for n, t in changed.tensors.items()} != {n: t.full for n, t in untouched.tensors.items()}
    for now, before in ((model_now.tensors[n], t) for n, t in untouched.tensors.items()):
        assert (now.full, now.requires_grad) == (before.full, before.requires_grad)
    assert model.training
    assert (model_now.settings, len(model_now.hooks)) == (untouched.settings, len(untouched.hooks))
    model.eval().requires_grad_(False)


def test_a_loaded_model_is_edited_like_a_spec(atlas: LanguageModel, loaded: tuple[Any, Any]) -> None:
    """Settings are found by the name it was loaded from."""
    assert names_for(atlas) == ["atlas-small"]
    named, own = (bw.edit(model, "ft-m", MAPS[:2]).patch().digest() for model in ("atlas-small", loaded))
    assert named == own


def test_what_is_kept_of_a_model_belongs_to_its_very_numbers(atlas: LanguageModel) -> None:
    before = state_of_loaded(atlas)
    assert before == state_of_loaded(atlas)
    name, parameter = next(iter(atlas.model.named_parameters()))
    with Patch(
        {name: torch.zeros_like(parameter).index_put_((torch.tensor(0), torch.tensor(0)), torch.tensor(1.0))}
    ).applied(atlas):
        assert state_of_loaded(atlas) != before
    assert state_of_loaded(atlas) == before


@pytest.mark.parametrize("method", ["grace", "wise-retrieve"])
def test_plain_generation_answers_as_we_do(loaded: tuple[Any, Any], methods: Callable[[str], str], method: str) -> None:
    edited = bw.edit(loaded, methods(method), MAPS[:3])
    assert edited.scores["reliability.exact"]["after"] == 1.0
    ours = edited.ask(PROMPTS, 6)
    with edited.applied() as model:
        assert [text.strip() for text in generated(model, loaded[1], PROMPTS)] == ours
        # One by one, and with beams, whose rows are sorted anew at each step.
        assert [generated(model, loaded[1], [p])[0].strip() for p in PROMPTS] == ours
        first = generated(model, loaded[1], PROMPTS[:3], tokens=1, num_beams=3)
        assert [text.strip() for text in first] == [r.target_new.split()[0] for r in REQUESTS[:3]]
    assert "generate" not in vars(loaded[0])
    assert edited.lm.asked is None


def test_what_plain_calls_cannot_tell_is_refused(loaded: tuple[Any, Any]) -> None:
    edited = bw.edit(loaded, "grace", MAPS[:1])
    batch = loaded[1](PROMPTS[:1], return_tensors="pt")
    with edited.applied() as model:
        with pytest.raises(BenchwrightError, match="generates with a cache only"):
            model.generate(**batch, use_cache=False, max_new_tokens=2)
        cache = model(**batch, use_cache=True).past_key_values
        with pytest.raises(BenchwrightError, match="tokens behind a cache"):
            model(input_ids=batch["input_ids"], past_key_values=cache)
    assert edited.lm.asked is None


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_plain_call_finds_the_ends_of_padded_prompts(family: str) -> None:
    """A codebook acts at the last real token of each row, on whichever side the padding stands."""
    lm = tiny(family)
    name = {"gpt2": "transformer.h.0.mlp", "llama": "model.layers.0.mlp"}[family]
    book = Codebook(torch.zeros(1, 32), torch.ones(1, 32), torch.tensor([1e9]), torch.zeros(1, 1, dtype=torch.long))
    texts, found = ["a", "a longer prompt"], {}
    with in_use(lm, Patch(inserts={name: book})) as model, torch.no_grad():
        alone = [model(**lm.tokenizer(t, return_tensors="pt")).logits[0, -1] for t in texts]
        for side in ("left", "right"):
            lm.tokenizer.padding_side = side
            batch = lm.tokenizer(texts, return_tensors="pt", padding=True)
            positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
            last = torch.full((2,), -1) if side == "left" else batch["attention_mask"].sum(1) - 1
            found[side] = model(**batch, position_ids=positions).logits[torch.arange(2), last]
    plain = [lm.model(**lm.tokenizer(t, return_tensors="pt")).logits[0, -1] for t in texts]
    for i in range(2):
        assert not torch.allclose(alone[i], plain[i], atol=1e-3)
        assert torch.allclose(found["left"][i], alone[i], atol=1e-4)
        assert torch.allclose(found["right"][i], alone[i], atol=1e-4)


@pytest.mark.parametrize("method", ["grace", "wise-retrieve", "ice"])
def test_what_is_taken_back_was_never_made(loaded: tuple[Any, Any], methods: Callable[[str], str], method: str) -> None:
    """Exactly, one request out of the middle and the last ones, also where earlier states were forgotten."""
    edited = bw.edit(loaded, methods(method), MAPS[:3])
    whole = edited.patch().digest()
    edited._made._budget = 0  # type: ignore[union-attr]
    edited._made._forget()  # type: ignore[union-attr]
    edited.rollback(REQUESTS[1].id)
    two = edited.patch().digest()
    assert two == bw.edit(loaded, methods(method), [MAPS[0], MAPS[2]]).patch().digest()
    assert edited.answers[REQUESTS[1].id][0] == edited.answers[REQUESTS[1].id][1]
    edited.rollback(last=1)
    one = bw.edit(loaded, methods(method), MAPS[:1])
    assert edited.patch().digest() == one.patch().digest()
    assert len({whole, two, one.patch().digest()}) == 3
    assert edited.answers[REQUESTS[0].id] == one.answers[REQUESTS[0].id]
    edited.rollback(last=1)
    assert edited.patch().digest() == Patch().digest()
    edited.rollback()
    assert all(before == after for before, after in edited.answers.values())


def test_a_model_in_use_stays_so_when_a_request_is_taken_back(loaded: tuple[Any, Any]) -> None:
    edited = bw.edit(loaded, "ft-m", MAPS[:2])
    model = edited.model
    both = logits(model, loaded[1])
    assert edited.scores["reliability.exact"]["after"] == 1.0  # scored beside the use, which goes on
    assert torch.equal(logits(model, loaded[1]), both)
    edited.rollback(last=1)
    one = logits(model, loaded[1])
    edited.close()
    assert not torch.equal(logits(loaded[0], loaded[1]), one)
    with bw.edit(loaded, "ft-m", MAPS[:1]).applied() as alone:
        assert torch.equal(logits(alone, loaded[1]), one)


def test_single_edits_are_told_apart_by_their_ids(loaded: tuple[Any, Any]) -> None:
    edited = bw.edit(loaded, "ft-m", MAPS[:2], mode="single")
    first, second = (r.id for r in REQUESTS[:2])
    assert edited.ask(PROMPTS[0], case_id=first).startswith(REQUESTS[0].target_new)
    assert not edited.ask(PROMPTS[0], case_id=second).startswith(REQUESTS[0].target_new)
    with pytest.raises(BenchwrightError, match="a model of its own for each request"):
        edited.ask(PROMPTS[0])
    edited.rollback(first)
    assert edited.answers[first][0] == edited.answers[first][1]
    assert edited.answers[second][1].strip() == REQUESTS[1].target_new


@pytest.mark.parametrize("method", ["ft-m", "grace", "wise-retrieve", "ice"])
def test_a_saved_model_answers_bit_for_bit_as_the_edited_one(
    loaded: tuple[Any, Any], methods: Callable[[str], str], method: str, tmp_path: Path
) -> None:
    edited = bw.edit(loaded, methods(method), MAPS[:2])
    asked = [edited.prompt(p) for p in PROMPTS]
    with edited.applied() as model:
        before = logits(model, loaded[1], asked)
    edited.save(tmp_path / "m")
    assert (tmp_path / "m" / AROUND).exists() == (method != "ft-m")
    again = bw.load_edited(tmp_path / "m")
    assert [again.prompt(p) for p in PROMPTS] == asked
    assert torch.equal(logits(again.model, again.tokenizer, asked), before)
    assert again.ask(PROMPTS, 6) == edited.ask(PROMPTS, 6)
    again.close()


def test_an_edit_on_a_saved_edit_keeps_both_or_says_why_not(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    bw.edit(loaded, "grace", MAPS[:1]).save(tmp_path / "first")
    first = bw.load_edited(tmp_path / "first")
    on_top = bw.edit(first, "ft-m", MAPS[1:2], settings="atlas-small")
    on_top.save(tmp_path / "both")
    answers = bw.load_edited(tmp_path / "both").ask(PROMPTS[:2], 6)
    assert answers == on_top.ask(PROMPTS[:2], 6)
    assert [a.startswith(r.target_new) for a, r in zip(answers, REQUESTS, strict=False)] == [True, True]
    with pytest.raises(BenchwrightError, match="two edits stand beside"):
        bw.edit(first, "grace", MAPS[1:2], settings="atlas-small").save(tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_deltas_are_written_by_name(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    edited = bw.edit(loaded, "ft-m", MAPS[:1])
    edited.save(tmp_path / "d.safetensors")
    assert Patch.load(tmp_path / "d.safetensors").digest() == edited.patch().digest()


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"mode": "sequental"}, "unknown mode 'sequental'; did you mean 'sequential'?"),
    ({"mode": "batch", "batch_size": 2}, "batch_size belongs to mode sequential"),
    ({"batch_size": 0}, "batch_size: got 0"),
    (
        {"method": "mend"},
        "mend learns before it edits: give requests of other subjects to learn from, with --train FILE",
    ),
    ({"method": "serac", "train": "nowhere.json"}, "train nowhere.json: no such file"),
    ({"settings": "gpt2-xll"}, "unknown model in the settings of ft-m 'gpt2-xll'; did you mean 'gpt2-xl'?"),
    ({"method": "romme"}, "unknown method 'romme'; did you mean 'rome'?"),
    ({"model": "atlas-smal"}, "unknown model 'atlas-smal'; did you mean 'atlas-small'?"),
    ({"model": 3}, "model: got int; expected a name, a folder, or"),
    ({"model": (3, 4)}, "model: got int; expected a causal language model"),
    ({"requests": "nowhere.json"}, "requests nowhere.json: no such file"),
    ({"requests": []}, "requests: expected a JSON list of records"),
    ({"requests": MAPS[0]}, "requests: got dict; expected a file, or a list of requests"),
    (
        {"requests": [{"prompt": "a b", "subject": "a", "target": "c"}]},
        "record 0 (of 1, from 0): unknown field 'target'",
    ),
    ({"requests": [MAPS[0], MAPS[0] | {"case_id": "x"}]}, "change the same fact"),
]


@pytest.mark.parametrize(("changed", "message"), MISTAKES)
def test_mistakes_are_told_in_one_sentence(changed: dict[str, Any], message: str) -> None:
    given = {"model": "atlas-small", "method": "ft-m", "requests": MAPS[:1]} | changed
    with pytest.raises(BenchwrightError) as caught:
        bw.edit(**given)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_mistakes_with_what_is_there(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(BenchwrightError, match="device and dtype belong to a model that is opened here"):
        bw.edit(loaded, "ft-m", MAPS[:1], device="cpu")
    edited = bw.edit(loaded, "ft-m", MAPS[:2])
    for call, message in (
        (lambda: edited.rollback("caes"), "unknown request 'caes'"),
        (lambda: edited.rollback(REQUESTS[0].id, last=1), "say ids or `last`, not both"),
        (lambda: edited.rollback(last=0), "expected at least 1"),
        (lambda: edited.save(tmp_path), "exists and is not an empty folder"),
        (lambda: edited.save(tmp_path / "no" / "d.safetensors"), "cannot be written"),
        (lambda: bw.load_edited(tmp_path / "nothing"), "no such folder"),
    ):
        (tmp_path / "file").write_text("x", encoding="utf-8")
        with pytest.raises(BenchwrightError) as caught:
            call()
        assert message in str(caught.value)


def test_a_folder_whose_surroundings_do_not_fit_is_refused(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    edited = bw.edit(loaded, "grace", MAPS[:1])
    edited.save(tmp_path / "m")
    (insert,) = edited.patch().inserts.values()
    Patch(inserts={"model.layers.9.mlp": insert}).save(tmp_path / "m" / AROUND)
    with pytest.raises(BenchwrightError, match=r"beside a module model\.layers\.9\.mlp that the model does not have"):
        bw.load_edited(tmp_path / "m")
    (tmp_path / "m" / AROUND).write_bytes(b"no tensors")
    with pytest.raises(BenchwrightError, match="cannot be read as safetensors"):
        bw.load_edited(tmp_path / "m")


def test_a_model_that_a_method_has_no_settings_for_is_told(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    bw.edit(loaded, "unedited", MAPS[:1]).save(tmp_path / "m")
    with pytest.warns(UserWarning, match=r"ft-m has settings for atlas, .*, none for m: its general ones hold"):
        bw.edit(tmp_path / "m", "ft-m", MAPS[:1])
    named = bw.edit(tmp_path / "m", "ft-m", MAPS[:1], settings="atlas-small")
    assert named.patch().digest() == bw.edit(loaded, "ft-m", MAPS[:1]).patch().digest()


def test_a_method_may_learn_from_requests_of_other_subjects(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    """They are read like requests; the subjects that are edited are taken out."""
    file = tmp_path / "train.json"
    file.write_text(json.dumps([m | {"rephrase": f"so {m['prompt']}"} for m in MAPS]), encoding="utf-8")
    learnt = bw.edit(loaded, "unedited", MAPS[:1], train=file)._job.training
    assert {r.subject for r in learnt} == {r.subject for r in REQUESTS} - {REQUESTS[0].subject}
    file.write_text(json.dumps(MAPS[:1]), encoding="utf-8")
    with pytest.raises(BenchwrightError, match="no record to learn from; 1 have a subject that is edited too"):
        bw.edit(loaded, "unedited", MAPS[:1], train=file)


def test_requests_are_edit_requests_too(loaded: tuple[Any, Any]) -> None:
    plain = EditRequest("a", PROMPTS[0], REQUESTS[0].subject, REQUESTS[0].target_new)
    edited: Edited = bw.edit(loaded, "ft-m", [plain])
    assert list(edited.answers) == ["a"]


def test_two_results_on_one_model_give_it_back_as_it_was_and_only_one_is_in_force(loaded: tuple[Any, Any]) -> None:
    network, _ = loaded
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    for parameter in network.parameters():
        parameter.requires_grad_()
    first, second = (bw.edit(loaded, "ft-m", REQUESTS[i : i + 1], settings="atlas-small") for i in range(2))
    assert first.model is network
    for refused in (
        lambda: second.model,
        lambda: second.rows,
        lambda: bw.edit(loaded, "ft-m", REQUESTS[:1], settings="atlas-small"),
    ):
        with pytest.raises(ModelError, match="the edits of an earlier call are in force in it"):
            refused()
    first.close()
    assert second.model is network
    second.close()
    second.close()
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all((before[name] == tensor).all() for name, tensor in network.state_dict().items())
    network.eval().requires_grad_(False)
