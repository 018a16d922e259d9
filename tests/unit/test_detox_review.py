"""Detoxification where something is missing, broken, too long, or cut into other parts: counted, never a crash."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detox_fixtures import BAD, write_classifier
from typer.testing import CliRunner

from benchwright.adapters.bridges import lm_eval
from benchwright.adapters.bridges.lm_eval import Scored
from benchwright.adapters.bridges.params import General
from benchwright.adapters.detox.judging import Classified, kind_of
from benchwright.adapters.detox.params import Classifier, Detox, Exact, Mechanism, Relearning
from benchwright.adapters.detox.run import run
from benchwright.adapters.detox.sources.params import DetoxCases, ForbiddenCases, SafeEdit
from benchwright.adapters.lm.decoding import Fixed
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.interventions.dinm import Dinm
from benchwright.adapters.lm.interventions.none import Nothing
from benchwright.adapters.lm.interventions.tune.params import Everything, Npo, Sft, Stage, Tune
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.writing import Question, written
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.cli.app import app
from benchwright.components import Opening
from benchwright.errors import Skip
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.parts import check, join, write_part
from benchwright.stats import interval
from benchwright.store import Cell

DINM = Dinm(type="dinm", lr=6e-2, steps=4)
BROKEN = Dinm(type="dinm", lr=2e37, steps=3)
"""Steps so large that the weights are no numbers any more."""
NOTHING = Nothing(type="none")
INSIDE = Mechanism(directions=3)
ATTACK = Relearning(lr=1e-4, steps=1)
LONG = "kind " * 300
"""More than the model's context."""


@pytest.fixture(scope="module")
def lm() -> Iterator[LanguageModel]:
    opened = World(type="world", name="forbidden").open(
        Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
    )
    yield opened
    assert opened.verify() == []


def protocol(**fields: Any) -> Detox:
    return Detox(type="detox", **{"judge": Exact(type="exact"), "new_tokens": 20, "curve": False, **fields})


def job_of(lm: LanguageModel, folder: Path, method: Intervention, asked: Detox, data: DetoxCases | None = None) -> Job:
    task = TaskSpec(kind="task", name="t", data=data or ForbiddenCases(type="forbidden", cases=3), protocol=asked)
    spec = MethodSpec(kind="method", name="m", algorithm=method)
    return Job(task, spec, 0, None, {"subject": lm}, {"subject": "forbidden"}, {}, ArtifactStore(folder))


def ran(lm: LanguageModel, folder: Path, method: Intervention, **fields: Any) -> list[Part]:
    asked = protocol(**fields)
    parts = list(run(asked, job_of(lm, folder / "artifacts", method, asked)))
    assert lm.verify() == []
    return parts


def joined(folder: Path, asked: Detox, parts: Sequence[Part]) -> Cell:
    """As a worker joins and checks them."""
    for part in parts:
        write_part(folder / "parts", part, {})
    whole = join(folder / "parts")
    check(whole, {column for metric in asked.metrics() for column in metric.inputs})
    return Cell({}, whole.records, whole.items)


def skipped(parts: Sequence[Part]) -> Counter[str]:
    return sum((Counter(part.skipped) for part in parts), Counter[str]())


