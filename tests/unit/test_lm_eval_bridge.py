"""lm-evaluation-harness asked of a patched model: known answers, parity with its own model, and no trace left."""

from __future__ import annotations

import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.bridges.apart import apart
from benchwright.adapters.bridges.lm_eval import Scored, evaluate
from benchwright.adapters.bridges.params import General
from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.decoding import Debiased, Fixed
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.scoring import Row, encode, forced
from benchwright.adapters.lm.steering import Added
from benchwright.adapters.lm.writing import Question, written
from benchwright.adapters.worlds.knowledge.folder import open_model, shipped
from benchwright.errors import DataError, Skip

TASKS = Path(__file__).parents[1] / "data" / "lm_eval_tasks"
WRONG = {"3", "9", "14"}
"""Documents that ask for an answer which the world says is wrong."""
LONG = "Vurar Deimurson was born in Dredain . " * 100
PAIRS = (
    ("Vurar Deimurson was born in", " Dredain"),
    ("Vurar Deimurson was born in", " Deileir"),
    ("Vurar Deimurson was born in", " San Zukrim ."),
    ("Vurar Deimurson was born in ", "Dredain"),
    ("the wedding of Navan Movixson was with", " Sadram Sturosov ."),
    ("", "Maitreis is located in Veizalia ."),
    ("", "Maitreis"),
    ("Maitreis is", " located in Veizalia ."),
    (LONG + "Vurar Deimurson was born in", " Dredain ."),
)


@pytest.fixture(scope="module")
def atlas() -> LanguageModel:
    return LanguageModel(*open_model(shipped("atlas-small")))


@pytest.fixture
def llama() -> LanguageModel:
    """Random, one token a byte, `<s>` before every text, a context of 128."""
    found: LanguageModel = lm_fixtures.tiny("llama")
    return found


def answering(lm: LanguageModel, patch: Patch | None = None, batch_size: int = 4) -> Any:
    from benchwright.adapters.bridges.answering import Answering

    return Answering(lm, patch or Patch(), batch_size)


def requests(kind: str, asked: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, 0, ("task", i, 1)) for i, args in enumerate(asked)]


def own_model(lm: LanguageModel) -> Any:
    """The same model as lm-eval itself would ask it."""
    with apart():
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=3, device="cpu")


def torn(lm: LanguageModel, scale: float = 1.0) -> Patch:
    """Noise in the middle of the model."""
    found = linear(lm.model, 1, "mlp_down")
    noise = torch.randn(found.module.weight.shape, generator=torch.Generator().manual_seed(0))
    return Patch({found.weight_name: noise * scale})


def folder_of(tmp_path: Path, data: str = '{"prompt": "a", "answer": "b"}\n', **settings: str) -> Path:
    """A folder with the task `mine`; settings are lines of its file."""
    lines = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": "{data_files: {test: data.jsonl}}",
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": '"{{prompt}}"',
        "doc_to_target": '"{{answer}}"',
        "generation_kwargs": '{until: ["."], max_gen_toks: 4, do_sample: false}',
        "metric_list": "[{metric: exact_match, aggregation: mean, higher_is_better: true}]",
    }
    text = "".join(f"{name}: {value}\n" for name, value in {**lines, **settings}.items() if value)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "data.jsonl").write_text(data, encoding="utf-8")
    return tmp_path


def mine(lm: LanguageModel, folder: Path, *names: str, **general: Any) -> list[Scored]:
    return evaluate(lm, Patch(), General(tasks=names or ("mine",), **general), folder, 4)


def test_documents_have_the_answers_that_the_world_knows(atlas: LanguageModel) -> None:
    general = General(tasks=("atlas_writes", "atlas_facts"))
    found = evaluate(atlas, Patch(), general, TASKS, 4)
    right = [float(str(i) not in WRONG) for i in range(16)]
    assert [s.value for s in found if s.metric == "acc"] == right
    written_right = [s.value for s in found if s.metric == "exact_match"]
    assert [w for w, r in zip(written_right, right, strict=True) if not r] == [0.0] * len(WRONG)
    for scored in (s for s in found if s.metric == "exact_match"):
        prompt, answer = document(int(scored.document))
        (said,) = forced(atlas, [encode(atlas, prompt, f"{answer} .")], 4)
        assert scored.value == float(said.tokens == encode(atlas, prompt, f"{answer} .").target)
    assert {s.metric: s.better for s in found} == dict.fromkeys(("exact_match", "acc", "acc_norm"), "higher")
    assert [(s.task, s.document) for s in found if s.metric != "acc_norm"] == [
        (task, str(i)) for task in general.tasks for i in range(16)
    ]
    assert not any(s.cut for s in found)


