"""Scores of all edges, beside the code that EAP-IG's authors published: `python benchmarks/circuits/peer.py PEER`.

PEER is a checkout of github.com/hannamw/EAP-IG. None of its code is here; it needs, in an environment that also has
Benchwright:

    pip install --no-deps transformer-lens==2.16.1    # later ones have no HookedTransformer
    pip install --no-deps einops jaxtyping fancy_einsum beartype better_abc typeguard
    pip install matplotlib

Two things are changed in what runs: the device, which is written into the code as 'cuda', and its tokenizing, which is
given token ids. The peer's own recipe is kept otherwise: its weights have gradients, and keys and values are ungrouped.
`peer_frozen` is the same without gradients of any weights but the token embeddings' (EAP needs some leaf); ours never
has any. Its target is called with the sum over a batch, so that its scores are means over pairs.

`grouped` is ours as the model is; its scores are compared with sums of the peer's over the query heads that share.
Exact scores are only compared ungrouped, since edges ablated together do not add up.

All ways run in one process on one thread, one after the other, in rounds whose order alternates. Ratios are medians
over the rounds of peer / ours, at one batch size for both, on which they depend. `--write` puts the figures into
peer.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.scorers.params import Exact, Gradient, IntegratedGradients
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.ungrouped import wired
from benchwright.adapters.lm.loading import without_bars
from benchwright.adapters.lm.model import LanguageModel
from benchwright.provenance import environment, package_version

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "circuits"
CASES = {
    "gpt2-tiny ioi": ("prompts.json", 100),
    "llama-tiny capital": ("prompts.json", 32),
    "gpt2-handmade recall": ("prompts_handmade.json", 56),
}
"""Models and tasks; the file and how many of its pairs."""
SCORERS: dict[str, Any] = {
    "EAP": Gradient(type="gradient", at="clean"),
    "EAP-IG-inputs-5": IntegratedGradients(type="integrated_gradients", along="inputs", steps=5, rule="left"),
    "EAP-IG-inputs-20": IntegratedGradients(type="integrated_gradients", along="inputs", steps=20, rule="left"),
    "exact": Exact(type="exact"),
}
ROUNDS = {"EAP": 11, "EAP-IG-inputs-5": 5, "EAP-IG-inputs-20": 3, "exact": 3}
EXACT_PAIRS = 8
Scores = dict[str, float]
Work = Callable[[], Callable[[], Scores]]
"""What is timed; it returns what reads the scores."""
Way = Callable[[str, int], Work]
"""Given a method and a number of pairs, what scores their edges."""


@contextmanager
def imported(folder: Path) -> Iterator[Any]:
    """The peer's module `attribute`, on the CPU and fed with ids. Leaves with a message where something is missing."""
    files = sorted((folder / "src" / "eap").glob("*.py"))
    if not files:
        sys.exit(f"{folder} has no src/eap: give a checkout of github.com/hannamw/EAP-IG (see --help)")
    # The peer's library imports it for a training loop that nothing here calls.
    wandb = ModuleType("wandb")
    wandb.__spec__ = ModuleSpec("wandb", None)
    absent = sys.modules.setdefault("wandb", wandb) is wandb
    with tempfile.TemporaryDirectory() as copy:
        (Path(copy) / "eap").mkdir()
        for file in files:
            code = file.read_text(encoding="utf-8").replace("'cuda'", "'cpu'")
            (Path(copy) / "eap" / file.name).write_text(code, encoding="utf-8")
        sys.path.insert(0, copy)
        try:
            from eap import attribute, evaluate
        except ImportError as error:
            sys.exit(f"the peer cannot be imported ({error}): see --help for what to install")
        finally:
            sys.path.remove(copy)
            if absent:
                del sys.modules["wandb"]
        attribute.tokenize_plus = evaluate.tokenize_plus = ids
        yield attribute


def ids(_: Any, rows: list[list[int]], max_length: int | None = None) -> tuple[Any, Any, Any, int]:
    """Tokens, mask, lengths, length: prompts of one length, in ids."""
    tokens = torch.tensor(rows)
    return tokens, torch.ones_like(tokens), torch.full((len(rows),), tokens.shape[1]), tokens.shape[1]


