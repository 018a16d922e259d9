"""Editing: scores with known answers, what is skipped, and where the reference comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchwright as bw
from benchwright.adapters.editing.cases import EditCase, Probe
from benchwright.adapters.editing.probes import Before, Question, Reference, questions
from benchwright.adapters.editing.sheet import Contrast, Sheet
from benchwright.adapters.lm.params import Seeded
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Forced, Row
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))


def asked(measure: str, target: tuple[int, ...], kind: str = "", probe: int = 0, answer: str = "a") -> Question:
    return Question((measure, kind, probe), Probe("p", (answer,)), answer, Row((9, *target), 1))


def sheet(**parts: Any) -> Sheet:
    case = EditCase(EditRequest("0", "p", "s", "t"))
    empty: dict[str, Any] = {"direct": (), "local": (), "contrasts": (), "spoken": (), "reasons": ()}
    return Sheet(**{"case": case, "reference": Reference({}, frozenset()), **empty, **parts})


def said(*answers: tuple[int, ...]) -> list[Forced]:
    return [Forced(tokens, 0.0) for tokens in answers]


def test_a_value_is_the_mean_over_kinds_of_the_mean_over_probes_of_the_best_answer() -> None:
    rows = [
        (asked("portability", (1, 2), "two_hop", 0), (1, 9)),  # token 1/2
        (asked("portability", (3,), "two_hop", 0), (3,)),  # another accepted answer to the same: 1
        (asked("portability", (1, 2), "two_hop", 1), (9, 9)),  # 0; the kind has (1 + 0) / 2
        (asked("portability", (1, 2, 3, 4), "alias", 0), (1, 2, 3, 9)),  # 3/4
        (asked("portability", (1,), "inverse", 0), (9,)),  # apart: no part of the mean
        (asked("reliability", (1, 2)), (1, 2)),
    ]
    found = sheet(direct=tuple(q for q, _ in rows)).scores(said(*(tokens for _, tokens in rows)), [])
    assert found == {
        "portability.token": (0.5 + 0.75) / 2,
        "portability.exact": (0.5 + 0) / 2,
        "portability.two_hop.token": 0.5,
        "portability.two_hop.exact": 0.5,
        "portability.alias.token": 0.75,
        "portability.alias.exact": 0.0,
        "portability.inverse.token": 0.0,
        "portability.inverse.exact": 0.0,
        "reliability.token": 1.0,
        "reliability.exact": 1.0,
    }


def test_locality_is_agreement_with_the_untouched_model_not_with_the_data() -> None:
    question = asked("locality", (5, 6), "other")
    before = Before(target=(5, 6), forced=(7, 8), greedy=(7, 1))
    asked_now = sheet(local=(question,), reference=Reference({question.place: before}, frozenset()))
    assert asked_now.rows == [Row((9, 5, 6), 1), Row((9, 7, 1), 1)]

    def scores(along_data: tuple[int, ...], along_own: tuple[int, ...]) -> tuple[float, float]:
        found = asked_now.scores(said(along_data, along_own), [])
        return found["locality.exact"], found["locality.token"]

    # The data's answer (5, 6) is wrong before and after; what counts is that nothing changed.
    assert scores((7, 8), (7, 1)) == (1.0, 1.0)
    assert scores((5, 8), (7, 2)) == (0.0, 0.5)


def test_probabilities_are_contrasted_by_prompt() -> None:
    row = Row((9, 1), 1)
    contrasts = tuple(Contrast(m, row, row) for m in ("efficacy", "neighborhood", "neighborhood"))
    nll = [1.0, 2.0, 1.0, 2.0, 3.0, 2.0]  # new and true target of each
    found = sheet(contrasts=contrasts).scores([Forced((1,), n) for n in nll], [])
    assert found["efficacy_score"] == 1.0
    assert found["neighborhood_score"] == 0.5  # there the true target shall be the likelier one
    assert found["efficacy_magnitude"] == pytest.approx(0.36787944117 - 0.13533528324)


def test_reasoning_aloud_counts_by_its_end() -> None:
    spoken = tuple(asked("portability", (1,), "chain_of_thought", i, "Port Ba") for i in range(2))
    found = sheet(spoken=spoken).scores([], ["X lives in Y ; Y is in Port Ba", "X lives in Port Ba ; no"])
    assert found == {"portability.chain_of_thought.exact": 0.5}


def test_questions_that_cannot_be_asked_are_counted_with_their_reason() -> None:
    lm = Seeded(type="seeded", context=64).open(CPU)
    request = EditRequest("0", "a", "s", "t")
    probes = (Probe("x" * 100, ("y",)), Probe("x", ("y", "z")))
    case = EditCase(request, ("b",), {"other": probes}, {"other": probes, "alias": (Probe("x", (" ",)),)})
    found, reasons = questions(lm, case, Patch())
    assert [(q.place[0], q.place[2]) for q in found] == [
        ("reliability", 0), ("generalization", 0), ("locality", 1), ("portability", 1), ("portability", 1),
    ]  # fmt: skip
    assert reasons == [
        "locality: longer than the model's context of 64 tokens",
        "portability: longer than the model's context of 64 tokens",
        "portability: the target is empty",
    ]


def test_a_real_model_on_real_records(shared: Path, tmp_path: Path) -> None:
    words = {"model": str(shared / "data" / "stories260K"), "data": shared / "data" / "knowedit", "limit": 6}
    run = bw.run("task:knowedit-zsre-single", "ft-m", out=tmp_path / "r", executor="inline", **words)
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
    records = [
        {"prompt": "Once upon a", "subject": "Once", "target_new": "time"},
        {"prompt": "x" * 600, "subject": "x", "target_new": "t"},
    ]
    (tmp_path / "d.json").write_text(json.dumps(records), encoding="utf-8")
    model = str(shared / "data" / "stories260K")
    run = bw.run("knowedit-zsre", model=model, data=tmp_path / "d.json", out=tmp_path / "r", executor="inline")
    for cell in run.cells():
        assert cell.meta["skipped"], cell.method
        assert sum(cell.meta["skipped"].values()) == 1
        (reason,) = cell.meta["skipped"]
        assert "longer than the model's context of 512 tokens" in reason
    assert "longer than the model" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