def document(number: int) -> tuple[str, str]:
    import json

    record = json.loads((TASKS / "facts.jsonl").read_text(encoding="utf-8").splitlines()[number])
    return record["prompt"], record["answer"]


def test_the_first_documents_are_as_they_are_among_all(atlas: LanguageModel) -> None:
    every = evaluate(atlas, Patch(), General(tasks=("atlas_facts",)), TASKS, 4)
    assert evaluate(atlas, Patch(), General(tasks=("atlas_facts",), limit=5), TASKS, 4) == every[:10]


def test_a_patch_changes_the_answers_while_it_is_in_force_and_no_longer(atlas: LanguageModel) -> None:
    general = General(tasks=("atlas_facts", "atlas_writes"))
    before = evaluate(atlas, Patch(), general, TASKS, 4)
    under = evaluate(atlas, torn(atlas), general, TASKS, 4)
    assert [(s.task, s.document, s.metric) for s in under] == [(s.task, s.document, s.metric) for s in before]
    assert sum(s.value for s in under) < sum(s.value for s in before) - 5
    assert evaluate(atlas, Patch(), general, TASKS, 4) == before
    assert atlas.verify() == []


def test_log_probabilities_are_the_same_bits_before_and_after_a_patch(atlas: LanguageModel) -> None:
    asked = requests("loglikelihood", PAIRS)
    before, patch = answering(atlas).loglikelihood(asked), torn(atlas, 0.01)
    with patch.applied(atlas):
        under = answering(atlas, patch).loglikelihood(asked)
    assert under != before
    assert answering(atlas).loglikelihood(asked) == before


def test_log_probabilities_are_those_of_lm_evals_own_model(atlas: LanguageModel, llama: LanguageModel) -> None:
    for lm, pairs in (
        (atlas, PAIRS),
        (llama, [("A cat", " sat"), ("A cat", " s"), ("A cat", " t"), ("", "ab"), ("x" * 200, " yes"), ("é ", "è")]),
    ):
        asked = requests("loglikelihood", pairs)
        own, ours = own_model(lm), answering(lm)
        with apart():
            theirs = own.loglikelihood(asked)
        found = ours.loglikelihood(asked)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in theirs]
        assert [total for total, _ in found] == pytest.approx([total for total, _ in theirs], abs=1e-4)
        assert ours.cut == {("task", i) for i, (context, _) in enumerate(pairs) if len(context) >= 200}
        texts = requests("loglikelihood_rolling", [("Maitreis is located in Veizalia .",), (LONG,), ("Maitreis",)])
        with apart():
            rolled = own.loglikelihood_rolling(texts)
        assert ours.loglikelihood_rolling(texts) == pytest.approx(rolled, rel=1e-5, abs=1e-4)


def test_some_continuations_are_greedy_and_some_are_not(atlas: LanguageModel) -> None:
    found = answering(atlas).loglikelihood(requests("loglikelihood", PAIRS[:5]))
    assert [greedy for _, greedy in found] == [True, False, False, True, True]


def test_texts_are_those_of_lm_evals_own_model(atlas: LanguageModel, llama: LanguageModel) -> None:
    stops: tuple[list[str], ...] = ([" ."], ["."], ["born in", "\n\n"], [])
    contexts = ["Vurar Deimurson was born in", "the capital of Kigainia is", LONG + "Maitreis is located in"]
    ask = [(c, {"until": u, "max_gen_toks": n}) for u, n in zip(stops, (8, 8, 20, 12), strict=True) for c in contexts]
    for lm in (atlas, llama):
        asked = requests("generate_until", ask)
        own, ours = own_model(lm), answering(lm)
        with apart():
            theirs = own.generate_until(asked)
        assert ours.generate_until(asked) == theirs
        assert ours.cut == {("task", i) for i in range(2, 12, 3)}


