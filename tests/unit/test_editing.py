"""Editing: scores with known answers, what is skipped, the loader, and where the reference comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchwright as bw
from benchwright.adapters.editing.data import EditCase, Probe, load_knowedit
from benchwright.adapters.editing.probes import (
    Asked,
    Before,
    locality_rows,
    locality_scores,
    questions,
    target_scores,
)
from benchwright.adapters.lm.params import Seeded
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))


def asked(measure: str, target: tuple[int, ...], kind: str = "", probe: int = 0) -> Asked:
    return Asked(measure, kind, probe, "p", "a", Row((9, *target), 1))


def test_a_value_is_the_mean_over_kinds_of_the_mean_over_probes_of_the_best_answer() -> None:
    rows = [
        (asked("portability", (1, 2), "reasoning", 0), (1, 9)),  # token 1/2
        (asked("portability", (3,), "reasoning", 0), (3,)),  # another accepted answer to the same: 1
        (asked("portability", (1, 2), "reasoning", 1), (9, 9)),  # 0; the kind has (1 + 0) / 2
        (asked("portability", (1, 2, 3, 4), "alias", 0), (1, 2, 3, 9)),  # 3/4
        (asked("reliability", (1, 2)), (1, 2)),
    ]
    found = target_scores([q for q, _ in rows], [said for _, said in rows])
    assert found == {
        "portability.token": (0.5 + 0.75) / 2,
        "portability.exact": (0.5 + 0) / 2,
        "reliability.token": 1.0,
        "reliability.exact": 1.0,
    }


def test_locality_is_agreement_with_the_untouched_model_not_with_the_data() -> None:
    question = asked("locality", (5, 6), "k")
    reference = {("k", 0): Before(target=(5, 6), forced=(7, 8), greedy=(7, 1))}
    local, along_data, along_own = locality_rows([question, asked("reliability", (1,))], reference)
    assert (local, along_data, along_own) == ([question], [Row((9, 5, 6), 1)], [Row((9, 7, 1), 1)])
    # The data's answer (5, 6) is wrong before and after; what counts is that nothing changed.
    assert locality_scores(local, reference, [(7, 8)], [(7, 1)]) == {"locality.exact": 1.0, "locality.token": 1.0}
    assert locality_scores(local, reference, [(5, 8)], [(7, 2)]) == {"locality.exact": 0.0, "locality.token": 0.5}
    # A question that the untouched model could not be asked is left out.
    assert locality_rows([question], {}) == ([], [], [])


def test_questions_that_cannot_be_asked_are_counted_with_their_reason() -> None:
    lm = Seeded(type="seeded", context=64).open(CPU)
    request = EditRequest("0", "a", "s", "t")
    probes = (Probe("x" * 100, ("y",)), Probe("x", ("y", "z")))
    case = EditCase(request, ("b",), {"k": probes}, {"k": probes, "none": (Probe("x", (" ",)),)})
    found, reasons = questions(lm, case, Patch())
    assert [(q.measure, q.probe) for q in found] == [
        ("reliability", 0), ("generalization", 0), ("locality", 1), ("portability", 1), ("portability", 1),
    ]  # fmt: skip
    assert reasons == [
        "locality: longer than the model's context of 64 tokens",
        "portability: longer than the model's context of 64 tokens",
        "portability: the target is empty",
    ]


GOOD: dict[str, Any] = {"prompt": "p", "subject": "s", "target_new": "t"}


def test_the_loader_takes_what_the_data_set_has(tmp_path: Path) -> None:
    records = [
        {**GOOD, "rephrase_prompt": "r", "locality": {"k": [{"prompt": "l", "ground_truth": [["a", "b"], "c"]}]}},
        {**GOOD, "portability": None, "cond": "ignored"},
    ]
    file = tmp_path / "d.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    first, second = load_knowedit(file, None)
    assert first.rephrases == ("r",)
    assert first.locality == {"k": (Probe("l", ("a", "b", "c")),)}
    assert (second.request.id, second.portability) == ("000001", {})
    assert len(load_knowedit(file, 1)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, "record 1 (of 2, from 0): prompt: expected a text, got ''"),
        ({"locality": []}, None),
        ({"locality": [1]}, "record 1 (of 2, from 0): locality: expected a map of lists"),
        ({"locality": {"k": 1}}, "record 1 (of 2, from 0): locality.k: expected a list"),
        ({"locality": {"k": [{}]}}, "record 1 (of 2, from 0): locality.k.0: expected a map with a text `prompt`"),
        (
            {"portability": {"k": [{"prompt": "x"}]}},
            "portability.k.0.ground_truth: expected a text",
        ),
        ({"rephrase_prompt": 3}, "record 1 (of 2, from 0): rephrase_prompt: expected a text, got 3"),
    ],
)
def test_the_loader_names_record_and_field(tmp_path: Path, change: dict[str, Any], message: str | None) -> None:
    file = tmp_path / "d.json"
    file.write_text(json.dumps([GOOD, {**GOOD, **change}]), encoding="utf-8")
    if message is None:
        assert len(load_knowedit(file, None)) == 2
    else:
        with pytest.raises(DataError) as caught:
            load_knowedit(file, None)
        assert message in str(caught.value)


def test_the_knowedit_file_is_read_whole(shared: Path) -> None:
    cases = load_knowedit(shared / "data" / "knowedit" / "ZsRE-test-all.json", None)
    assert len(cases) == 1301
    assert all(c.rephrases and c.locality and c.portability for c in cases)
    assert sum(len(p) for c in cases for p in c.portability.values()) >= 1301


def test_a_real_model_on_real_records(shared: Path, tmp_path: Path) -> None:
    words = {"model": str(shared / "data" / "stories260K"), "data": shared / "data" / "knowedit", "limit": 6}
    run = bw.run("knowedit-zsre", out=tmp_path / "r", executor="inline", **words)
    values = {
        (c.method, m.id): float(m.value(sample.columns)[0])
        for c in run.cells()
        for m in c.metrics
        for sample in c.samples(m).values()
    }
    assert all(c.ok for c in run.cells())
    assert values["unedited", "locality.exact"] == values["unedited", "locality.token"] == 1.0
    assert values["ft-m", "reliability.token"] > 0.9 > values["unedited", "reliability.token"]
    assert values["ft-m", "locality.exact"] < 1.0


def test_what_the_tokenizer_cannot_say_is_skipped_and_counted(shared: Path, tmp_path: Path) -> None:
    records = [{**GOOD, "prompt": "Once upon a", "target_new": "time"}, {**GOOD, "prompt": "x" * 600}]
    (tmp_path / "d.json").write_text(json.dumps(records), encoding="utf-8")
    model = str(shared / "data" / "stories260K")
    run = bw.run("knowedit-zsre", model=model, data=tmp_path / "d.json", out=tmp_path / "r", executor="inline")
    for cell in run.cells():
        assert cell.meta["skipped"], cell.method
        assert sum(cell.meta["skipped"].values()) == 1
        (reason,) = cell.meta["skipped"]
        assert "longer than the model's context of 512 tokens" in reason
    assert "longer than the model" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
