"""The score of a ranking against a known circuit, and the task that asks for it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchwright.adapters.circuits.analysis import Attribution, Study
from benchwright.adapters.circuits.found import Asked, find_circuit
from benchwright.adapters.circuits.methods.analyzer import Analyzer
from benchwright.adapters.circuits.truth.metrics import METRICS, scores
from benchwright.adapters.circuits.truth.params import CircuitTruth, CompiledModels
from benchwright.adapters.circuits.truth.run import run, worth_of_edges
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.worlds.compiled.circuit import placed
from benchwright.adapters.worlds.compiled.design import DESIGNS
from benchwright.alone import Wanted
from benchwright.artifacts import ArtifactStore
from benchwright.errors import ModelError
from benchwright.job import Job, Part
from benchwright.parts import Joined, check
from benchwright.store import Cell


def one_order(true: np.ndarray) -> tuple[float, float, float]:
    """The three scores of a ranking without ties, from their definitions."""
    hits, others = np.flatnonzero(true), np.flatnonzero(~true)
    auroc = np.mean([h < o for h in hits for o in others])
    ap = np.mean([true[: h + 1].mean() for h in hits])
    return float(auroc), float(ap), float(true[: len(hits)].mean())


@pytest.mark.parametrize("worth", [[4, 3, 2, 1, 0], [1, 1, 1, 1, 1], [3, 3, 3, 1, 1], [2, 5, 2, 2, 5], [0, 0, 1, 0, 0]])
@pytest.mark.parametrize("true", [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 0, 1]])
def test_scores_are_the_mean_over_all_orders_of_equals(worth: list[int], true: list[int]) -> None:
    values, truth = np.array(worth, dtype=float), np.array(true, dtype=bool)
    orders = [one_order(truth[list(p)]) for p in permutations(range(5)) if (np.diff(values[list(p)]) <= 0).all()]
    assert list(scores(values, truth).values()) == pytest.approx(list(np.mean(orders, 0)))


def test_scores_of_a_large_ranking_without_ties() -> None:
    rng = np.random.default_rng(0)
    values, truth = rng.permutation(300).astype(float), rng.random(300) < 0.1
    assert list(scores(values, truth).values()) == pytest.approx(one_order(truth[np.argsort(-values)]))


def test_infinite_worth_comes_first() -> None:
    assert scores(np.array([np.inf, 1.0, np.inf]), np.array([True, False, False]))["auroc"] == 0.75


class _Scorer:
    """Scores by the truth itself, or as a test says."""

    def __init__(self, by: str, found: Any) -> None:
        self.by, self.found, self.seen = by, found, list[Study]()

    def analyzer(self, granularity: str = "edge") -> Analyzer:
        scorer = self

        class Stub(Analyzer):
            def attribution(self, study: Study) -> Attribution:
                scorer.seen.append(study)
                return Attribution(study.wiring.graph, granularity, scorer.found(study))

        return Stub(
            type="circuit",
            granularity=granularity,  # type: ignore[arg-type]
            scorer={"type": "random"},  # type: ignore[arg-type]
            target=LogitDifference(type="logit_difference"),
            ablation="patching",
            keys_and_values="grouped",
            reduction="mean",
            selector={"type": "top_n", "by": self.by},  # type: ignore[arg-type]
            prune=True,
        )


class _Spec:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def parts_of(analyzer: Analyzer, tmp_path: Path, limit: int | None = None, **fields: Any) -> list[Part]:
    data = CompiledModels(type="compiled", **fields)
    specs: Any = (_Spec(data=data), _Spec(algorithm=analyzer))
    job = Job(*specs, 0, limit, {}, {}, {}, ArtifactStore(tmp_path))
    return list(run(CircuitTruth(type="circuit_truth"), job))


def values_of(part: Part) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in part.records}


def true_scores(study: Study) -> np.ndarray:
    """Minus one on the causal edges of the plain model with seed 0."""
    edges = placed(DESIGNS["plain"], 0).causal
    return np.array([[-float(edge in edges) for edge in study.wiring.graph.names()]] * len(study.pairs), np.float32)


def test_the_truth_is_ranked_perfectly_and_its_opposite_only_by_magnitude(tmp_path: Path) -> None:
    for by, sign, auroc in (("helpful", 1, 1.0), ("magnitude", -1, 1.0), ("helpful", -1, 0.0)):
        scorer = _Scorer(by, lambda study, sign=sign: sign * true_scores(study))
        (part,) = parts_of(scorer.analyzer(), tmp_path, designs=("plain",), seeds=1)
        found = values_of(part)
        assert found["auroc.causal"] == auroc
        assert found["precision.causal"] == auroc
        if auroc:
            assert found["ap.causal"] == 1
            assert found["precision.wiring"] == pytest.approx((8 + 6 * 6 / 254) / 14)
        (item,) = part.items
        assert (item["item"], item["design"], item["edges"], item["causal"]) == ("plain-0", "plain", 262, 8)


def test_the_picture_shows_what_was_found_missed_and_false(tmp_path: Path) -> None:
    def wrong_by_one(study: Study) -> np.ndarray:
        found = true_scores(study)
        names = list(study.wiring.graph.names())
        found[:, names.index("input->logits")] = -2
        found[:, names.index(sorted(placed(DESIGNS["plain"], 0).causal)[0])] = 0
        return found

    (part,) = parts_of(_Scorer("magnitude", wrong_by_one).analyzer(), tmp_path, designs=("plain",), seeds=1)
    picture = part.exhibits["truth"]
    kinds = [edge["kind"] for edge in picture["edges"]]
    assert picture["type"] == "graph"
    assert {kind: kinds.count(kind) for kind in kinds} == {"found": 7, "missed": 1, "false": 1}
    (false,) = [edge for edge in picture["edges"] if edge["kind"] == "false"]
    assert (false["source"], false["target"], false["weight"]) == ("input", "logits", -2)
    notes = {node["id"]: node.get("note") for node in picture["nodes"]}
    assert notes[f"m{placed(DESIGNS['plain'], 0).memory}"] == "memory"


def test_an_edge_between_nodes_is_worth_the_lesser_one() -> None:
    graph = Graph(1, 2, 2)
    scores = np.array([[0.0, -3.0, 2.0, -1.0]])  # input, two heads, the MLP
    attribution = Attribution(graph, "node", scores)
    found = dict(
        zip(graph.names(), worth_of_edges(_Scorer("magnitude", None).analyzer("node"), attribution), strict=True)
    )
    assert found["input->a0.h0<q>"] == found["a0.h0->logits"] == 3
    assert found["a0.h0->m0"] == found["a0.h1->m0"] == found["m0->logits"] == 1
    assert found["input->a0.h1<v>"] == 2
    assert found["input->logits"] == np.inf
    helpful = dict(
        zip(graph.names(), worth_of_edges(_Scorer("helpful", None).analyzer("node"), attribution), strict=True)
    )
    assert helpful["a0.h1->m0"] == -2


def test_the_random_control_through_the_whole_task(tmp_path: Path) -> None:
    analyzer = Analyzer(
        type="circuit",
        granularity="edge",
        scorer={"type": "random"},  # type: ignore[arg-type]
        target=LogitDifference(type="logit_difference"),
        ablation="patching",
        keys_and_values="per_query_head",
        reduction="mean",
        selector={"type": "top_n", "by": "magnitude"},  # type: ignore[arg-type]
        prune=True,
    )
    parts = parts_of(analyzer, tmp_path, seeds=2)
    again = parts_of(analyzer, tmp_path, seeds=2)
    assert [vars(part) for part in parts] == [vars(part) for part in again]
    assert [part.items[0]["item"] for part in parts[:2]] == ["plain-0", "deep-0"]
    assert [bool(part.exhibits) for part in parts] == [True] + [False] * 13
    joined = Joined([r for p in parts for r in p.records], [i for p in parts for i in p.items])
    check(joined, {column for metric in METRICS for column in metric.inputs})
    cell = Cell({"id": "x", "metrics": [m.to_json() for m in METRICS]}, joined.records, joined.items)
    (overall,) = cell.samples(METRICS[0]).values()
    assert 0.35 < METRICS[0].value(overall.columns)[0] < 0.65
    by_design = next(metric for metric in METRICS if metric.id == "auroc.causal_by_design")
    assert {at[0][1] for at in cell.samples(by_design)} == set(DESIGNS)


def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    scorer = _Scorer("magnitude", lambda study: true_scores(study) * np.nan)
    with pytest.raises(ModelError, match="not finite numbers"):
        parts_of(scorer.analyzer(), tmp_path, designs=("plain",), seeds=1)


def test_a_method_that_changes_the_model_is_an_error(tmp_path: Path) -> None:
    def careless(study: Study) -> np.ndarray:
        study.wiring.lm.model.lm_head.weight.add_(1)
        return true_scores(study)

    with pytest.raises(ModelError, match="changed the model plain-0"):
        parts_of(_Scorer("magnitude", careless).analyzer(), tmp_path, designs=("plain",), seeds=1)


def test_cases_leave_no_design_out_before_all_had_a_turn(tmp_path: Path) -> None:
    cases = CompiledModels(type="compiled").load({}, 8)
    assert [case.id for case in cases] == [*(f"{name}-0" for name in DESIGNS), "plain-1"]
    for designs, reason in ((("plane",), "plain"), (("plain", "plain"), "twice"), ((), "at least 1")):
        with pytest.raises(ValidationError, match=reason):
            CompiledModels(type="compiled", designs=designs)


def test_the_command_finds_the_circuit_of_the_compiled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path))
    asked = Asked(task="compiled-recall-circuit", top_k=8)
    found = find_circuit(Wanted("compiled-recall", "exact"), asked, lambda text: None)
    kept = {found.graph.name(*edge) for edge in np.argwhere(found.circuit)}
    assert kept == placed(DESIGNS["plain"], 0).causal
    assert (found.pairs, found.values["faithfulness"]) == (56, pytest.approx(1, abs=0.01))