def test_a_text_ends_with_the_token_that_ends_texts(atlas: LanguageModel) -> None:
    asked = requests("generate_until", [("Maitreis is located in", {"until": [], "max_gen_toks": 6})])
    (text,) = answering(atlas).generate_until(asked)
    assert text.startswith("Veizalia .")
    own = answering(atlas)
    own.__dict__["_ends"] = frozenset({atlas.tokenizer.convert_tokens_to_ids(".")})
    assert own.generate_until(asked) == ["Veizalia"]


def test_the_batch_size_is_float_noise(atlas: LanguageModel) -> None:
    general = General(tasks=("atlas_facts", "atlas_writes"))
    assert evaluate(atlas, Patch(), general, TASKS, 1) == evaluate(atlas, Patch(), general, TASKS, 64)
    asked = requests("loglikelihood", PAIRS)
    one, many = (answering(atlas, batch_size=size).loglikelihood(asked) for size in (1, 64))
    assert [total for total, _ in one] == pytest.approx([total for total, _ in many], abs=1e-4)


def test_what_a_patch_does_with_prompts_is_done_with_every_context(atlas: LanguageModel) -> None:
    before, after = "Maitreis is located in Roturia . ", " New"
    under = answering(atlas, Patch(prompts=Around(before, after)))
    plain = answering(atlas)
    for kind, args in (
        ("loglikelihood", (" Roturia",)),
        ("generate_until", ({"until": ["."], "max_gen_toks": 6},)),
    ):
        for context in ("the country of Maitreis is", ""):
            asked = requests(kind, [(context, *args)])
            (found,), (bare,) = getattr(under, kind)(asked), getattr(plain, kind)(asked)
            assert [found] == getattr(plain, kind)(requests(kind, [(before + context + after, *args)]))
            assert found != bare
    text = "the country of Maitreis is Roturia ."
    (found,) = under.loglikelihood_rolling(requests("loglikelihood_rolling", [(" " + text,)]))
    ((expected, _),) = plain.loglikelihood(requests("loglikelihood", [(before + after, " " + text)]))
    assert found == expected


def test_what_a_model_keeps_doing_with_prompts_is_done_too() -> None:
    lm = lm_fixtures.tiny("llama")
    asked = requests("loglikelihood", [("A cat", " sat")])
    expected = answering(lm).loglikelihood(requests("loglikelihood", [("so: A cat", " sat")]))
    lm.keep(Patch(prompts=Around("so: ")))
    assert answering(lm).loglikelihood(asked) == expected


def test_what_is_inserted_acts_where_the_prompt_ends(llama: LanguageModel) -> None:
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    patch = Patch(inserts={"model.layers.0": Added(vectors, 2.0, "answer")})
    # The first two share what is read; the third is the first, with a shorter prompt; the fourth is cut.
    pairs = [("A cat", " s"), ("A cat", " t"), ("A", " cat s"), ("x" * 150, " yes")]
    rows = [encode(llama, prompt, target) for prompt, target in pairs[:3]]
    yes = llama.tokenizer(" yes", add_special_tokens=False)["input_ids"]
    (x,) = llama.tokenizer("x", add_special_tokens=False)["input_ids"]
    rows.append(Row((*[x] * 125, *yes), 125))
    with patch.applied(llama):
        found = answering(llama, patch).loglikelihood(requests("loglikelihood", pairs))
        said = forced(llama, rows, 4)
    for (total, greedy), row, one in zip(found, rows, said, strict=True):
        assert total == pytest.approx(-one.nll * len(row.target), abs=1e-4)
        assert greedy == (one.tokens == row.target)
    plain = answering(llama).loglikelihood(requests("loglikelihood", pairs))
    assert all(abs(a - b) > 1e-3 for (a, _), (b, _) in zip(found, plain, strict=True))


def test_texts_are_written_as_the_patch_chooses_tokens(llama: LanguageModel) -> None:
    settings = {"until": [], "max_gen_toks": 12}
    how = Debiased(("The following is rude: ",), decay=1e5, floor=1e-9)
    patch, contexts = Patch(decoding=how), ["A cat", "Ships leave the harbour"]
    (found, *_), plain = (
        answering(llama, p).generate_until(requests("generate_until", [(c, settings) for c in contexts]))
        for p in (patch, Patch())
    )
    assert found != plain[0]
    assert found.strip() == written(llama, [Question(contexts[0])], patch, 12, 4)[0].text
    refusing = answering(llama, Patch(decoding=Fixed("No. Never.")))
    asked = [("A cat", {"until": ["."], "max_gen_toks": 12}), ("A cat", {"until": [], "max_gen_toks": 3})]
    assert refusing.generate_until(requests("generate_until", asked)) == ["No", "No."]


