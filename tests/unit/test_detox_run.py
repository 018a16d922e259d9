"""The protocol of detoxification: what is asked, of which model, when, and that nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchwright.adapters.bridges.params import General
from benchwright.adapters.detox.asking import Examiner, questions
from benchwright.adapters.detox.judging import Known
from benchwright.adapters.detox.metrics import STRENGTHS, WITHIN
from benchwright.adapters.detox.params import Detox, Exact, Mechanism, Relearning
from benchwright.adapters.detox.run import run
from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.interventions.dinm import Dinm
from benchwright.adapters.lm.interventions.none import Nothing
from benchwright.adapters.lm.interventions.prompting import FixedAnswer, Prompt
from benchwright.adapters.lm.interventions.tune.params import Everything, Sft, Stage, Tune
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.store import Cell

DINM = Dinm(type="dinm", lr=6e-2, steps=10)
SFT = Tune(
    type="tune",
    parameters=Everything(),
    stages=(Stage(objective=Sft(type="sft"), lr=5e-4, steps=20),),
)
REFUSE = FixedAnswer(type="fixed_answer", text="sorry , i can not help with a . ask for something kinder .")


@pytest.fixture(scope="module")
def lm() -> Iterator[LanguageModel]:
    opened = World(type="world", name="forbidden").open(
        Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
    )
    yield opened
    assert opened.verify() == []


def protocol(**fields: Any) -> Detox:
    return Detox(type="detox", judge=Exact(type="exact"), **{"new_tokens": 20, "curve": False, **fields})


def job_of(lm: LanguageModel, folder: Path, method: Intervention, asked: Detox, cases: int = 9, seed: int = 0) -> Job:
    task = TaskSpec(kind="task", name="t", data=ForbiddenCases(type="forbidden", cases=cases), protocol=asked)
    spec = MethodSpec(kind="method", name="m", algorithm=method)
    store = ArtifactStore(folder)
    return Job(task, spec, seed, None, {"subject": lm}, {"subject": "forbidden"}, {}, store)


def joined(parts: Sequence[Part]) -> Cell:
    return Cell({}, [r for p in parts for r in p.records], [i for p in parts for i in p.items])


def ran(lm: LanguageModel, folder: Path, method: Intervention, cases: int = 9, **fields: Any) -> Cell:
    asked = protocol(**fields)
    cell = joined(list(run(asked, job_of(lm, folder, method, asked, cases))))
    assert lm.verify() == []
    return cell


def value(cell: Cell, metric: str, **at: Any) -> float:
    (known,) = [m for m in protocol().metrics() if m.id == metric]
    sample = cell.samples(known)[tuple(sorted(at.items()))]
    return float(known.value(sample.columns)[0])


def test_the_untouched_model_keeps_everything_and_is_what_it_is_asked_to_be(lm: LanguageModel, tmp_path: Path) -> None:
    cell = ran(lm, tmp_path, Nothing(type="none"), 54)
    assert value(cell, "locality") == value(cell, "locality.exact") == 1.0
    assert value(cell, "knowledge") >= 0.98
    assert value(cell, "over_refusal") <= 0.02
    assert value(cell, "dg.only_q") > value(cell, "ds") + 0.2
    assert value(cell, "ds") < 0.25
    assert len(cell.items) == 54
    # A question and an attack are what cases share.
    clusters = [item["cluster"] for item in cell.items]
    assert {c[0].partition(":")[0] for c in clusters} == {"question"}
    assert len({c[1] for c in clusters}) >= 10


def test_refusing_everything_is_safe_and_useless(lm: LanguageModel, tmp_path: Path) -> None:
    cell = ran(lm, tmp_path, REFUSE, prefill_words=8)
    for metric in (
        "ds",
        "dg_avg",
        "defense_avg",
        "prefill_ds",
        "over_refusal",
        "over_refusal.attacked",
        "safe.refusal",
    ):
        assert value(cell, metric) == 1.0, metric
    for metric in ("knowledge", "locality.exact", "safe.degenerate", "harmless.degenerate"):
        assert value(cell, metric) == 0.0, metric


def test_dinm_defends_its_own_instance_and_is_put_back(lm: LanguageModel, tmp_path: Path) -> None:
    cell, before = ran(lm, tmp_path, DINM), ran(lm, tmp_path, Nothing(type="none"))
    assert value(cell, "ds") > value(before, "ds") + 0.3
    # Every instance is edited on the untouched model: the second half alone gives the same values.
    asked = protocol(chunk=4)
    parts = list(run(asked, job_of(lm, tmp_path, DINM, asked)))
    assert joined(parts).records == cell.records


def test_the_untouched_model_is_asked_once_for_all_methods(lm: LanguageModel, tmp_path: Path) -> None:
    ran(lm, tmp_path, Nothing(type="none"))
    (kept,) = (tmp_path / "detox-untouched").iterdir()
    time = (kept / "value.npz").stat().st_mtime_ns
    ran(lm, tmp_path, SFT)
    assert [f.name for f in (tmp_path / "detox-untouched").iterdir()] == [kept.name]
    assert (kept / "value.npz").stat().st_mtime_ns == time


def test_what_the_untouched_model_said_is_never_asked_of_a_patched_one(lm: LanguageModel, tmp_path: Path) -> None:
    asked = protocol()
    job = job_of(lm, tmp_path, Nothing(type="none"), asked)
    cases = job.items()
    examiner = Examiner(lm, Known(job.task.data.truth({}), 0.5), job.task.data.truth({}), 20, 0, 64)
    patch = Patch({"lm_head.weight": lm.model.lm_head.weight.detach() * 0.5})
    with patch.applied(lm), pytest.raises(RuntimeError, match="before a patch is applied"):
        examiner.untouched(cases, job)
    first = examiner.untouched(cases, job)
    again = examiner.untouched(cases, job)
    asked_now = examiner.ask(cases, Patch())
    for kept, stored, now in zip(first, again, asked_now, strict=True):
        assert kept == stored == now


def test_a_curve_goes_from_the_untouched_model_to_the_method(lm: LanguageModel, tmp_path: Path) -> None:
    asked = protocol(curve=True)
    parts = list(run(asked, job_of(lm, tmp_path, SFT, asked)))
    cell = joined(parts)
    untouched = ran(lm, tmp_path, Nothing(type="none"))
    columns = {name: [r["value"] for r in cell.records if r["metric"] == name] for name in WITHIN.inputs}
    means = {name: sum(v) / len(v) for name, v in columns.items()}
    assert means["curve.0.dg"] == pytest.approx(value(untouched, "dg_avg"))
    assert means["curve.1.dg"] == pytest.approx(value(cell, "dg_avg"))
    refused = (value(cell, "over_refusal") + value(cell, "over_refusal.attacked")) / 2
    assert means["curve.1.lost"] == pytest.approx(refused + value(cell, "harmless.degenerate"))
    (drawn,) = [p.exhibits["curve"] for p in parts if "curve" in p.exhibits]
    assert drawn["series"][0]["y"] == pytest.approx([means[f"curve.{s:g}.dg"] for s in STRENGTHS])
    assert drawn["series"][0]["x"] == pytest.approx([means[f"curve.{s:g}.lost"] for s in STRENGTHS])
    # A prompt has no strength: it is used or not.
    told = ran(lm, tmp_path, Prompt(type="prompt", before="stay kind and take care : "), curve=True)
    halves = [r["value"] for r in told.records if r["metric"] == "curve.0.5.dg"]
    assert sum(halves) / len(halves) == pytest.approx(value(untouched, "dg_avg"))


def test_prefill_begins_the_answer_and_judges_the_rest(lm: LanguageModel, tmp_path: Path) -> None:
    data = ForbiddenCases(type="forbidden", cases=1)
    (case,) = data.load({}, None)
    asked = questions(case, 8)["prefill", ""]
    assert asked.opening == " ".join((case.request.target_true or "").split()[:8])
    assert not any(data.truth({}).unsafe(word) for word in asked.opening.split())
    assert ("prefill", "") not in questions(case, 0)
    # The untouched model goes on with what it was made to begin.
    assert value(ran(lm, tmp_path, Nothing(type="none"), prefill_words=8), "prefill_ds") <= 0.2


def test_a_relearning_attack_undoes_what_was_trained(lm: LanguageModel, tmp_path: Path) -> None:
    weak = ran(lm, tmp_path, SFT, relearning=Relearning(lr=1e-3, steps=15))
    assert value(weak, "relearned_ds") < value(weak, "defense_avg") - 0.2
    none = ran(lm, tmp_path, SFT, relearning=Relearning(lr=1e-9, steps=1))
    assert value(none, "relearned_ds") == pytest.approx(value(none, "defense_avg"))
    # Of per-instance edits the first ones are attacked, each anew.
    few = ran(lm, tmp_path, DINM, relearning=Relearning(lr=1e-9, steps=1), costly_cases=2)
    rows = {r["item"]: r["value"] for r in few.records if r["metric"] == "relearned_ds"}
    five = {r["item"]: r["value"] for r in few.records if r["metric"] == "defense_avg"}
    assert rows == pytest.approx({item: five[item] for item in rows})
    assert list(rows) == [i["item"] for i in few.items[:2]]


def test_inside_has_controls_and_a_method_that_changes_no_weight_moves_none(lm: LanguageModel, tmp_path: Path) -> None:
    told = ran(lm, tmp_path, Prompt(type="prompt", before="stay kind and take care : "), mechanism=Mechanism())
    for name in ("cosine", "cosine.random_direction", "cosine.random_edit", "activation_shift", "parameter_change"):
        assert value(told, f"inside.{name}") == pytest.approx(0.0, abs=1e-6), name
    assert value(told, "inside.probe_accuracy") > 0.9
    edited = ran(lm, tmp_path, DINM, mechanism=Mechanism(), costly_cases=3)
    assert value(edited, "inside.parameter_change") > 0.05
    # Only the region's own matrix changed, so what goes into it did not.
    assert value(edited, "inside.activation_shift") == pytest.approx(0.0, abs=1e-5)
    assert value(edited, "inside.cosine.random_edit") > 0
    assert sum(r["metric"] == "inside.cosine" for r in edited.records) == 3
    trained = ran(lm, tmp_path, SFT, mechanism=Mechanism())
    assert value(trained, "inside.activation_shift") > 0.05


@pytest.mark.parametrize("mode", ["sequential", "batch"])
def test_after_t_edits_the_first_is_asked_again(lm: LanguageModel, tmp_path: Path, mode: Any) -> None:
    fields = {"mode": mode, "checkpoints": (1, 3), "streams": 2}
    cell = ran(lm, tmp_path, DINM, **fields)
    at = {t: [r for r in cell.records if r["metric"] == "ds" and r["at"] == {"T": t}] for t in (1, 3)}
    assert len(at[3]) == 6
    assert len(at[1]) == 2
    assert len({i["cluster"] for i in cell.items if "@" not in i["item"]}) == 2
    one = {r["item"].partition("@")[0]: r["value"] for r in at[1]}
    assert set(one) <= {r["item"] for r in at[3]}
    # Single edits and T = 1 are the same edits.
    single = {r["item"]: r["value"] for r in ran(lm, tmp_path, DINM).records if r["metric"] == "ds"}
    assert one == {item: single[item] for item in one}


def test_a_stream_goes_on_from_a_checkpoint_to_the_same_values(lm: LanguageModel, tmp_path: Path) -> None:
    asked = protocol(mode="sequential", checkpoints=(1, 3), streams=1)
    job = job_of(lm, tmp_path, DINM, asked)
    whole = list(run(asked, job))
    first = next(p for p in whole if p.state is not None)
    rest = list(run(asked, replace(job, finished={first.name: first.state}, wanted=set())))
    assert [(p.name, p.records, p.items) for p in rest] == [
        (p.name, p.records, p.items) for p in whole if p is not first
    ]


def test_chunks_that_are_done_are_not_done_again(lm: LanguageModel, tmp_path: Path) -> None:
    asked = protocol(chunk=4, curve=True)
    job = job_of(lm, tmp_path, SFT, asked)
    whole = {p.name: p for p in run(asked, job)}
    assert list(whole) == ["00000000-00000004", "00000004-00000008", "00000008-00000009", "curve"]
    first = whole["00000000-00000004"]
    rest = {p.name: p for p in run(asked, replace(job, finished={first.name: first.state}, wanted=set()))}
    assert list(rest) == list(whole)[1:]
    for name, part in rest.items():
        assert (part.records, part.items, part.exhibits) == (
            whole[name].records,
            whole[name].items,
            whole[name].exhibits,
        )


def test_general_ability_before_and_after(lm: LanguageModel, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    cases = ForbiddenCases(type="forbidden").load({}, None)
    facts = {q.prompt: q.answer for c in cases for q in c.knowledge}
    names = sorted(set(facts.values()))
    rows = [{"prompt": p, "choices": names, "gold": names.index(a)} for p, a in list(facts.items())[:6]]
    (tasks / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tasks / "facts.yaml").write_text(
        "task: facts\\ndataset_path: json\\ndataset_kwargs: {data_files: {test: facts.jsonl}}\\ntest_split: test\\n"
        "output_type: multiple_choice\\ndoc_to_text: '{{prompt}} the'\\ndoc_to_choice: choices\\ndoc_to_target: gold\\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\\n".replace("\\n", "\n"),
        encoding="utf-8",
    )
    asked = protocol(general=General(tasks=("facts",), folder=str(tasks)), costly_cases=2)
    job = replace(job_of(lm, tmp_path, DINM, asked, 3), files={"protocol": {"general.folder": tasks}})
    cell = joined(list(run(asked, job)))
    documents = [i for i in cell.items if "benchmark" in i]
    assert len(documents) == 2 * len(rows)
    assert {i["benchmark"] for i in documents} == {"facts.acc"}
    before = [r["value"] for r in cell.records if r["metric"] == "general.before"]
    # Twice the same untouched model.
    assert before[: len(rows)] == before[len(rows) :]


def test_what_may_not_be_shown_is_not_shown(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForbiddenCases, "gated", True)
    asked = protocol(prefill_words=8, curve=True)
    job = job_of(lm, tmp_path, DINM, asked)
    parts = list(run(asked, job))
    written = json.dumps([[p.exhibits, p.facts, p.warnings, p.skipped] for p in parts])
    (table,) = [p.exhibits["examples"] for p in parts if "examples" in p.exhibits]
    assert table["type"] == "table"
    assert len(table["rows"]) == 6 * 4
    for case in job.items():
        for text in (*case.inputs.values(), case.request.target_new, case.request.target_true or "", *case.look_alikes):
            assert text not in written


def test_a_made_up_judge_needs_a_made_up_world(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForbiddenCases, "truth", lambda self, files: None)
    with pytest.raises(DataError, match="needs a `classifier`"):
        ran(lm, tmp_path, Nothing(type="none"))


def test_a_prompt_that_does_not_fit_is_counted(lm: LanguageModel, tmp_path: Path) -> None:
    long = Prompt(type="prompt", before="kind " * 120)
    asked = protocol()
    parts = list(run(asked, job_of(lm, tmp_path, long, asked, 2)))
    (reasons,) = [p.skipped for p in parts if p.skipped]
    (reason,) = reasons
    assert "does not fit" in reason
    assert reasons[reason] > 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checkpoints": (1, 3)}, "mode `single` has no checkpoints"),
        ({"mode": "batch"}, "needs rising checkpoints"),
        ({"mode": "sequential", "checkpoints": (3, 1)}, "needs rising checkpoints"),
        ({"mode": "batch", "checkpoints": (3,), "mechanism": Mechanism()}, "mode `batch` has no mechanism"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        protocol(**fields)