def changed(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Change the request of the first case."""
    load = ForbiddenCases.load

    def other(self: ForbiddenCases, files: Any, limit: Any) -> Any:
        first, *rest = load(self, files, limit)
        return [replace(first, request=replace(first.request, **fields)), *rest]

    monkeypatch.setattr(ForbiddenCases, "load", other)


# general ability


def evaluated(monkeypatch: pytest.MonkeyPatch, values: Sequence[float]) -> None:
    scored = [Scored("facts", str(n), "acc", value, "higher") for n, value in enumerate(values)]
    monkeypatch.setattr(lm_eval, "evaluate", lambda *_: scored)


def test_one_model_for_all_is_put_to_the_general_tasks_once(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(monkeypatch, [1.0, 0.0, 1.0, 1.0])
    asked = protocol(general=General(tasks=("facts",)), chunk=2)
    parts = ran(lm, tmp_path, NOTHING, general=General(tasks=("facts",)), chunk=2)
    cell = joined(tmp_path, asked, parts)
    assert sum("benchmark" in item for item in cell.items) == 4
    (after,) = [m for m in asked.metrics() if m.id == "general.after"]
    ((_, sample),) = cell.samples(after).items()
    found = interval(after, [sample])
    # Four documents are resampled, not the one model.
    assert (found.items, found.clusters) == (4, 4)
    assert found.low < found.value < found.high


def test_a_value_that_is_not_finite_is_left_out_on_both_sides(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(monkeypatch, [1.0, math.inf])
    asked = protocol(general=General(tasks=("facts",)), costly_cases=2)
    parts = ran(lm, tmp_path, DINM, general=General(tasks=("facts",)), costly_cases=2)
    cell = joined(tmp_path, asked, parts)
    assert sum(row["metric"].startswith("general.") for row in cell.records) == 2 * 2
    assert skipped(parts) == {"general ability: a document's value is not finite": 2}


# what is costly


def test_a_broken_model_is_scored_and_what_is_no_number_is_counted(lm: LanguageModel, tmp_path: Path) -> None:
    asked = protocol(mechanism=INSIDE, relearning=ATTACK, curve=True)
    parts = ran(lm, tmp_path, BROKEN, mechanism=INSIDE, relearning=ATTACK, curve=True)
    cell = joined(tmp_path, asked, parts)
    assert sum(row["metric"] == "ds" for row in cell.records) == 3
    assert sum(row["metric"] == "inside.probe_accuracy" for row in cell.records) == 3
    assert not any(row["metric"] == "inside.cosine" for row in cell.records)
    assert skipped(parts) == {"inside: a value is not finite": 3}


def test_without_a_training_split_nothing_is_made_up(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForbiddenCases, "training", lambda self, files: [])
    parts = ran(lm, tmp_path, DINM, mechanism=INSIDE, relearning=ATTACK, costly_cases=2)
    assert skipped(parts) == {
        "inside: the task has no training split": 2,
        "relearning: the task has no training split": 2,
    }
    sft = Tune(type="tune", parameters=Everything(), stages=(Stage(objective=Sft(type="sft"), lr=1e-3, steps=1),))
    with pytest.raises(Skip, match="no training split"):
        ran(lm, tmp_path, sft)


def test_training_pairs_that_cannot_be_asked_are_not_read(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = ForbiddenCases.training

    def some(self: ForbiddenCases, files: Any) -> Any:
        pairs = training(self, files)[:40]
        return [replace(pairs[0], target_true=LONG), replace(pairs[1], target_true=None), *pairs[2:]]

    monkeypatch.setattr(ForbiddenCases, "training", some)
    parts = ran(lm, tmp_path, NOTHING, mechanism=INSIDE)
    assert not skipped(parts)
    assert sum(row["metric"] == "inside.cosine" for p in parts for row in p.records) == 3
    monkeypatch.setattr(ForbiddenCases, "training", lambda self, files: training(self, files)[:1])
    (reason,) = skipped(ran(lm, tmp_path, NOTHING, mechanism=INSIDE))
    assert reason.startswith("inside: the training split has too few pairs")


def test_an_answer_that_does_not_fit_locates_no_region(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, target_true=LONG)
    parts = ran(lm, tmp_path, DINM, mechanism=INSIDE)
    assert sum(row["metric"] == "inside.cosine" for p in parts for row in p.records) == 3
    (reason,) = skipped(parts)
    assert reason.startswith("request not carried out: longer than the model's context")


def test_a_prompt_that_does_not_fit_leaves_the_others_alone(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, prompt=LONG)
    parts = ran(lm, tmp_path, NOTHING, mechanism=INSIDE)
    assert sum(row["metric"] == "inside.cosine" for p in parts for row in p.records) == 2
    (reason,) = (reason for reason in skipped(parts) if reason.startswith("inside: longer than"))
    assert skipped(parts)[reason] == 1


def test_an_objective_without_what_it_needs_is_a_method_that_does_not_apply(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = ForbiddenCases.training
    monkeypatch.setattr(
        ForbiddenCases, "training", lambda self, files: [replace(r, keep=()) for r in training(self, files)[:30]]
    )
    npo = Tune(type="tune", parameters=Everything(), stages=(Stage(objective=Npo(type="npo"), lr=1e-3, steps=1),))
    with pytest.raises(Skip, match="no harmless prompts"):
        ran(lm, tmp_path, npo)


# parts


def test_examples_are_those_of_the_first_part(lm: LanguageModel, tmp_path: Path) -> None:
    parts = ran(lm, tmp_path, DINM, chunk=2)
    (shown,) = [part.exhibits["examples"] for part in parts if "examples" in part.exhibits]
    assert shown["rows"][0][0] == f"attacked: {ForbiddenCases(type='forbidden').load({}, 1)[0].request.prompt}"
    assert len(shown["rows"]) == 2 * 3


@pytest.mark.parametrize("method", [NOTHING, DINM], ids=["once", "each"])
def test_after_a_kill_the_same_responses_are_counted_as_cut(
    lm: LanguageModel, tmp_path: Path, method: Intervention
) -> None:
    folder = write_classifier(tmp_path / "judge")
    spec = Classifier(type="classifier", folder="judge", id="ours", max_tokens=6)
    asked = protocol(judge=spec, chunk=1)
    job = job_of(lm, tmp_path / "artifacts", method, asked)
    job = replace(job, files={"protocol": {"judge.folder": folder}})
    whole = {part.name: part for part in run(asked, job)}
    first = next(iter(whole.values()))
    again = {p.name: p for p in run(asked, replace(job, finished={first.name: first.state}, wanted=set()))}
    assert list(again) == list(whole)[1:]
    for name, part in again.items():
        assert (part.records, part.skipped, part.facts) == (whole[name].records, whole[name].skipped, whole[name].facts)
    assert all(len(part.skipped) == 1 for part in whole.values() if part.records)


@pytest.mark.parametrize("method", [NOTHING, DINM], ids=["once", "each"])
def test_a_stream_goes_on_after_a_kill(lm: LanguageModel, tmp_path: Path, method: Intervention) -> None:
    asked = protocol(mode="sequential", checkpoints=(1, 2, 3))
    job = job_of(lm, tmp_path / "artifacts", method, asked)
    whole = list(run(asked, job))
    for done in (1, 2, 3):
        finished = {part.name: part.state for part in whole[:done]}
        rest = list(run(asked, replace(job, finished=finished, wanted=set())))
        assert [(p.name, p.records, p.items) for p in rest] == [(p.name, p.records, p.items) for p in whole[done:]]


# judges


def test_a_prompt_that_fills_the_judge_is_cut_and_no_crash(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "judge")
    spec = Classifier(type="classifier", folder="judge", id="ours", sees="prompt_and_response", max_tokens=8)
    judge = Classified(spec, folder, "cpu")
    prompts, responses = ["no " * 40, "no", f"{BAD} no", "no " * 40], [BAD, "no " * 40 + BAD, "no", "no"]
    assert judge.unsafe(prompts, responses) == [1.0, 0.0, 1.0, 0.0]
    assert judge.cut() == 3
    assert judge.cut() == 0
    # What is known already counts again where it is met again, and once.
    assert judge.unsafe(prompts[:1] * 2, responses[:1] * 2) == [1.0, 1.0]
    assert judge.cut() == 1


def test_an_apostrophe_may_be_a_quotation_mark() -> None:
    assert kind_of("I can\u2019t help with that.", None) == kind_of("I can't help with that.", None) == "refusal"


# one's own copy of SafeEdit


def all_inputs(file: Path) -> SafeEdit:
    """SafeEdit_test_ALL's form: one input each, no answers, no training split."""
    rows = []
    for i, case in enumerate(ForbiddenCases(type="forbidden").load({}, 4)):
        attacked, question = i % 2, case.inputs["only_q"].removesuffix(" ?")
        rows.append(
            {
                "id": i,
                "unsafety category": "bias",
                "question": question,
                "malicious input": case.request.prompt if attacked else question,
                "attack name": f"attack {i}" if attacked else "None",
            }
        )
    file.write_text(json.dumps(rows), encoding="utf-8")
    return SafeEdit(type="safeedit", file=file.name, layout="all")


@pytest.mark.parametrize("mode", [{}, {"mode": "sequential", "checkpoints": (1, 2)}], ids=["single", "sequential"])
def test_single_inputs_without_answers_are_asked_of_the_untouched_model(
    lm: LanguageModel, tmp_path: Path, mode: Any
) -> None:
    data = all_inputs(tmp_path / "all.json")
    spec = Classifier(type="classifier", folder="judge", id="ours")
    costly = {} if mode else {"mechanism": INSIDE, "relearning": ATTACK}
    asked = protocol(judge=spec, prefill_words=8, **costly, **mode)
    files = {"data": {"file": tmp_path / "all.json"}, "protocol": {"judge.folder": write_classifier(tmp_path / "j")}}
    job = replace(job_of(lm, tmp_path / "artifacts", DINM, asked, data), files=files)
    parts = list(run(asked, job))
    cell = joined(tmp_path, asked, parts)
    assert skipped(parts)["request not carried out: the target is empty"] == (2 if mode else 4)
    inputs = {row["metric"] for row in cell.records if row["metric"].startswith("dg")}
    assert inputs <= {"dg.only_q", "dg.other_aq"}
    for case in job.items():
        assert case.request.prompt not in json.dumps([vars(p) | {"state": None} for p in parts])
    if not mode:
        assert len(inputs) == 2
        (only_q,) = [m for m in asked.metrics() if m.id == "dg.only_q"]
        ((_, sample),) = cell.samples(only_q).items()
        # Questions without an attack share none: they are independent.
        assert interval(only_q, [sample]).clusters == 2


# answers


def test_a_fixed_answer_is_as_long_as_others_may_be(lm: LanguageModel) -> None:
    patch = Patch(decoding=Fixed("sorry , i can not help with a ."))
    (short,), (whole,) = (written(lm, [Question("a")], patch, length, 1) for length in (3, 20))
    assert (short.text, len(short.tokens)) == ("sorry , i", 3)
    assert whole.text == "sorry , i can not help with a ."


# the command


def test_a_broken_instance_and_one_that_does_not_fit_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = []
    for i, case in enumerate(ForbiddenCases(type="forbidden").load({}, 2)):
        rows.append(
            {
                "id": i,
                "unsafety category": "bias",
                "question": case.inputs["only_q"],
                "adversarial prompt": case.request.prompt,
                "safe generation": case.request.target_new,
                "unsafe generation": LONG if i else case.request.target_true,
                "knowledge constrain": dict(zip(("prompt", "answer"), case.request.keep[0], strict=True)),
            }
        )
    Path("mine.json").write_text(json.dumps(rows), encoding="utf-8")
    method = "kind: method\nname: broken\nextends: dinm\nalgorithm: {layer: 2, lr: 2.0e+37}\n"
    Path("broken.yaml").write_text(method, encoding="utf-8")
    words = ["detox", "--model", "forbidden", "--method", "broken.yaml", "--requests", "mine.json", "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [sorted(row["responses"]["after"]) for row in found["instances"]] == [["safe", "unsafe"], ["safe"]]
    assert found["instances"][0]["responses"]["after"]["safe"] is None
    (reason,) = found["left_out"]
    assert reason.startswith("likelihood of the unsafe response: longer than the model's context")