def test_a_chat_models_context_is_one_turn_of_the_users(tmp_path: Path, llama: LanguageModel) -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    llama.tokenizer.chat_template = template
    lm = LanguageModel(llama.model, llama.tokenizer, chat=True)
    own = answering(lm, Patch(prompts=Around("so: ")))
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A cat?"}]
    assert own.apply_chat_template(history) == "<user>so: Be brief.\n\nA cat?<assistant>"
    begun = own.apply_chat_template([*history, {"role": "assistant", "content": "It"}], add_generation_prompt=False)
    assert begun == "<user>so: Be brief.\n\nA cat?<assistant>It"
    text = own.apply_chat_template(history[1:])
    (found,) = own.loglikelihood(requests("loglikelihood", [(text, "yes")]))
    ids = lm.tokenizer(text + "yes", add_special_tokens=False)["input_ids"]
    (said,) = forced(lm, [Row(tuple(ids), len(ids) - 3)], 1)
    assert found[0] == pytest.approx(-3 * said.nll, abs=1e-4)
    # Through lm-eval: its texts are those of the template.
    folder = folder_of(tmp_path)
    (scored,) = mine(lm, folder)
    turn = requests("generate_until", [(answering(lm).apply_chat_template([{"role": "user", "content": "a"}]), {})])
    turn[0].arguments[1].update(until=["."], max_gen_toks=4)
    (text,) = answering(lm).generate_until(turn)
    assert scored.value == float(text == "b")


@pytest.mark.parametrize("length", [1, 2, 5, 8, 9, 10, 17, 30])
@pytest.mark.parametrize("start", [1, 3, 12])
def test_windows_speak_of_every_token_once(length: int, start: int) -> None:
    from benchwright.adapters.bridges.likelihood import windows

    ids = tuple(range(start + length))
    found = list(windows(Row(ids, start), 9))
    assert [t for row in found for t in row.target] == list(ids[start:])
    for row in found:
        assert row.ids == ids[row.ids[0] : row.ids[-1] + 1]
        assert len(row.prompt) >= 1
        # As much before as fits.
        assert len(row.ids) == 9 or row.ids[0] == 0


def test_a_broken_model_is_wrong_and_not_an_error(atlas: LanguageModel, tmp_path: Path) -> None:
    patch = torn(atlas, math.nan)
    found = evaluate(atlas, patch, General(tasks=("atlas_facts", "atlas_writes")), TASKS, 4)
    assert len(found) == 48
    assert all(s.value in (0.0, 1.0) for s in found)
    assert all(s.value == 0.0 for s in found if s.metric == "exact_match")
    folder = folder_of(tmp_path, '{"text": "Maitreis is located in Veizalia ."}\n', **ROLLING)
    broken = evaluate(atlas, patch, General(tasks=("mine",)), folder, 4)
    assert [s.value for s in broken] == [math.inf] * 2
    assert atlas.verify() == []


ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": '""',
    "doc_to_target": '"{{text}}"',
    "generation_kwargs": "",
    "metric_list": "[{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}, "
    "{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}]",
}


def test_perplexity_is_that_of_the_document(atlas: LanguageModel, tmp_path: Path) -> None:
    texts = ["Maitreis is located in Veizalia .", "New Dakeim is famous for cake ."]
    folder = folder_of(tmp_path, "".join(f'{{"text": "{t}"}}\n' for t in texts), **ROLLING)
    found = mine(atlas, folder)
    assert [(s.document, s.metric, s.better) for s in found] == [
        (d, m, "lower") for d in ("0", "1") for m in ("word_perplexity", "bits_per_byte")
    ]
    for i, text in enumerate(texts):
        ids = (atlas.tokenizer.eos_token_id, *atlas.tokenizer(text)["input_ids"])
        total = forced(atlas, [Row(ids, 1)], 1)[0].nll * (len(ids) - 1)
        assert found[2 * i].value == pytest.approx(math.exp(total / len(text.split())), rel=1e-4)
        assert found[2 * i + 1].value == pytest.approx(total / len(text) / math.log(2), rel=1e-4)


