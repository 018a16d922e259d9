"""Models that are left with a circuit, and circuits cut from scores."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from circuit_fixtures import FAMILIES, analyzer, study_of
from lm_fixtures import tiny

from benchwright.adapters.circuits.analysis import Attribution, Study
from benchwright.adapters.circuits.evaluate import circuit_values, model_values
from benchwright.adapters.circuits.scorers.exact import exactly
from benchwright.adapters.circuits.select import cut, own, reduced
from benchwright.adapters.lm.codebook import Codebook
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.masked import masked_logits, removed_by
from benchwright.adapters.lm.graph.nodes import Graph, Mask
from benchwright.adapters.lm.graph.params import NegativeDivergence
from benchwright.adapters.lm.graph.restarted import Runs, place_of, runs_of
from benchwright.adapters.lm.graph.values import last_logits
from benchwright.adapters.lm.patch import Patch
from benchwright.errors import DataError, ModelError

ABLATIONS = ("patching", "zero", "mean", "mean_positional")


def some_masks(graph: Graph) -> list[Mask]:
    drawn = np.random.default_rng(1).random((4, *graph.allowed.shape))
    return [graph.allowed & (drawn[i] < share) for i, share in enumerate((0.2, 0.5, 0.8, 0.97))]


def swapped(study: Study) -> Study:
    """Clean and corrupt prompts exchanged."""
    return replace(study, pairs=[replace(pair, clean=pair.corrupt, corrupt=pair.clean) for pair in study.pairs])


def changed_by_hand(runs: Runs, destination: int, change: torch.Tensor) -> torch.Tensor:
    """Logits when one destination reads `change` more: its own module is called on what it reads, once for each edge,
    and the stock model runs from its first block."""
    wiring, streams = runs.wiring, runs.clean.streams
    layer, letter, number = place_of(wiring.graph, destination)
    with ExitStack() as hooks, torch.no_grad():
        if not letter:
            handle = wiring.final_norm.module.register_forward_pre_hook(lambda _, args: (args[0] + change,))
        elif letter == "m":
            read = wiring.layers[layer].mlp_norm.module(streams.mlp[layer] + change)
            handle = wiring.layers[layer].mlp[1].register_forward_pre_hook(lambda _, args: (read, *args[1:]))
        else:
            projection = wiring.layers[layer].projections[letter]
            made = projection.module(wiring.layers[layer].attention_norm.module(streams.attention[layer] + change))
            mine = projection.channels.unflatten(0, (projection.count, -1))[number]

            def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
                return output.index_copy(-1, mine, made[..., mine])

            handle = projection.module.register_forward_hook(hook)
        hooks.callback(handle.remove)
        return last_logits(wiring, runs.batch.clean)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_edges_are_the_model_and_none_the_corrupt_run(family: str) -> None:
    lm = tiny(family)
    study = study_of(wiring_of(lm))
    allowed = study.wiring.graph.allowed
    found = circuit_values(study, [allowed, np.zeros_like(allowed)])
    for row, whole in enumerate((model_values(study), model_values(swapped(study)))):
        np.testing.assert_allclose(found.values[row], whole.values[0], atol=1e-5)
        np.testing.assert_array_equal(found.ranks[row], whole.ranks[0])
    assert lm.verify() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_one_edge_less_is_the_edge_changed_by_hand(family: str) -> None:
    study = study_of(wiring_of(tiny(family)))
    graph = study.wiring.graph
    masks = np.repeat(graph.allowed[None], len(graph.edges), 0)
    masks[np.arange(len(masks)), *graph.edges.T] = False
    by_masks, scored = circuit_values(study, list(masks)), exactly(study, "edge")
    by_hand = np.zeros_like(by_masks.values)
    for runs in runs_of(study.wiring, study.pairs, "patching", 64):
        changes = runs.differences()
        for number, (source, destination) in enumerate(graph.edges):
            logits = changed_by_hand(runs, int(destination), changes[:, source])
            by_hand[number, list(runs.batch.places)] = study.target.values(logits, runs.batch, None).numpy()
    np.testing.assert_allclose(by_masks.values, by_hand, atol=1e-5)
    np.testing.assert_allclose(scored.by_pair, (by_hand - model_values(study).values).T, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_and_pairs_may_be_batched_in_any_way(family: str) -> None:
    study = study_of(wiring_of(tiny(family)), target=NegativeDivergence(type="negative_divergence"))
    masks = some_masks(study.wiring.graph)
    together = circuit_values(study, masks)
    for row, mask in enumerate(masks):
        alone = circuit_values(replace(study, batch=1), [mask])
        np.testing.assert_allclose(together.values[row], alone.values[0], atol=1e-5)
    backwards = replace(study, pairs=study.pairs[::-1], batch=3)
    np.testing.assert_allclose(circuit_values(backwards, masks).values[:, ::-1], together.values, atol=1e-5)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_nothing_kept_says_the_same_whatever_the_prompt(ablation: Any) -> None:
    """Where what stands in does not depend on the prompt, neither does what is left: only positions do."""
    study = study_of(wiring_of(tiny("llama")), ablation=ablation)
    pairs = [replace(pair, answer=(5,), wrong=(9,)) for pair in study.pairs]
    found = circuit_values(replace(study, pairs=pairs), [np.zeros_like(study.wiring.graph.allowed)]).values[0]
    assert (np.ptp(found[[0, 2, 4]]) < 1e-5) == (ablation != "patching")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_of_a_model_can_be_restarted(family: str) -> None:
    """A circuit in which all is kept below a block is the same from that block and from the first one."""
    study = study_of(wiring_of(tiny(family, layers=3)))
    graph = study.wiring.graph
    runs = next(runs_of(study.wiring, study.pairs, "patching", 64))
    rows = torch.arange(len(runs.batch))
    for start in range(graph.layers + 1):
        mask = some_masks(graph)[1] | (graph.allowed & (graph.layer_of < start))
        removed = removed_by(runs, mask[None]).expand(len(rows), -1, -1)
        with torch.no_grad():
            found, whole = masked_logits(runs, rows, removed, start), masked_logits(runs, rows, removed)
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_gates_have_the_gradient_of_their_effect(family: str) -> None:
    """Along a random direction, against a central difference."""
    study = study_of(wiring_of(tiny(family)))
    runs = next(runs_of(study.wiring, study.pairs, "patching", 64))
    rows, rng = torch.arange(len(runs.batch)), torch.Generator().manual_seed(0)
    allowed = torch.from_numpy(study.wiring.graph.allowed).float()
    taken = (torch.rand(allowed.shape, generator=rng) * allowed).expand(len(rows), -1, -1)
    direction = torch.randn(taken.shape, generator=rng) * allowed

    def value(removed: torch.Tensor) -> torch.Tensor:
        return study.target.values(masked_logits(runs, rows, removed), runs.batch, None).sum()

    leaf = taken.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    with torch.no_grad():
        slope = (value(taken + 1e-2 * direction) - value(taken - 1e-2 * direction)) / 2e-2
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=2e-2)


def test_a_failed_run_leaves_the_model_as_it_was() -> None:
    lm = tiny("gptj")
    study = study_of(wiring_of(lm))
    runs = next(runs_of(study.wiring, study.pairs, "patching", 64))
    rows = torch.arange(len(runs.batch))
    broken = torch.ones(1, *study.wiring.graph.allowed.shape)
    with pytest.raises(RuntimeError):
        masked_logits(runs, rows, broken, 1)
    assert lm.verify() == []
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())


@pytest.mark.parametrize("module", ["mlp.c_proj", "mlp", "attn.c_proj"])
@pytest.mark.parametrize("layer", [0, 1])
def test_inserted_modules_act_in_every_run(module: str, layer: int) -> None:
    """A memory that replaces what is put out at the end of every prompt."""
    lm = tiny("gpt2")
    name = f"transformer.h.{layer}.{module}"
    width = 128 if module == "mlp.c_proj" else 32
    entry = torch.zeros(1, width), torch.full((1, 32), 0.7), torch.tensor([1e9]), torch.tensor([[5]])
    before = model_values(study_of(wiring_of(lm))).values
    lm.keep(Patch(inserts={name: Codebook(*entry)}))
    study = study_of(wiring_of(lm))
    graph = study.wiring.graph
    whole = model_values(study).values
    assert np.abs(whole - before).min() > 1e-3
    np.testing.assert_allclose(circuit_values(study, [graph.allowed]).values, whole, atol=1e-5)
    masks = np.repeat(graph.allowed[None], len(graph.edges), 0)
    masks[np.arange(len(masks)), *graph.edges.T] = False
    expected = circuit_values(study, list(masks)).values - whole
    np.testing.assert_allclose(exactly(study, "edge").by_pair, expected.T, atol=1e-5)
    assert lm.verify() == []


def test_a_pair_without_a_corrupt_prompt_is_refused_by_patching_alone() -> None:
    study = study_of(wiring_of(tiny("gpt2")))
    bare = replace(study, pairs=[replace(pair, corrupt=()) for pair in study.pairs])
    with pytest.raises(DataError, match="no corrupt prompt"):
        circuit_values(bare, some_masks(study.wiring.graph))
    assert circuit_values(replace(bare, ablation="zero"), some_masks(study.wiring.graph)).values.shape == (4, 5)


GRAPH = Graph(2, 2, 1)


def edge_scores(scores: dict[str, float], rest: float = 0.0) -> Attribution:
    values = [[scores.get(name, rest) for name in GRAPH.names()]]
    return Attribution(GRAPH, "edge", np.array(values, dtype=np.float32))


def names_of(mask: Mask | None) -> set[str]:
    assert mask is not None
    return {GRAPH.name(source, destination) for source, destination in np.argwhere(mask)}


SCORED = {"m1->logits": -1.0, "input->m1": 3.0, "input->m0": -2.0, "m0->m1": 0.5}


@pytest.mark.parametrize(
    ("selector", "count", "expected"),
    [
        ({"type": "top_n", "by": "magnitude"}, 2, {"input->m1", "input->m0"}),
        ({"type": "top_n", "by": "helpful"}, 2, {"m1->logits", "input->m0"}),
        ({"type": "threshold", "by": "magnitude", "threshold": 9.0}, 2, {"input->m1", "input->m0"}),
        ({"type": "greedy", "by": "magnitude"}, 2, {"m1->logits", "input->m1"}),
        ({"type": "greedy", "by": "magnitude"}, 3, {"m1->logits", "input->m1", "m0->m1"}),
    ],
)
def test_circuits_are_cut_by_size(selector: dict[str, Any], count: int, expected: set[str]) -> None:
    assert names_of(cut(analyzer(selector), edge_scores(SCORED), count)) == expected


def test_helpful_edges_are_taken_beyond_zero_and_equals_in_their_order() -> None:
    found = cut(analyzer({"type": "top_n", "by": "helpful"}), edge_scores(SCORED), 4)
    assert names_of(found) == {"m1->logits", "input->m0", *list(GRAPH.names())[:2]}


@pytest.mark.parametrize(("kind", "granularity"), [("top_n", "edge"), ("greedy", "edge"), ("top_n", "node")])
def test_a_circuit_of_all_edges_is_the_model(kind: str, granularity: Any) -> None:
    width = len(GRAPH.edges if granularity == "edge" else GRAPH.sources)
    scored = Attribution(GRAPH, granularity, np.random.default_rng(0).normal(size=(3, width)).astype(np.float32))
    method = analyzer({"type": kind, "by": "helpful"}, granularity=granularity, prune=True)
    assert (cut(method, scored, len(GRAPH.edges)) == GRAPH.allowed).all()
    assert all(cut(method, scored, edges).sum() <= edges for edges in range(1, len(GRAPH.edges)))


def test_greedy_circuits_lead_to_the_logits() -> None:
    scored = Attribution(GRAPH, "edge", np.random.default_rng(0).normal(size=(1, len(GRAPH.edges))).astype(np.float32))
    found = cut(analyzer({"type": "greedy", "by": "magnitude"}), scored, 12)
    reached = GRAPH.owners @ found.any(1).astype(int) > 0
    assert found.sum() == 12
    assert (reached | (np.arange(len(reached)) == GRAPH.logits))[found.any(0)].all()


def test_the_best_nodes_are_taken_while_their_edges_fit() -> None:
    worth = {"m1": -2.0, "a1.h0": -1.0}
    scores = np.array([[worth.get(name, 0) for name in GRAPH.sources]], dtype=np.float32)
    method = analyzer({"type": "top_n", "by": "magnitude"}, granularity="node")
    scored = Attribution(GRAPH, "node", scores)
    assert names_of(cut(method, scored, 1)) == {"input->logits"}
    assert names_of(cut(method, scored, 4)) == {"input->logits", "input->m1", "m1->logits"}
    assert len(names_of(cut(method, scored, 8))) == 8


def test_a_scorer_or_a_threshold_says_what_belongs_to_the_circuit() -> None:
    by_size, by_score = {"type": "top_n", "by": "magnitude"}, {"type": "threshold", "by": "helpful", "threshold": 1.0}
    scored = edge_scores(SCORED)
    assert own(analyzer(by_size), scored) is None
    assert names_of(own(analyzer(by_score), scored)) == {"m1->logits", "input->m0"}
    decided = replace(scored, kept=GRAPH.mask(["input->logits", "input->m0"]))
    assert names_of(own(analyzer(by_size, prune=True), decided)) == {"input->logits"}


TOP, ACDC = {"type": "top_n", "by": "magnitude"}, {"type": "acdc", "threshold": 0.1}


@pytest.mark.parametrize(
    ("selector", "what", "message"),
    [
        (TOP, {"granularity": "node", "scorer": ACDC}, "acdc scores edges"),
        ({**TOP, "type": "greedy"}, {"granularity": "node"}, "choose `top_n` for nodes"),
        ({**TOP, "by": "helpful"}, {"reduction": "mean_magnitude"}, "choose `by: magnitude`"),
        ({**TOP, "type": "threshold", "threshold": 1.0}, {"scorer": ACDC}, "decides on a circuit by itself"),
        (
            TOP,
            {"scorer": {"type": "gradient", "at": "clean"}, "target": {"type": "negative_divergence"}},
            "no gradient at the clean run",
        ),
    ],
)
def test_combinations_that_mean_nothing_are_refused(selector: Any, what: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        analyzer(selector, **what)


def test_scores_that_are_no_numbers_are_an_error() -> None:
    scored = Attribution(GRAPH, "edge", np.full((2, len(GRAPH.edges)), np.nan, dtype=np.float32))
    with pytest.raises(ModelError, match="float32 or bfloat16"):
        cut(analyzer(TOP), scored, 3)


def test_scores_are_reduced_over_pairs() -> None:
    scored = Attribution(GRAPH, "edge", np.repeat([[3.0], [-1.0]], len(GRAPH.edges), 1).astype(np.float32))
    method = analyzer({"type": "top_n", "by": "magnitude"})
    assert reduced(method, scored)[0] == 1
    assert reduced(method, scored, np.array([1.0, 3.0]))[0] == 0
    assert reduced(analyzer({"type": "top_n", "by": "magnitude"}, reduction="mean_magnitude"), scored)[0] == -2
