"""Choosing by scores, and choosing rows that are unlike each other or stand for the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from benchwright.adapters.instruct.coverage import (
    apart,
    clusters,
    cosines,
    distances,
    facility_location,
    k_center,
    spread,
)
from benchwright.adapters.instruct.embedding import Vectors, mean_pool, tfidf, unit
from benchwright.adapters.instruct.methods.deita import Deita
from benchwright.adapters.instruct.methods.diversity import (
    Embedded,
    EmbeddingDiversity,
    FacilityLocation,
    KCenter,
    KMeans,
    MeanPool,
    SentenceTransformers,
    Top,
    ranked,
)
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.adapters.lm.params import Seeded
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import ModelError, UsageError
from benchwright.registry import registry

TOPICS = ("name the river of a city", "add two small numbers", "write a poem on rain")
STAGES: tuple[Embedded, ...] = (
    EmbeddingDiversity(type="embedding_diversity"),
    KMeans(type="k_means", clusters=3, per_cluster=1),
    FacilityLocation(type="facility_location", n=3),
    KCenter(type="k_center", n=3),
    Deita(type="deita", n=3, by=("a",)),
)


def run(stage: Stage, rows: Sequence[Row], **bench: Any) -> list[Outcome]:
    return list(stage.run(iter(rows), Workbench(0, "s", **bench)))


def kept(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.id for o in outcomes if isinstance(o, Row)]


def left(outcomes: Sequence[Outcome]) -> list[Rejected]:
    return [o for o in outcomes if isinstance(o, Rejected)]


def scored(**values: float | None) -> list[Row]:
    return [Row(name, f"do {name}", scores={"a": value}) for name, value in values.items()]


def some_vectors(rows: int = 300, sparse: bool = False) -> Vectors:
    drawn = np.random.default_rng(1).normal(size=(rows, 6)).astype(np.float32)
    if sparse:
        drawn = np.abs(drawn) * (drawn > 0)
    found = unit(drawn, "m")
    return csr_matrix(found) if sparse else found


def test_top_keeps_the_highest_and_the_earlier_of_equals() -> None:
    rows = scored(p=1.0, q=None, r=3.0, s=3.0, t=3.0)
    outcomes = run(Top(type="top", by=("a",), n=2), rows)
    assert kept(outcomes) == ["r", "s"]
    assert [(o.row.id, o.reason, o.value) for o in left(outcomes)] == [
        ("p", "not among the highest", 1.0),
        ("q", "not among the highest", None),
        ("t", "not among the highest", 3.0),
    ]
    assert kept(run(Top(type="top", by=("a",), n=1, take="lowest"), rows)) == ["p"]
    assert kept(run(Top(type="top", by=("a",), n=9, take="lowest"), rows)) == list("pqrst")


def test_top_takes_a_product_and_a_share() -> None:
    rows = [Row(str(i), "x", scores={"a": float(i), "b": float(9 - i)}) for i in range(10)]
    assert kept(run(Top(type="top", by=("a", "b"), share=0.2), rows)) == ["4", "5"]
    assert Top(type="top", by=("a",), share=0.29).wanted(100) == 29
    assert Top(type="top", by=("a",), share=0.01).wanted(5) == 1


def test_none_is_last_in_either_order() -> None:
    assert ranked([None, 2.0, -1.0, 2.0]) == [1, 3, 2, 0]
    assert ranked([None, 2.0, -1.0, 2.0], highest=False) == [2, 1, 3, 0]


def test_a_score_that_no_stage_gave_is_told() -> None:
    for stage in (Top(type="top", by=("ifd",), n=1), KMeans(type="k_means", by="ifd"), Deita(type="deita", n=1)):
        with pytest.raises(UsageError, match=r"row 'p' has no score '.*'; known: a"):
            run(stage, scored(p=1.0))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("most", [None, 40])
def test_the_greedy_filter_is_the_plain_one(sparse: bool, most: int | None) -> None:
    vectors = some_vectors(sparse=sparse)
    order = [int(i) for i in np.random.default_rng(0).permutation(300)]
    like = cosines(vectors, vectors)
    plain: list[int] = []
    for i in order:
        if len(plain) != most and all(like[j, i] <= 0.8 for j in plain):
            plain.append(i)
    found, near = apart(vectors, order, 0.8, most)
    assert found == plain
    assert 0 < len(found) < 300
    for at, i in enumerate(order[1:200], 1):
        before = [j for j in found if j in order[:at]]
        if near[i].to is not None:
            assert near[i].value == pytest.approx(max(like[j, i] for j in before), abs=1e-6)
            assert like[near[i].to, i] == pytest.approx(near[i].value, abs=1e-6)  # type: ignore[index]


def test_a_row_too_like_a_kept_one_names_it() -> None:
    rows = [Row("p", "Name a red fruit"), Row("q", "name a RED fruit!"), Row("r", "Sort these numbers")]
    outcomes = run(EmbeddingDiversity(type="embedding_diversity"), rows)
    assert kept(outcomes) == ["p", "r"]
    (copy,) = left(outcomes)
    assert (copy.row.id, copy.neighbour, copy.reason) == ("q", "p", "too like a kept row")
    assert copy.value == copy.row.scores["s"] == pytest.approx(1.0)
    assert [o.scores["s"] for o in outcomes if isinstance(o, Row)] == [None, 0.0]
    assert kept(run(EmbeddingDiversity(type="embedding_diversity", threshold=1.0), rows)) == ["p", "q", "r"]


def test_deita_takes_the_best_that_is_not_like_a_better_one() -> None:
    texts = {"low": "sing a song", "best": "name a red fruit", "copy": "name a red fruit", "good": "sort five words"}
    values = {"low": 2.0, "best": 6.0, "copy": 5.0, "good": 4.0}
    rows = [Row(i, text, scores={"a": values[i], "b": 2.0}) for i, text in texts.items()]
    outcomes = run(Deita(type="deita", by=("a", "b"), n=2), [*rows, Row("none", "hum", scores={"a": None, "b": 2.0})])
    assert kept(outcomes) == ["best", "good"]
    assert [(o.row.id, o.reason, o.neighbour, o.value) for o in left(outcomes)] == [
        ("low", "after the last that is kept", None, 4.0),
        ("copy", "too like a kept row", "best", pytest.approx(1.0)),
        ("none", "after the last that is kept", None, None),
    ]


@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
@pytest.mark.parametrize("sparse", [False, True])
def test_facility_location_is_the_plain_greedy_one(similarity: Any, sparse: bool) -> None:
    vectors = some_vectors(sparse=sparse)
    like = np.maximum(cosines(vectors, vectors), 0)
    if similarity == "euclidean":
        like = 1 / (1 + distances(vectors, vectors))
    plain: list[int] = []
    covered = np.zeros(300)
    for _ in range(12):
        plain.append(int(np.argmax(np.maximum(like - covered[:, None], 0).sum(0))))
        covered = np.maximum(covered, like[:, plain[-1]])
    found, near = facility_location(vectors, 12, similarity)
    assert found == plain
    assert [n.value for n in near] == pytest.approx(list(covered))
    assert {n.to for n in near} <= {*found, None}


def test_facility_location_keeps_its_promise() -> None:
    vectors = some_vectors(12)
    like = 1 / (1 + distances(vectors, vectors))
    best = max(like[:, list(s)].max(1).sum() for s in combinations(range(12), 3))
    found, _ = facility_location(vectors, 3, "euclidean")
    assert like[:, found].max(1).sum() >= (1 - 1 / np.e) * best
    assert sorted(facility_location(vectors, 99, "euclidean")[0]) == list(range(12))


def test_facility_location_refuses_what_takes_too_long() -> None:
    stage = FacilityLocation(type="facility_location", n=1, most_rows=3)
    with pytest.raises(UsageError, match=r"4 rows are more than `most_rows` \(3\)"):
        run(stage, scored(p=1, q=1, r=1, s=1))


def test_k_center_goes_to_the_farthest_and_is_within_twice_the_best() -> None:
    angles = np.deg2rad([0, 2, 4, 90, 93, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    found, near = k_center(vectors, 3)
    assert len({0 if i < 3 else 1 if i < 5 else 2 for i in found}) == 3
    assert max(n.value or 0 for n in near) == pytest.approx(2 * np.sin(np.deg2rad(4 / 2)), abs=1e-3)
    vectors = some_vectors(14)
    far = distances(vectors, vectors)
    best = min(far[:, list(s)].min(1).max() for s in combinations(range(14), 4))
    found, near = k_center(vectors, 4)
    assert max(n.value or 0 for n in near) == pytest.approx(far[:, found].min(1).max())
    assert far[:, found].min(1).max() <= 2 * best
    assert sorted(k_center(np.ones((3, 1)), 3)[0]) == [0, 1, 2], "equal rows are chosen once each"


def test_k_means_takes_the_nearest_of_each_cluster() -> None:
    rows = [Row(f"{t}{i}", f"{text} {text} {word}") for t, text in enumerate(TOPICS) for i, word in enumerate("xyz")]
    outcomes = run(KMeans(type="k_means", clusters=3, per_cluster=1), rows)
    assert sorted(i[0] for i in kept(outcomes)) == ["0", "1", "2"]
    assert {o.reason for o in left(outcomes)} == {"not chosen of its cluster"}
    assert kept(run(KMeans(type="k_means", clusters=3, per_cluster=1), rows)) == kept(outcomes)
    assert len(kept(run(KMeans(type="k_means"), rows))) == 9, "fewer rows than clusters"
    same = [Row(str(i), "the same") for i in range(5)]
    assert kept(run(KMeans(type="k_means", clusters=2, per_cluster=2), same)) == ["0", "1"]


def test_members_are_sorted_by_their_distance_to_the_centre() -> None:
    vectors = some_vectors(60)
    groups = clusters(vectors, 4, 0)
    assert sorted(i for group in groups for i in group) == list(range(60))
    for group in groups:
        far = distances(vectors[group], vectors[group].mean(0)[None])[:, 0]
        assert list(far) == sorted(far)


def test_a_band_of_scores_is_spread_evenly_in_the_order_of_the_rows() -> None:
    values: list[float | None] = [float(i) for i in range(100)]
    values[50] = None
    assert spread(list(range(100)), values, 5, (25.0, 75.0)) == [25, 34, 43, 53, 62]
    assert spread([3, 2, 50], values, 5, (25.0, 75.0)) == [2, 3]
    rows = [Row(str(i), "same text", scores={"a": float(i)}) for i in range(9)]
    assert kept(run(KMeans(type="k_means", clusters=1, per_cluster=2, by="a"), rows)) == ["2", "4"]


def test_tfidf_is_the_formula_and_knows_scripts_without_spaces() -> None:
    vectors = tfidf(["red red fruit", "green fruit", "🦜"]).toarray()
    idf = {w: np.log(4 / (1 + n)) + 1 for w, n in {"fruit": 2, "green": 1, "red": 1}.items()}
    expected = np.array([idf["fruit"], 0, 2 * idf["red"]])
    assert vectors[0] == pytest.approx(expected / np.linalg.norm(expected))
    assert not vectors[2].any()
    chinese = tfidf(["请给出三个建议", "请给出四个建议", "今天下雨"])
    like = cosines(chinese, chinese)
    assert like[0, 1] > 0.6 > 0.1 > like[0, 2]
    assert tfidf(["", "🦜"]).shape == (2, 1)


def test_mean_pool_is_the_mean_over_real_tokens() -> None:
    opening = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
    lm = Seeded(type="seeded", width=32, context=64).open(opening)
    texts = ["short", "", "a much longer text than the others", "x" * 500]
    found = mean_pool(lm, texts, 4)
    for text, vector in zip(texts, found, strict=True):
        ids = lm.tokenizer(text, return_tensors="pt").input_ids[:, :64]
        with torch.no_grad():
            hidden = lm.model.model(ids).last_hidden_state[0]
        assert vector == pytest.approx(hidden.mean(0).numpy(), abs=1e-5)
    assert mean_pool(lm, texts, 1) == pytest.approx(found, abs=1e-5)
    stage = EmbeddingDiversity(type="embedding_diversity", embedding=MeanPool(type="mean_pool", model="reader"))
    assert stage.roles() == {"reader": "language_model"}
    told: list[int] = []
    rows = [Row("p", "the same"), Row("q", "the same"), Row("r", "")]
    assert "q" not in kept(run(stage, rows, models={"reader": lm}, progress=told.append))
    assert sum(told) == 3
    lm.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="reader: the model's embeddings are not finite"):
        run(stage, rows, models={"reader": lm})


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    embedding = SentenceTransformers(type="sentence_transformers", path="model")
    stage = KCenter(type="k_center", n=1, embedding=embedding)
    with pytest.raises(ModelError, match=r"pip install 'benchwright\[embed\]'"):
        run(stage, scored(p=1.0), files={"embedding.path": tmp_path})


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.type)
def test_edge_rows_pass_through_and_answers_repeat(stage: Embedded) -> None:
    texts = ("", "1", "12345", "春眠不觉晓", "🦜🦜", "half \ud83d of it", "x " * 50_000, "", "no " * 9)
    rows = [Row(str(i), text, output=text, scores={"a": 1.0}) for i, text in enumerate(texts)]
    outcomes = run(stage, rows)
    assert [o.row.id if isinstance(o, Rejected) else o.id for o in outcomes] == [row.id for row in rows]
    assert kept(outcomes)
    assert run(stage, rows) == outcomes
    assert run(stage, []) == []


def test_stages_are_found_and_read_from_a_spec() -> None:
    found = registry().components["stage"]
    assert found["deita"] is Deita
    for cls in (Top, EmbeddingDiversity, KMeans, FacilityLocation, KCenter, Deita):
        assert found[str(cls.model_fields["type"].annotation.__args__[0])] is cls  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cls", "fields", "said"),
    [
        (Top, {"type": "top", "by": ("a",)}, "give `n`"),
        (Top, {"type": "top", "by": (), "n": 1}, "at least 1"),
        (KCenter, {"type": "k_center", "n": 1, "share": 0.1}, "not both"),
        (KMeans, {"type": "k_means", "by": "a", "band": (75.0, 25.0)}, "rising"),
    ],
)
def test_mistakes_in_a_stage_are_told(cls: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        cls(**fields)