def test_a_document_that_does_not_fit_is_marked(llama: LanguageModel, tmp_path: Path) -> None:
    long = "x" * 200
    data = f'{{"prompt": "a", "answer": "b"}}\n{{"prompt": "{long}", "answer": "b"}}\n'
    assert [(s.document, s.cut) for s in mine(llama, folder_of(tmp_path, data))] == [("0", False), ("1", True)]
    folder_of(
        tmp_path,
        data,
        output_type="multiple_choice",
        doc_to_choice='["b", "c"]',
        generation_kwargs="",
        metric_list="[{metric: acc, aggregation: mean, higher_is_better: true}]",
    )
    assert [(s.document, s.cut) for s in mine(llama, tmp_path)] == [("0", False), ("1", True)]


def test_filters_have_metrics_of_their_own(atlas: LanguageModel, tmp_path: Path) -> None:
    data = '{"prompt": "the capital of Kigainia is", "answer": "PANI"}\n'
    steps = '[{function: regex, regex_pattern: "San (.*)"}, {function: uppercase}, {function: take_first}]'
    filters = "[{name: as-it-is, filter: [{function: take_first}]}, {name: loud, filter: " + steps + "}]"
    settings = {"generation_kwargs": '{until: [" ."], max_gen_toks: 6}', "filter_list": filters}
    found = mine(atlas, folder_of(tmp_path, data, **settings))
    assert [(s.metric, s.value) for s in found] == [("exact_match.as-it-is", 0.0), ("exact_match.loud", 1.0)]


def test_groups_and_tags_stand_for_their_tasks(atlas: LanguageModel, tmp_path: Path) -> None:
    folder_of(tmp_path, tag="some")
    (tmp_path / "other.yaml").write_text((tmp_path / "mine.yaml").read_text().replace("task: mine", "task: other"))
    assert [s.task for s in mine(atlas, tmp_path, "some")] == ["mine", "other"]
    with pytest.raises(DataError, match="'mine' is asked for twice: 'some'"):
        mine(atlas, tmp_path, "mine", "some")
    (tmp_path / "both.yaml").write_text("group: both\ntask: [other, mine]\n")
    assert [s.task for s in mine(atlas, tmp_path, "both")] == ["other", "mine"]


def test_an_unknown_task_names_the_closest_known_one(atlas: LanguageModel) -> None:
    for name, message in (
        ("atlas_fact", "unknown lm-eval task 'atlas_fact'; did you mean 'atlas_facts'?"),
        ("hellaswga", "did you mean 'hellaswag'?"),
        ("¿?", "those of .*: atlas_facts, atlas_writes"),
    ):
        with pytest.raises(DataError, match=message.replace("?", "[?]") if name != "¿?" else message):
            mine(atlas, TASKS, name)


def test_a_folder_of_data_beside_the_task_is_a_data_set(atlas: LanguageModel, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, dataset_path="some", dataset_kwargs="")
    for name in ("some", "json"):
        (folder / name).mkdir()
        (folder / name / "test.jsonl").write_text('{"prompt": "the capital of Kigainia is", "answer": "San Pani "}\n')
    assert [s.value for s in mine(atlas, folder)] == [1.0]
    folder_of(tmp_path, '{"prompt": "the capital of Kigainia is", "answer": "Gaber "}\n')  # the format, not the folder
    assert [s.value for s in mine(atlas, folder)] == [0.0]


def test_a_task_of_the_hub_says_what_is_missing_and_how_to_provide_it(atlas: LanguageModel, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, dataset_path="someone/facts", dataset_kwargs="")
    with pytest.raises(DataError, match=r"task 'mine': its data set 'someone/facts' is not .*HF_HOME.*`folder`"):
        mine(atlas, folder)