def hooked(model: Any, frozen: bool) -> Any:
    """A stock GPT-2 or Llama in the form that the peer works on, its weights as they are."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights

    c, llama = model.config, model.config.model_type == "llama"
    sizes: dict[str, Any] = {
        "n_layers": c.num_hidden_layers,
        "d_model": c.hidden_size,
        "n_heads": c.num_attention_heads,
        "d_head": c.hidden_size // c.num_attention_heads,
        "n_ctx": c.max_position_embeddings,
        "d_vocab": c.vocab_size,
        "device": "cpu",
    }
    if llama:
        norm = {"normalization_type": "RMS", "final_rms": True, "eps": c.rms_norm_eps}
        rotary = {"positional_embedding_type": "rotary", "rotary_dim": sizes["d_head"], "rotary_adjacent_pairs": False}
        mlp = {"d_mlp": c.intermediate_size, "act_fn": c.hidden_act, "gated_mlp": True}
        sizes |= norm | rotary | mlp | {"n_key_value_heads": c.num_key_value_heads}
    else:
        mlp = {"d_mlp": c.n_inner or 4 * c.n_embd, "act_fn": c.activation_function}
        sizes |= mlp | {"normalization_type": "LN", "eps": c.layer_norm_epsilon}
    found = HookedTransformer(HookedTransformerConfig(**sizes))
    weights = (convert_llama_weights if llama else convert_gpt2_weights)(model, found.cfg)
    alike = dict.fromkeys(("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False)
    found.load_and_process_state_dict(weights, **alike)
    found.cfg.use_split_qkv_input = found.cfg.use_attn_result = found.cfg.use_hook_mlp_in = True
    found.cfg.ungroup_grouped_query_attention = llama
    for name, weight in found.named_parameters():
        weight.requires_grad_(not frozen or name == "embed.W_E")
    return found


def theirs(attribute: Any, model: Any, pairs: list[Pair], batch: int) -> Way:
    """The peer's scores."""
    rows = [([*p.clean], [*(p.corrupt or ())], [p.answer[0], p.wrong[0]]) for p in pairs]

    def values(logits: Any, _: Any, __: Any, labels: list[list[int]]) -> Any:
        chosen = logits[:, -1].gather(-1, torch.tensor(labels))
        return chosen[:, 0] - chosen[:, 1]

    def way(method: str, count: int) -> Work:
        graph, (name, _, steps) = attribute.Graph.from_model(model), method.partition("-inputs-")
        name, more = (f"{name}-inputs", {"ig_steps": int(steps)}) if steps else (name, {})
        target = values if name == "exact" else lambda *given: values(*given).sum()
        data = [[*zip(*rows[at : min(at + batch, count)], strict=True)] for at in range(0, count, batch)]

        def work() -> Callable[[], Scores]:
            attribute.attribute(model, graph, data, target, name, quiet=True, **more)
            return lambda: {edge: float(graph.edges[edge].score) for edge in graph.edges}

        return work

    return way


def ours(study: Study) -> Way:
    """Our scores."""

    def way(method: str, count: int) -> Work:
        given = replace(study, pairs=study.pairs[:count])

        def work() -> Callable[[], Scores]:
            found = SCORERS[method].score(given, "edge").scores()
            return lambda: dict(zip(study.wiring.graph.names(), found.tolist(), strict=True))

        return work

    return way


def gathered(scores: Scores, graph: Graph) -> Scores:
    """The peer's scores for the edges of a graph: where query heads share, their sum."""
    found = {}
    for name in graph.names():
        source, _, reader = name.partition("->")
        block, shared, which = reader.partition(".kv")
        number, _, letter = which.partition("<")
        heads = range(int(number) * graph.group, (int(number) + 1) * graph.group) if shared else ()
        found[name] = sum(scores[f"{source}->{block}.h{head}<{letter}"] for head in heads) if shared else scores[name]
    return found


def compared(found: Scores, peer: Scores, graph: Graph) -> dict[str, float]:
    """How far the scores are from the peer's, and how large those are."""
    expected = gathered(peer, graph)
    errors = [abs(found[name] - expected[name]) for name in expected]
    return {"max_abs_error": max(errors), "max_abs_score": max(map(abs, expected.values()))}


