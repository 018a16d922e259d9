"""The graph of a model: names, order, pruning; and the model's own modules as its nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lm_fixtures import FAMILIES, tiny

from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.adapters.lm.graph.pairs import Pair, batches
from benchwright.adapters.lm.graph.targets import (
    log_probability,
    logit_difference,
    negative_divergence,
    probability_difference,
    rank,
)
from benchwright.adapters.lm.graph.values import record, reference_for, written
from benchwright.errors import DataError, ModelError

TOKENS = torch.tensor([[5, 6, 7, 9], [1, 2, 8, 8]])
PARALLEL = {"gptj", "gpt_neox", "phi"}
WIRED = [family for family in FAMILIES if family != "opt"]


def edges_by_formula(layers: int, heads: int) -> int:
    """Of a sequential model without shared keys: research of EAP-IG's graph, counted by hand."""
    return (
        sum(3 * heads * (1 + n * (heads + 1)) + 1 + n * (heads + 1) + heads for n in range(layers))
        + 1
        + layers * (heads + 1)
    )


@pytest.mark.parametrize(("layers", "heads", "edges"), [(3, 4, 262), (4, 4, 479), (12, 12, 32491)])
def test_a_graph_has_as_many_edges_as_published(layers: int, heads: int, edges: int) -> None:
    graph = Graph(layers, heads, heads)
    assert len(graph.edges) == edges == edges_by_formula(layers, heads)
    assert len(graph.destinations) == layers * (3 * heads + 1) + 1


def test_names_and_places_of_edges_are_each_others_inverse() -> None:
    graph = Graph(2, 4, 2)
    names = list(graph.names())
    assert len(set(names)) == len(names) == graph.allowed.sum()
    assert [graph.name(*graph.edge(name)) for name in names] == names
    assert "m0->a1.kv1<k>" in names
    assert "a1.h0->a1.h1<q>" not in names
    assert "a1.h3->m1" in names