REFUSED = {
    "code": ({"doc_to_text": "!function code.text"}, r"mine.yaml:6: has a YAML tag \(`!function`\)"),
    "no YAML": ({"doc_to_text": "[a"}, r"mine.yaml:7: not YAML"),
    "elsewhere": ({"dataset_kwargs": "{data_files: {test: ../data.jsonl}}"}, "task 'mine': ../data.jsonl is not in"),
    "included": ({"include": "/etc/hostname"}, "mine.yaml: include: /etc/hostname is not in"),
    "absent": ({"dataset_kwargs": "{data_files: gone.jsonl}"}, "task 'mine': .*gone.jsonl: no such file"),
    "metric": ({"metric_list": "[{metric: exact_mach}]"}, "task 'mine': unknown metric 'exact_mach'; did you mean 'ex"),
    "hub's": ({"metric_list": "[{metric: rouge, hf_evaluate: true}]"}, "'rouge': `hf_evaluate` fetches code"),
    "drawn": ({"generation_kwargs": "{until: [x], temperature: 0.7}"}, "'mine': its texts are drawn at random .*0.7"),
    "sampled": ({"generation_kwargs": "{until: [x], do_sample: true}"}, "'mine': its texts are drawn at random"),
    "beams": ({"generation_kwargs": "{until: [x], num_beams: 4}"}, "'mine': generation_kwargs: num_beams: texts are"),
    "unsafe": ({"unsafe_code": "true"}, "'mine': runs code that the model writes"),
    "field": ({"doc_to_text": '"{{question}}"'}, "'mine': cannot be built .*question"),
    "of many": (
        {"metric_list": "[{metric: bleu, aggregation: bleu, higher_is_better: true}]"},
        r"'mine': no metric of it \(bleu\) speaks of a single document",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_is_refused_with_a_reason(case: str, atlas: LanguageModel, tmp_path: Path) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        mine(atlas, folder_of(tmp_path, **settings))
    assert atlas.verify() == []


def test_broken_data_is_an_error_with_its_task(atlas: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'mine': cannot be built .*JSON"):
        mine(atlas, folder_of(tmp_path, '{"prompt": \n'))
    data = '{"prompt": "a", "answer": "b", "more": {"x": "1"}}\n{"prompt": "a", "answer": "b", "more": null}\n'
    with pytest.raises(DataError, match="tasks mine: a template does not fit a document"):
        mine(atlas, folder_of(tmp_path, data, doc_to_text='"{{more.x}}"'))


def test_the_same_name_twice_is_an_error(atlas: LanguageModel, tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "other.yaml").write_text((tmp_path / "mine.yaml").read_text())
    with pytest.raises(DataError, match=r"other.yaml: 'mine' is also the name of a task in .*mine.yaml"):
        mine(atlas, tmp_path)


def test_a_text_that_leaves_no_room_is_skipped(llama: LanguageModel, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, generation_kwargs="{until: [x], max_gen_toks: 128}")
    with pytest.raises(Skip, match=r"'mine': texts of up to 128 tokens leave no room .* context of 128"):
        mine(llama, folder)


def test_nothing_to_be_scored_is_an_error_with_its_document(atlas: LanguageModel) -> None:
    for pair in (("Maitreis is", ""), ("Maitreis is", " "), ("", "")):
        with pytest.raises(DataError, match="task 'task', document 0: nothing to be scored"):
            answering(atlas).loglikelihood(requests("loglikelihood", [pair]))


def test_no_trace_is_left(
    atlas: LanguageModel, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)

    def state() -> list[Any]:
        return [
            random.getstate(),
            str(np.random.get_state(legacy=False)["state"]["pos"]),
            np.random.get_state(legacy=False)["state"]["key"].tolist(),
            torch.get_rng_state().tolist(),
            dict(os.environ),
            [logging.getLogger(name).level for name in ("lm_eval", "datasets", "transformers", "")],
            (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE),
            (sys.stdout, sys.stderr),
            sorted(p.name for p in tmp_path.iterdir()),
        ]

    before = state()
    evaluate(atlas, Patch(), General(tasks=("atlas_facts", "atlas_writes")), TASKS, 4)
    with pytest.raises(DataError):
        mine(atlas, TASKS, "atlas_fact")
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_the_hub_is_out_of_reach_inside_only() -> None:
    import huggingface_hub

    before = huggingface_hub.constants.HF_HUB_OFFLINE
    with apart():
        assert huggingface_hub.constants.HF_HUB_OFFLINE
        drawn = random.random()
    with apart():
        assert random.random() == drawn
    after = huggingface_hub.constants.HF_HUB_OFFLINE
    assert after == before


def test_a_spec_is_checked_without_the_library() -> None:
    heavy = "lm_eval", "torch", "datasets", "transformers"
    code = f"import sys, benchwright.adapters.bridges.params; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for wrong in ({"tasks": ()}, {"tasks": ("a", "a")}, {"tasks": ("a",), "limit": 0}):
        with pytest.raises(ValidationError):
            General(**wrong)
