"""Scorers that intervene: exact patching, path patching, ACDC, learned masks. Their definitions, by brute force."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import circuit_fixtures
import numpy as np
import pytest
import torch
from circuit_fixtures import FAMILIES
from lm_fixtures import tiny
from numpy.typing import NDArray

from benchwright.adapters.circuits.analysis import Attribution, Study
from benchwright.adapters.circuits.evaluate import circuit_values, model_values
from benchwright.adapters.circuits.scorers.acdc import by_acdc
from benchwright.adapters.circuits.scorers.exact import exactly
from benchwright.adapters.circuits.scorers.masks import by_learned_mask, hard_concrete, opened, uniform
from benchwright.adapters.circuits.scorers.params import Acdc, LearnedMask, PathPatching
from benchwright.adapters.circuits.scorers.path import by_path_patching
from benchwright.adapters.lm.forward import replaced, tensor_of
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.nodes import Mask
from benchwright.adapters.lm.graph.restarted import Edit, Runs, reading, runs_of
from benchwright.adapters.lm.graph.values import last_logits, replacing_embedding
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.model import LanguageModel
from benchwright.errors import UsageError


def study_of(wiring: Wiring, **what: Any) -> Study:
    return circuit_fixtures.study_of(wiring, seed=3, lengths=(4, 5, 4, 3, 4), **what)


def silenced(family: str, *, but: str = "") -> LanguageModel:
    """A model whose heads and MLPs write nothing, but one MLP."""
    lm = tiny(family)
    wiring = wiring_of(lm)
    with torch.no_grad():
        for number, layer in enumerate(wiring.layers):
            for module in (layer.out.module, *[layer.mlp[1]] * (but != f"m{number}")):
                for parameter in module.parameters():
                    parameter.zero_()
    return LanguageModel(lm.model, lm.tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ablation", ["patching", "zero"])
def test_a_node_alone_is_all_edges_out_of_it(family: str, ablation: Any) -> None:
    study = study_of(wiring_of(tiny(family)), ablation=ablation)
    graph, found = study.wiring.graph, exactly(study, "node")
    masks = np.repeat(graph.allowed[None], len(graph.sources), 0)
    masks[np.arange(len(masks)), np.arange(len(masks))] = False
    expected = (circuit_values(study, list(masks)).values - model_values(study).values).T
    assert found.granularity == "node"
    np.testing.assert_allclose(found.by_pair, expected, atol=1e-5)


@pytest.mark.parametrize("granularity", ["edge", "node"])
def test_exact_scores_do_not_depend_on_batches(granularity: Any) -> None:
    study = study_of(wiring_of(tiny("llama")))
    one = exactly(replace(study, batch=1, pairs=study.pairs[::-1]), granularity).by_pair[::-1]
    np.testing.assert_allclose(exactly(study, granularity).by_pair, one, atol=1e-5)
    assert study.wiring.lm.verify() == []


def through_mlps(runs: Runs, source: int, receiver: str) -> torch.Tensor:
    """Logits of path patching, in two runs of the stock model: in the first one all heads put out what they did."""
    wiring, graph = runs.wiring, runs.wiring.graph
    change, tokens = runs.differences()[:, source], runs.batch.clean
    outs = [layer.attention_after.module if layer.attention_after else layer.out.module for layer in wiring.layers]
    mlps = [layer.mlp_after.module if layer.mlp_after else layer.mlp[1] for layer in wiring.layers]
    clean: dict[int, torch.Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for number, module in enumerate(outs):
            handle = module.register_forward_hook(lambda _, __, out, n=number: clean.update({n: tensor_of(out)}))
            hooks.callback(handle.remove)
        last_logits(wiring, tokens)
    layer, head = divmod(source - 1, graph.heads + 1)

    def put_out(value: torch.Tensor) -> Any:
        return lambda _, __, output: replaced(output, value)

    streams: dict[str, torch.Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        if not source:
            hooks.callback(replacing_embedding(wiring, runs.reference.embedded).remove)
        for number, module in enumerate(outs):
            here = source and number == layer and head < graph.heads
            hooks.callback(module.register_forward_hook(put_out(clean[number] + change * bool(here))).remove)
        if source and head == graph.heads:
            mlp = mlps[layer].register_forward_hook(lambda _, __, out: replaced(out, tensor_of(out) + change))
            hooks.callback(mlp.remove)
        norm = wiring.layers[1].attention_norm.module
        see = norm.register_forward_pre_hook(lambda _, args: streams.update(read=args[0]))
        hooks.callback(see.remove)
        logits = last_logits(wiring, tokens)
    if receiver == "logits":
        return logits
    edit = Edit(graph.destinations.index(receiver), torch.arange(len(tokens)), streams["read"])
    read = replace(edit, changes=streams["read"] - runs.clean.streams.attention[1])
    return reading(runs, 1, [read])


@pytest.mark.parametrize("family", FAMILIES)
def test_path_patching_is_two_runs_with_heads_frozen_in_the_first(family: str) -> None:
    study = study_of(wiring_of(tiny(family)))
    graph = study.wiring.graph
    receivers = ("logits", "a1.h2<q>")
    found = by_path_patching(PathPatching(type="path_patching", receivers=receivers), study, "edge").by_pair
    expected = np.zeros_like(found)
    for runs in runs_of(study.wiring, study.pairs, "patching", 64):
        clean = study.target.values(runs.clean.logits, runs.batch, None)
        for number, (source, destination) in enumerate(graph.edges):
            if (name := graph.destinations[destination]) in receivers:
                logits = through_mlps(runs, int(source), name)
                values = study.target.values(logits, runs.batch, None) - clean
                expected[list(runs.batch.places), number] = values.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_unknown_receiver_is_told_with_the_closest_one() -> None:
    study = study_of(wiring_of(tiny("gpt2")))
    with pytest.raises(UsageError, match=r"did you mean 'a1\.h2<q>'"):
        by_path_patching(PathPatching(type="path_patching", receivers=("a1.h2q>",)), study, "edge")


def one_after_another(study: Study, threshold: float) -> tuple[Mask, NDArray[np.float64]]:
    """ACDC as its paper tells it, each test a whole run of its own."""
    graph, batch_of_one = study.wiring.graph, replace(study, batch=1)
    circuit, changes = graph.allowed.copy(), np.zeros(graph.allowed.shape)
    value = model_values(study).values.mean()
    order = [graph.logits]
    for layer in reversed(range(graph.layers)):
        for letter in "mvkq":
            order += reversed(range(graph.readers(layer, letter).start, graph.readers(layer, letter).stop))
    for destination in order:
        if destination != graph.logits and not circuit[graph.nodes_of(destination)].any():
            circuit[:, destination] = False
            value = circuit_values(batch_of_one, [circuit]).values.mean()
        for source in reversed(np.flatnonzero(circuit[:, destination])):
            less = circuit.copy()
            less[source, destination] = False
            found = circuit_values(batch_of_one, [less]).values.mean()
            changes[source, destination] = found - value
            if value - found < threshold:
                circuit, value = less, found
    return circuit, changes


@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama", "gemma2"])
@pytest.mark.parametrize("batch", [2, 16, 128])
def test_acdc_decides_as_one_test_after_another(family: str, batch: int) -> None:
    study = study_of(wiring_of(tiny(family)), batch=batch)
    threshold = 0.05
    circuit, changes = one_after_another(study, threshold)
    found = by_acdc(Acdc(type="acdc", threshold=threshold), study, "edge")
    assert found.kept is not None
    assert (found.kept == circuit).all()
    assert 3 < circuit.sum() < study.wiring.graph.allowed.sum() / 2
    expected = np.where(circuit, changes, changes.clip(-threshold, threshold))[*study.wiring.graph.edges.T]
    np.testing.assert_allclose(found.by_pair[0], expected, atol=2e-5)
    sizes, inside = np.abs(found.by_pair[0]), circuit[*study.wiring.graph.edges.T]
    assert sizes[inside].min() > sizes[~inside].max()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_acdc_keeps_the_one_edge_of_a_model_that_writes_nothing(family: str) -> None:
    """Then only the embedding reaches the logits, and its edge is worth what the corrupt prompt costs."""
    study = study_of(wiring_of(silenced(family)))
    clean = model_values(study).values
    corrupt = model_values(replace(study, pairs=[replace(p, clean=p.corrupt, corrupt=p.clean) for p in study.pairs]))
    worth = float((corrupt.values - clean).mean())
    if worth > 0:
        study = replace(study, pairs=[replace(p, answer=p.wrong, wrong=p.answer) for p in study.pairs])
        worth = -worth
    found = by_acdc(Acdc(type="acdc", threshold=abs(worth) / 2), study, "edge")
    graph = study.wiring.graph
    assert found.kept is not None
    assert [graph.name(*place) for place in np.argwhere(found.kept)] == ["input->logits"]
    expected = [worth if name == "input->logits" else 0 for name in graph.names()]
    np.testing.assert_allclose(found.by_pair[0], expected, atol=1e-5)


@pytest.mark.parametrize("gates", ["uniform", "hard_concrete"])
def test_a_learned_mask_finds_the_edges_of_a_model_that_writes_little(gates: Any) -> None:
    study = study_of(wiring_of(silenced("llama", but="m0")))
    graph, exact = study.wiring.graph, exactly(study, "edge")
    study = replace(
        study,
        pairs=[
            replace(p, answer=p.wrong, wrong=p.answer) if exact.by_pair[i, -graph.logits :].sum() > 0 else p
            for i, p in enumerate(study.pairs)
        ],
    )
    scorer = LearnedMask(type="learned_mask", gates=gates, steps=60, lr=0.2, sparsity=1.0)
    found, again = by_learned_mask(scorer, study, "edge"), by_learned_mask(scorer, replace(study, batch=2), "edge")
    wanted = {"input->m0", "input->logits", "m0->logits"}
    assert found.kept is not None
    assert graph.allowed[found.kept].all()
    assert {graph.name(*place) for place in np.argwhere(found.kept)} <= wanted
    assert found.kept.any()
    np.testing.assert_allclose(found.by_pair, again.by_pair, atol=1e-4)
    assert by_learned_mask(scorer, study, "edge").by_pair.tobytes() == found.by_pair.tobytes()
    assert study.wiring.lm.verify() == []


def test_uniform_gates_have_the_moments_that_they_claim() -> None:
    """Mean p; w of them in between; the gradient of θ is w times the share in between over w, that is 1 each."""
    noise = (torch.arange(100_000) + 0.5)[:, None] / 100_000
    theta = torch.tensor([0.7], requires_grad=True)
    p = float(theta.detach().sigmoid())
    gates = uniform(theta, noise)
    assert float(gates.detach().mean()) == pytest.approx(p, abs=1e-4)
    between = (gates > 0) & (gates < 1)
    assert float(between.float().mean()) == pytest.approx(p * (1 - p), abs=1e-4)
    (gradient,) = torch.autograd.grad(gates.sum(), theta)
    assert float(gradient) == pytest.approx(int(between.sum()), rel=1e-4)


def test_hard_concrete_gates_are_open_as_often_as_they_claim() -> None:
    noise = (torch.arange(100_000) + 0.5)[:, None] / 100_000
    for start in (-2.0, 0.0, 1.5):
        theta = torch.tensor([start])
        share = float((hard_concrete(theta, noise) > 0).float().mean())
        assert share == pytest.approx(float(opened("hard_concrete", theta)), abs=1e-4)


@pytest.mark.parametrize("scorer", [Acdc(type="acdc", threshold=0.1), PathPatching(type="path_patching")])
def test_scorers_of_edges_refuse_nodes(scorer: Any) -> None:
    with pytest.raises(UsageError, match="granularity: edge"):
        scorer.score(study_of(wiring_of(tiny("gpt2"))), "node")
    mask = LearnedMask(type="learned_mask", gates="uniform", steps=1, lr=0.1, sparsity=1)
    with pytest.raises(UsageError, match="granularity: edge"):
        mask.score(study_of(wiring_of(tiny("gpt2"))), "node")


def test_scores_are_an_attribution() -> None:
    study = study_of(wiring_of(tiny("gpt2")))
    found = exactly(study, "edge")
    assert isinstance(found, Attribution)
    assert found.by_pair.shape == (5, len(study.wiring.graph.edges))
    assert found.by_pair.dtype == np.float32