def test_in_a_parallel_block_the_mlp_does_not_read_its_heads() -> None:
    names = set(Graph(2, 2, 2, parallel=True).names())
    assert "a1.h0->m1" not in names
    assert "a0.h0->m1" in names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a0.h0", "SOURCE->DESTINATION"),
        ("a0.h9->logits", "a0.h"),
        ("a0.h0->logit", "logits"),
        ("m1->m0", "computed before"),
    ],
)
def test_an_edge_that_does_not_exist_is_an_error_that_says_why(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Graph(2, 2, 2).edge(name)


def test_pruning_takes_away_dead_ends_and_nothing_else() -> None:
    graph = Graph(2, 2, 2)
    path = ["input->a0.h0<v>", "a0.h0->m1", "m1->logits"]
    dead = ["input->a0.h1<q>", "m0->logits", "a1.h0->m1"]
    kept = graph.prune(graph.mask([*path, *dead]))
    assert {graph.name(s, d) for s, d in np.argwhere(kept)} == set(path)
    assert graph.nodes_in(kept) == ["input", "a0.h0", "m1", "logits"]


def test_a_shared_key_reaches_all_heads_that_share_it() -> None:
    graph = Graph(1, 4, 2)
    kept = graph.prune(graph.mask(["input->a0.kv1<k>", "a0.h3->logits", "a0.h0->logits"]))
    assert {graph.name(s, d) for s, d in np.argwhere(kept)} == {"input->a0.kv1<k>", "a0.h3->logits"}


def test_all_nodes_have_all_edges() -> None:
    graph = Graph(2, 4, 2)
    assert (graph.of_nodes(np.ones(len(graph.sources), dtype=bool)) == graph.allowed).all()
    none = graph.of_nodes(np.zeros(len(graph.sources), dtype=bool))
    assert [graph.name(s, d) for s, d in np.argwhere(none)] == ["input->logits"]


@pytest.mark.parametrize("family", WIRED)
def test_what_sources_write_sums_to_the_stream(family: str) -> None:
    lm = tiny(family)
    wiring = wiring_of(lm)
    assert wiring.graph.parallel == (family in PARALLEL)
    recorded = record(wiring, TOKENS)
    rest = recorded.streams.final - written(wiring, recorded.values).sum(2)
    # What remains is no source: biases and positions, the same for all tokens.
    assert torch.allclose(rest[0], rest[1], atol=1e-5)
    assert torch.allclose(recorded.logits, lm.model(TOKENS).logits[:, -1], atol=1e-5)
    assert lm.verify() == []


def test_queries_keys_and_values_are_read_where_the_model_computes_them() -> None:
    """The projections of the wiring, done to a norm's output, give what the module puts out."""
    for family in WIRED:
        wiring = wiring_of(tiny(family))
        layer = wiring.layers[1]
        x = torch.randn(2, 3, wiring.width, generator=torch.Generator().manual_seed(0))
        for projection in layer.projections.values():
            out = projection.module(x)
            mine = torch.einsum("bpd,hed->bphe", x, projection.weight) + projection.bias
            assert torch.allclose(projection.read(out), mine, atol=1e-5)
            assert torch.equal(projection.written(out, projection.read(out)), out)


def test_a_model_without_an_mlp_module_is_refused() -> None:
    with pytest.raises(ModelError, match="no mlp"):
        wiring_of(tiny("opt"))


def test_a_stream_that_is_no_sum_is_refused() -> None:
    """A model that scales what it adds would give numbers that look right."""
    lm = tiny("llama")
    block = lm.model.model.layers[0]
    handle = block.register_forward_hook(lambda _, __, output: output * 1.5)
    with pytest.raises(ModelError, match="not the sum"):
        wiring_of(lm)
    handle.remove()


PAIRS = [Pair("a", (3, 4, 5), (3, 7, 5), (6,), (8,)), Pair("b", (1, 2), (2, 1), (6, 7), (8,))]


def test_batches_hold_pairs_of_one_length() -> None:
    found = list(batches([*PAIRS, PAIRS[0]], 8, torch.device("cpu")))
    assert [(b.places, tuple(b.clean.shape)) for b in found] == [((1,), (1, 2)), ((0, 2), (2, 3))]
    assert found[0].answer.tolist() == [[6, 7]]


def test_targets_by_hand() -> None:
    batch = next(iter(batches([PAIRS[1]], 1, torch.device("cpu"))))
    logits = torch.zeros(1, 10)
    logits[0, 6], logits[0, 7], logits[0, 8] = 2.0, 1.0, 0.5
    p = logits.softmax(-1)[0]
    assert logit_difference(logits, batch).item() == pytest.approx(1.5 - 0.5)
    assert probability_difference(logits, batch).item() == pytest.approx(float(p[6] + p[7] - p[8]))
    assert log_probability(logits, batch.answer).item() == pytest.approx(float((p[6] + p[7]).log()))
    assert negative_divergence(logits, logits).item() == pytest.approx(0)
    uniform = torch.zeros(1, 10)
    expected = -(p * (p.log() - torch.tensor(0.1).log())).sum().item()
    assert negative_divergence(uniform, logits).item() == pytest.approx(expected, rel=1e-5)
    assert rank(logits, batch.answer).item() == 0
    logits[0, 1] = 3
    assert rank(logits, batch.answer).item() == 1


def test_means_are_over_all_pairs_whatever_the_batch() -> None:
    wiring = wiring_of(tiny("gpt2"))
    pairs = [Pair(str(i), (i, i + 1, i + 2), (1, 1, 1), (1,), (2,)) for i in range(5)]
    batch = next(iter(batches(pairs, 8, torch.device("cpu"))))
    clean = record(wiring, batch.clean).values
    for size in (2, 5):
        mean = reference_for(wiring, pairs, "mean", size)(batch)
        assert torch.allclose(mean.mlps[0], clean.mlps[0].mean((0, 1)).expand_as(mean.mlps[0]), atol=1e-6)
        positional = reference_for(wiring, pairs, "mean_positional", size)(batch)
        assert torch.allclose(positional.heads[1], clean.heads[1].mean(0).expand_as(clean.heads[1]), atol=1e-6)
    assert all((t == 0).all() for t in reference_for(wiring, pairs, "zero", 2)(batch).mlps)


def test_patching_without_a_corrupt_prompt_is_an_error_that_names_the_pair() -> None:
    with pytest.raises(DataError, match="'x'"):
        reference_for(wiring_of(tiny("gpt2")), [Pair("x", (1, 2), (), (1,), (2,))], "patching", 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", WIRED)
def test_how_blocks_are_wired_does_not_depend_on_how_much_attention_writes(family: str, dtype: torch.dtype) -> None:
    """With a default start, attention writes less than a half-precision stream can show."""
    lm = tiny(family, dtype=dtype)
    with torch.no_grad():
        for layer in wiring_of(lm).layers:
            layer.out.module.weight.mul_(1e-3)
    wiring = wiring_of(lm)
    assert wiring.graph.parallel == (family in PARALLEL)
    assert wiring.layers[1].attention_norm.name.endswith(("ln_1", "input_layernorm"))
