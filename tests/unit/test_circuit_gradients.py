"""Gradient scores against gradients taken one destination at a time, and against what integrals must come to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from lm_fixtures import FAMILIES
from lm_fixtures import tiny as plain

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.scorers import gradient
from benchwright.adapters.circuits.scorers.params import Gradient, InformationFlow, IntegratedGradients, Random
from benchwright.adapters.lm.forward import replaced, tensor_of
from benchwright.adapters.lm.graph import gradients
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.nodes import LETTERS
from benchwright.adapters.lm.graph.pairs import Pair, batches
from benchwright.adapters.lm.graph.params import Ablation, LogitDifference, LogProbability, NegativeDivergence, Target
from benchwright.adapters.lm.graph.ungrouped import wired
from benchwright.adapters.lm.graph.values import last_logits, record, reference_for, written
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.model import LanguageModel
from benchwright.errors import ModelError, UsageError

SOME = tuple(f for f in FAMILIES if f not in ("opt", "mistral"))
LOGITS = LogitDifference(type="logit_difference")
EAP = Gradient(type="gradient", at="clean")
BOTH = Gradient(type="gradient", at="clean_corrupted")
Path = list[tuple[float, float]]


def tiny(family: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """With gains and biases that are neither 1 nor 0."""
    lm = plain(family)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return LanguageModel(lm.model.to(dtype), lm.tokenizer)


def ig(steps: int, rule: str = "left", along: str = "inputs") -> IntegratedGradients:
    return IntegratedGradients.model_validate(
        {"type": "integrated_gradients", "along": along, "steps": steps, "rule": rule}
    )


def pairs() -> list[Pair]:
    """Of two lengths; one answer or two."""
    generator = np.random.default_rng(3)
    found = []
    for number, length in enumerate((5, 7, 5, 5, 7)):
        clean, corrupt = generator.integers(2, 90, (2, length)).tolist()
        corrupt[0] = clean[0]
        answers = tuple(generator.choice(90, 3, replace=False).tolist())
        found.append(Pair(str(number), tuple(clean), tuple(corrupt), answers[: 1 + number % 2], answers[2:]))
    return found


def study(wiring: Wiring, target: Target = LOGITS, ablation: Ablation = "patching", batch: int = 64) -> Study:
    return Study(wiring, pairs(), target, ablation, batch, lambda purpose: np.random.default_rng(len(purpose)))


@pytest.fixture(scope="module", params=SOME)
def wiring(request: pytest.FixtureRequest) -> Wiring:
    return wiring_of(tiny(request.param))


@pytest.fixture(scope="module")
def llama() -> Wiring:
    return wiring_of(tiny("llama"))


def destination_gradients(
    wiring: Wiring,
    tokens: torch.Tensor,
    measure: Callable[[torch.Tensor], torch.Tensor],
    module: Any,
    shift: torch.Tensor,
) -> torch.Tensor:
    """Shape (destinations, rows, positions, width), by automatic differentiation of zeros that are added to what each
    destination alone reads; `shift` is added to what `module` puts out."""
    graph = wiring.graph
    zeros = torch.zeros(len(graph.destinations), *tokens.shape, wiring.width, requires_grad=True)
    streams: dict[str, torch.Tensor] = {}

    def change(norm: Any, place: int) -> torch.Tensor:
        x = streams[norm.name]
        return norm.module.forward(x + zeros[place].to(x)) - norm.module.forward(x)

    def moved(_: Any, __: Any, output: Any) -> Any:
        return replaced(output, tensor_of(output) + shift)

    def projected(layer: Any, number: int, name: str) -> Any:
        def hook(module: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
            for letter in LETTERS:
                projection = layer.projections[letter]
                if projection.name != name:
                    continue
                for head, place in enumerate(range(*graph.readers(number, letter).indices(10**6))):
                    only = torch.zeros(output.shape[-1])
                    only[projection.channels.view(projection.count, -1)[head]] = 1
                    x = streams[layer.attention_norm.name]
                    norm = layer.attention_norm.module.forward
                    output = output + only * (module.forward(norm(x + zeros[place])) - module.forward(norm(x)))
            return output

        return hook

    with ExitStack() as hooks:
        norms = [n for layer in wiring.layers for n in (layer.attention_norm, layer.mlp_norm)] + [wiring.final_norm]
        for norm in {n.name: n for n in norms}.values():
            name = norm.name
            handle = norm.module.register_forward_pre_hook(lambda _, args, name=name: streams.update({name: args[0]}))
            hooks.callback(handle.remove)
        hooks.callback(module.register_forward_hook(moved).remove)
        for number, layer in enumerate(wiring.layers):
            for projection in {p.name: p for p in layer.projections.values()}.values():
                hook = projected(layer, number, projection.name)
                hooks.callback(projection.module.register_forward_hook(hook).remove)
            place = graph.readers(number, "m").start
            handle = layer.mlp[1].register_forward_pre_hook(
                lambda _, args, n=layer.mlp_norm, p=place: (args[0] + change(n, p), *args[1:])
            )
            hooks.callback(handle.remove)
        handle = wiring.final_norm.module.register_forward_hook(
            lambda _, __, output: output + change(wiring.final_norm, graph.logits)
        )
        hooks.callback(handle.remove)
        total = measure(last_logits(wiring, tokens)).sum()
    return torch.autograd.grad(total, zeros)[0]


def brute(given: Study, path: Path) -> np.ndarray[Any, Any]:
    """Scores of all edges along inputs, by definition; shape (pairs, edges)."""
    wiring, graph = given.wiring, given.wiring.graph
    reference = reference_for(wiring, given.pairs, given.ablation, given.batch)
    found = np.zeros((len(given.pairs), len(graph.edges)))
    for batch in batches(given.pairs, 64, wiring.lm.device):
        clean, other = record(wiring, batch.clean), reference(batch)
        difference = written(wiring, other) - written(wiring, clean.values)
        total = torch.zeros(())
        for at, weight in path:
            shift = (1 - at) * (other.embedded - clean.values.embedded)
            total = total + weight * destination_gradients(
                wiring,
                batch.clean,
                lambda logits: given.target.values(logits, batch, clean.logits),  # noqa: B023
                wiring.embedding[1],
                shift,
            )
        scores = torch.einsum("bpfd,gbpd->bfg", difference, total)
        found[list(batch.places)] = scores[:, graph.edges[:, 0], graph.edges[:, 1]].numpy()
    return found


def close(a: Any, b: Any, tolerance: float = 1e-5) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max())


def test_attribution_patching_is_difference_times_gradient(wiring: Wiring) -> None:
    found = EAP.score(study(wiring), "edge")
    close(found.by_pair, brute(study(wiring), [(1.0, 1.0)]))
    assert found.by_pair.dtype == np.float32
    assert wiring.lm.verify() == []


def test_integrated_gradients_are_sums_along_the_path(wiring: Wiring) -> None:
    close(
        ig(3).score(study(wiring), "edge").by_pair, brute(study(wiring), [(0, 1 / 3), (1 / 3, 1 / 3), (2 / 3, 1 / 3)])
    )
    assert wiring.lm.verify() == []


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean_positional"])
def test_other_ablations(llama: Wiring, ablation: Ablation) -> None:
    given = study(llama, ablation=ablation)
    close(EAP.score(given, "edge").by_pair, brute(given, [(1.0, 1.0)]))
    close(BOTH.score(given, "edge").by_pair, brute(given, [(0.0, 0.5), (1.0, 0.5)]))
    close(ig(2).score(given, "edge").by_pair, brute(given, [(0.0, 0.5), (0.5, 0.5)]))


@pytest.mark.parametrize("rule", ["left", "right", "midpoint", "gauss"])
def test_rules(llama: Wiring, rule: str) -> None:
    given = study(llama)
    scorer = ig(3, rule)
    close(scorer.score(given, "edge").by_pair, brute(given, list(gradient.points(rule, 3))))


def test_points_integrate_polynomials() -> None:
    for rule, degree in (("left", 0), ("right", 0), ("midpoint", 1), ("gauss", 9)):
        at, weights = np.array(gradient.points(rule, 5)).T
        for power in range(degree + 1):
            assert weights @ at**power == pytest.approx(1 / (power + 1))
    assert gradient.points("left", 2) == [(0.0, 0.5), (0.5, 0.5)]
    assert gradient.points("right", 2) == [(0.5, 0.5), (1.0, 0.5)]


def test_clean_corrupted_is_the_mean_of_both_ends(llama: Wiring) -> None:
    close(BOTH.score(study(llama), "edge").by_pair, brute(study(llama), [(0, 0.5), (1, 0.5)]))


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gptj"])
def test_embeddings_path_comes_to_the_whole_difference(family: str) -> None:
    wiring = wiring_of(tiny(family))
    scores = ig(40, "gauss").score(study(wiring), "node").by_pair
    for batch in batches(pairs(), 64, wiring.lm.device):
        clean, corrupt = record(wiring, batch.clean).logits, record(wiring, batch.corrupt).logits
        change = LOGITS.values(corrupt, batch, None) - LOGITS.values(clean, batch, None)
        close(scores[list(batch.places), 0], change, 1e-3)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gpt_neox"])
def test_each_stage_comes_to_the_difference_of_patching_it(family: str) -> None:
    wiring = wiring_of(tiny(family))
    graph = wiring.graph
    scores = ig(40, "gauss", "activations").score(study(wiring), "node").by_pair
    for batch in batches(pairs(), 64, wiring.lm.device):
        clean, corrupt = record(wiring, batch.clean), record(wiring, batch.corrupt)
        for number, layer in enumerate(wiring.layers):
            norm = layer.attention_after.module if layer.attention_after else layer.out.module
            change = (corrupt.values.heads[number] - clean.values.heads[number]).flatten(-2) @ layer.heads.flatten(0, 1)
            handle = norm.register_forward_hook(lambda _, __, output, change=change: output + change)
            with torch.no_grad():
                patched = last_logits(wiring, batch.clean)
            handle.remove()
            expected = LOGITS.values(patched, batch, None) - LOGITS.values(clean.logits, batch, None)
            close(scores[list(batch.places), graph.head_sources(number)].sum(-1), expected, 1e-3)


def test_activations_give_the_edges_of_a_stage_its_own_path(llama: Wiring) -> None:
    graph = llama.graph
    scores = ig(2, "left", "activations").score(study(llama), "edge").by_pair
    sources, destinations = graph.edges.T
    for batch in batches(pairs(), 64, llama.lm.device):
        clean, corrupt = record(llama, batch.clean), record(llama, batch.corrupt)
        difference = written(llama, corrupt.values) - written(llama, clean.values)
        stages = [(slice(0, 1), llama.embedding[1])]
        for number, layer in enumerate(llama.layers):
            place = graph.mlp_source(number)
            stages += [(graph.head_sources(number), layer.out.module), (slice(place, place + 1), layer.mlp[1])]
        for some, module in stages:
            shift = difference[:, :, some].sum(2)
            total = sum(
                destination_gradients(llama, batch.clean, lambda x: LOGITS.values(x, batch, None), module, part * shift)  # noqa: B023
                for part in (1.0, 0.5)
            )
            expected = torch.einsum("bpfd,gbpd->bfg", difference[:, :, some], total / 2)
            here = (sources >= some.start) & (sources < some.stop)
            close(scores[list(batch.places)][:, here], expected[:, sources[here] - some.start, destinations[here]])
    assert llama.lm.verify() == []


def test_score_of_a_node_is_difference_times_gradient_at_its_output(wiring: Wiring) -> None:
    graph, scores = wiring.graph, EAP.score(study(wiring), "node")
    assert scores.by_pair.shape == (5, len(graph.sources))
    for batch in batches(pairs(), 64, wiring.lm.device):
        clean, corrupt = record(wiring, batch.clean), record(wiring, batch.corrupt)
        difference = written(wiring, corrupt.values) - written(wiring, clean.values)
        stages: list[tuple[slice, Any]] = [(slice(0, 1), wiring.embedding[1])]
        for number, layer in enumerate(wiring.layers):
            out = layer.attention_after.module if layer.attention_after else layer.out.module
            mlp = layer.mlp_after.module if layer.mlp_after else layer.mlp[1]
            place = graph.mlp_source(number)
            stages += [(graph.head_sources(number), out), (slice(place, place + 1), mlp)]
        for some, module in stages:
            zero = torch.zeros(*batch.clean.shape, wiring.width, requires_grad=True)
            handle = module.register_forward_hook(
                lambda _, __, output, zero=zero: replaced(output, tensor_of(output) + zero)
            )
            total = LOGITS.values(last_logits(wiring, batch.clean), batch, None).sum()
            handle.remove()
            expected = torch.einsum("bpfd,bpd->bf", difference[:, :, some], torch.autograd.grad(total, zero)[0])
            close(scores.by_pair[list(batch.places), some], expected)


@pytest.mark.parametrize(
    "scorer", [EAP, ig(3), ig(2, "gauss", "activations"), InformationFlow(type="information_flow")]
)
def test_neither_batches_nor_order_matter(llama: Wiring, scorer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scorer.score(study(llama), "edge").by_pair
    close(scorer.score(study(llama, batch=1), "edge").by_pair, whole)
    given = study(llama)
    turned = Study(llama, given.pairs[::-1], LOGITS, "patching", 2, given.rng)
    close(scorer.score(turned, "edge").by_pair[::-1], whole)
    assert scorer.score(study(llama), "edge").by_pair.tobytes() == whole.tobytes()
    monkeypatch.setattr(gradients, "EXPANDED", 1000)
    monkeypatch.setattr(gradient, "TOGETHER", 2)
    close(scorer.score(study(llama), "edge").by_pair, whole)


def test_bfloat16_is_near_float32() -> None:
    exact = ig(3).score(study(wiring_of(tiny("llama"))), "edge").by_pair
    rounded = ig(3).score(study(wiring_of(tiny("llama", dtype=torch.bfloat16))), "edge").by_pair
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.99


def test_divergence(llama: Wiring) -> None:
    target = NegativeDivergence(type="negative_divergence")
    for scorer in (EAP, ig(1, "right")):
        with pytest.raises(UsageError, match="clean_corrupted"):
            scorer.score(study(llama, target), "edge")
    path = list(gradient.points("gauss", 3))
    close(ig(3, "gauss").score(study(llama, target), "edge").by_pair, brute(study(llama, target), path))
    close(BOTH.score(study(llama, target), "edge").by_pair, brute(study(llama, target), [(0, 0.5), (1, 0.5)]))


def test_a_target_that_nothing_changes_is_refused(llama: Wiring) -> None:
    class Constant(LogProbability):
        def values(self, logits: Any, batch: Any, clean: Any) -> Any:
            return torch.zeros(len(logits))

    class Flat(LogProbability):
        def values(self, logits: Any, batch: Any, clean: Any) -> Any:
            return logits.sum(-1) * 0

    for kind, said in ((Constant, "does not depend on the logits"), (Flat, "all scores are 0")):
        with pytest.raises(UsageError, match=said):
            EAP.score(study(llama, kind(type="log_probability")), "edge")


def test_an_error_leaves_the_model_as_it_was(llama: Wiring) -> None:
    class Broken(LogProbability):
        def values(self, logits: Any, batch: Any, clean: Any) -> Any:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        EAP.score(study(llama, Broken(type="log_probability")), "edge")
    with pytest.raises(RuntimeError, match="no"), wired(llama.lm, "per_query_head"):
        raise RuntimeError("no")
    assert llama.lm.verify() == []


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2", "phi"])
def test_ungrouped_says_the_same(family: str) -> None:
    lm = tiny(family)
    grouped = wiring_of(lm)
    tokens = torch.tensor([[5, 6, 7, 8], [9, 3, 2, 4]])
    expected, shared = last_logits(grouped, tokens), EAP.score(study(grouped), "edge")
    with wired(lm, "per_query_head") as apart:
        assert apart.graph.kv_heads == apart.graph.heads == 4
        assert torch.allclose(last_logits(apart, tokens), expected, atol=1e-6)
        single = EAP.score(study(apart), "edge")
        close(single.by_pair, brute(study(apart), [(1.0, 1.0)]))
    assert lm.verify() == []
    alone = dict(zip(apart.graph.names(), single.scores(), strict=True))
    for name, score in zip(grouped.graph.names(), shared.scores(), strict=True):
        source, reader = name.split("->")
        if ".kv" in reader:
            block, _, rest = reader.partition(".kv")
            heads = range(int(rest[0]) * 2, int(rest[0]) * 2 + 2)
            assert score == pytest.approx(sum(alone[f"{source}->{block}.h{h}{rest[1:]}"] for h in heads), abs=1e-4)
        else:
            assert score == pytest.approx(alone[name], abs=1e-4)


def test_what_is_not_ungrouped() -> None:
    lm = tiny("phi3")
    with pytest.raises(ModelError, match="one projection"), wired(lm, "per_query_head"):
        pass
    assert lm.verify() == []
    with wired(lm, "grouped") as wiring:
        assert wiring.graph.kv_heads == 2
    with wired(tiny("gpt2"), "per_query_head") as wiring:
        assert wiring.graph.kv_heads == 4


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "gptj"])
def test_information_flow_by_hand(family: str) -> None:
    wiring = wiring_of(tiny(family))
    graph = wiring.graph
    found = InformationFlow(type="information_flow").score(study(wiring), "edge").by_pair
    for batch in batches(pairs(), 64, wiring.lm.device):
        seen = record(wiring, batch.clean)
        wrote = written(wiring, seen.values).numpy()
        for (source, destination), score in zip(graph.edges, found[list(batch.places)].T, strict=True):
            name, layer = graph.destinations[destination], int(graph.layer_of[destination])
            streams = seen.streams.mlp if name.startswith("m") else seen.streams.attention
            y = (seen.streams.final if name == "logits" else streams[layer]).numpy()
            readable = np.flatnonzero(graph.allowed[:, destination])
            near = [np.maximum(0, np.abs(y).sum(-1) - np.abs(y - wrote[:, :, j]).sum(-1)) for j in readable]
            mine = near[list(readable).index(source)]
            whole = np.sum(near, 0)
            share = np.divide(mine, whole, out=np.zeros_like(mine), where=whole > 0)
            close(score, -share.mean(-1))
    with pytest.raises(UsageError, match="granularity: edge"):
        InformationFlow(type="information_flow").score(study(wiring), "node")


def test_chance_depends_on_the_seed_alone(llama: Wiring) -> None:
    scorer = Random(type="random")
    edges, nodes = scorer.score(study(llama), "edge"), scorer.score(study(llama), "node")
    assert edges.by_pair.shape == (1, len(llama.graph.edges))
    assert nodes.by_pair.shape == (1, len(llama.graph.sources))
    assert edges.by_pair.tobytes() == scorer.score(study(llama, batch=1), "edge").by_pair.tobytes()