def timed(ways: dict[str, Work], rounds: int) -> tuple[dict[str, Any], dict[str, Scores]]:
    """CPU and wall seconds (medians), and how many times ours the peer's are; and the scores."""
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    scores: dict[str, Scores] = {}
    for number in range(rounds + 1):
        for way in [*ways][:: 1 - 2 * (number % 2)]:
            start = time.process_time(), time.perf_counter()
            read = ways[way]()
            spent[way].append((time.process_time() - start[0], time.perf_counter() - start[1]))
            scores[way] = read()
    found: dict[str, Any] = {"rounds": rounds}
    for way, all_seconds in spent.items():
        found[way] = {}
        for which, kind in enumerate(("cpu", "wall")):
            mine = [seconds[which] for seconds in all_seconds[1:]]  # the first warms caches
            found[way][f"{kind}_s"] = round(statistics.median(mine), 4)
            for peer in [name for name in ways if name.startswith("peer") and not way.startswith("peer")]:
                ratios = [seconds[which] / own for seconds, own in zip(spent[peer][1:], mine, strict=True)]
                low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
                found[way][f"{peer}_{kind}_ratio"] = {
                    "median": round(middle, 2),
                    "min": round(low, 2),
                    "max": round(high, 2),
                }
    return found, scores


def measured(case: str, methods: list[str], attribute: Any, batch: int, less: int) -> dict[str, Any]:
    """All methods on one model and task."""
    (name, task), (file, count) = case.split(), CASES[case]
    examples = json.loads((FIXTURES / file).read_text(encoding="utf-8"))["examples"][task][:count]
    pairs = [
        Pair(str(i), tuple(e["clean_ids"]), tuple(e["corrupt_ids"]), (e["answer_id"],), (e["wrong_id"],))
        for i, e in enumerate(examples)
    ]
    target = LogitDifference(type="logit_difference")
    found: dict[str, Any] = {"pairs": count, "tokens": len(pairs[0].clean), "batch": batch, "methods": {}}
    with ExitStack() as opened, without_bars():
        models = [AutoModelForCausalLM.from_pretrained(FIXTURES / name, local_files_only=True) for _ in range(4)]
        studies = {}
        for model, grouping in zip(models, ("grouped", "per_query_head"), strict=False):
            wiring = opened.enter_context(wired(LanguageModel(model, None), grouping))
            if grouping == "grouped" or name == "llama-tiny":
                studies[grouping] = Study(wiring, pairs, target, "patching", batch, lambda _: np.random.default_rng(0))
        ways = {"peer": theirs(attribute, hooked(models[2], False), pairs, batch)}
        ways["peer_frozen"] = theirs(attribute, hooked(models[3], True), pairs, batch)
        ways |= {grouping: ours(study) for grouping, study in studies.items()}
        found["edges"] = {way: len(study.wiring.graph.edges) for way, study in studies.items()}
        for method in methods:
            some = min(count, EXACT_PAIRS) if method == "exact" else count
            rounds = max(1, ROUNDS[method] // less)
            # Exact patching has no gradients to leave out.
            asked = {way: make(method, some) for way, make in ways.items() if (method, way) != ("exact", "peer_frozen")}
            result, scores = timed(asked, rounds)
            for way, study in studies.items():
                graph = study.wiring.graph
                if method != "exact" or graph.group == 1:
                    result[way] |= compared(scores[way], scores["peer"], graph)
                print(f"{case:22} {method:17} {way:15} {json.dumps(result[way])}", flush=True)
            found["methods"][method] = {"pairs": some, **result}
    return found


def main() -> None:
    """Measure, print, and with `--write` keep the result beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="a checkout of github.com/hannamw/EAP-IG")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=SCORERS, default=list(SCORERS))
    parser.add_argument("--batch", type=int, default=64, help="pairs (or rows) in one forward pass, of both")
    parser.add_argument("--less", type=int, default=1, help="so many times fewer rounds")
    parser.add_argument("--write", action="store_true", help="write peer.json beside this file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    git = ["git", "-C", str(asked.peer), "rev-parse", "HEAD"]
    commit = subprocess.run(git, check=False, capture_output=True, text=True).stdout.strip()
    with imported(asked.peer) as attribute:
        cases = {c: measured(c, asked.methods, attribute, asked.batch, asked.less) for c in asked.cases}
    if asked.write:
        lens = package_version("transformer-lens")
        peer = {"repository": "github.com/hannamw/EAP-IG", "commit": commit, "transformer-lens": lens}
        result = {"unit": "median seconds, one thread", "peer": peer, "cases": cases, "environment": environment()}
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
