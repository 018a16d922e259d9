"""Directions read off hidden states, and what moves along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from .....errors import ModelError, Skip
from ...architecture import block, blocks, linear, part
from ...forward import Tokens, recorded
from ...inserts import Insert
from ...model import LanguageModel
from ...pairs import usable
from ...patch import LowRank, Patch
from ...requests import EditRequest
from ...scoring import batches, encode, encode_prompt
from ...steering import Ablated, Added

if TYPE_CHECKING:
    from .....job import Job
    from .params import ActAdd, FromPairs, ProjectOut, Steer


def drawn(spec: FromPairs, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[EditRequest]:
    """The pairs that are read: the same for all methods that ask for as many. Raises Skip when there are none."""
    pairs = usable(lm, requests)
    order = job.rng("steering-pairs").permutation(len(pairs))[: spec.pairs]
    return [pairs[i] for i in sorted(order.tolist())]


def steered(spec: Steer, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `Steer`."""
    found = _directions(spec, lm, drawn(spec, lm, requests, job), job)
    if spec.operation == "add":
        return Patch(
            inserts={block(lm.model, n)[0]: Added(v[None], spec.strength, spec.where) for n, v in found.items()}
        )
    (direction,) = found.values()
    unit = direction / direction.norm()
    return Patch(inserts=dict.fromkeys(_writers(lm, len(unit)), Ablated(unit, spec.strength)))


def _directions(spec: Steer, lm: LanguageModel, pairs: Sequence[EditRequest], job: Job) -> dict[int, torch.Tensor]:
    """By layer, float32, shape (width,)."""
    size = spec.forward_batch
    if spec.direction == "prompt_means":
        harmful = [encode_prompt(lm, r.prompt) for r in pairs]
        harmless = [encode_prompt(lm, prompt) for r in pairs for prompt, _ in r.keep]
        if not harmless:
            raise Skip("the training split has no harmless prompts to compare with")
        last = [
            hidden_means(lm, rows, [range(len(row) - 1, len(row)) for row in rows], spec.layers, size)
            for rows in (harmful, harmless)
        ]
        return {layer: last[0][layer].mean(0) - last[1][layer].mean(0) for layer in spec.layers}
    safe, unsafe = ([encode(lm, r.prompt, a) for r in pairs for a in (answer(r),)] for answer in (_safe, _unsafe))
    spans = [
        [range(row.start if spec.direction == "response_mean" else len(row.ids) - 1, len(row.ids)) for row in rows]
        for rows in (safe, unsafe)
    ]
    of_safe, of_unsafe = (
        hidden_means(lm, [row.ids for row in rows], span, spec.layers, size)
        for rows, span in zip((safe, unsafe), spans, strict=True)
    )
    if spec.direction == "response_mean":
        return {layer: (of_safe[layer] - of_unsafe[layer]).mean(0) for layer in spec.layers}
    signs = torch.tensor(job.rng("pair-order").integers(0, 2, len(pairs)) * 2 - 1, dtype=torch.float32)
    return {layer: _principal(of_safe[layer], of_unsafe[layer], signs.to(lm.device)) for layer in spec.layers}


def _safe(request: EditRequest) -> str:
    return request.target_new


def _unsafe(request: EditRequest) -> str:
    return request.target_true or ""


def _principal(safe: torch.Tensor, unsafe: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """First principal component of the differences of pairs, each with a sign, pointing from unsafe to safe."""
    differences = signs[:, None] * (safe - unsafe)
    direction = torch.linalg.svd(differences - differences.mean(0), full_matrices=False).Vh[0]
    ahead = ((safe - unsafe) @ direction > 0).float().mean()
    return direction if ahead >= 0.5 else -direction


def hidden_means(
    lm: LanguageModel, rows: Sequence[Tokens], spans: Sequence[range], layers: Sequence[int], batch_size: int
) -> dict[int, torch.Tensor]:
    """Mean output of blocks over a span of tokens of each row, by layer; float32, shape (rows, width)."""
    return hidden_means_of(lm, rows, spans, {layer: block(lm.model, layer)[0] for layer in layers}, batch_size)


def hidden_means_of(
    lm: LanguageModel, rows: Sequence[Tokens], spans: Sequence[range], names: Mapping[int, str], batch_size: int
) -> dict[int, torch.Tensor]:
    """The same of any modules, by the numbers that they are given."""
    found = {number: [torch.empty(0)] * len(rows) for number in names}
    for chosen in batches(rows, batch_size):
        seen = recorded(lm, [rows[i] for i in chosen], list(names.values()))
        for layer, name in names.items():
            for place, i in enumerate(chosen):
                span = spans[i]
                found[layer][i] = seen[name][1][place, span.start : span.stop].float().mean(0)
    return {layer: torch.stack(means) for layer, means in found.items()}


def _writers(lm: LanguageModel, width: int) -> list[str]:
    """Everything that writes into the residual stream: embeddings of tokens and of positions, attention and MLPs; and
    the blocks, so that what a family adds in another way is caught behind it."""
    inside, modules = blocks(lm.model)
    embedded = [
        name
        for name, module in lm.model.named_modules()
        if isinstance(module, torch.nn.Embedding)
        and module.embedding_dim == width
        and not name.startswith(f"{inside}.")
    ]
    parts = [name for layer in range(len(modules)) for name in (part(lm.model, layer, "attention")[0], _mlp(lm, layer))]
    return [*embedded, *parts, *(block(lm.model, layer)[0] for layer in range(len(modules)))]


def _mlp(lm: LanguageModel, layer: int) -> str:
    """Name of the module that puts out what a block's MLP writes: OPT has no module for the whole of it."""
    try:
        return part(lm.model, layer, "mlp")[0]
    except ModelError:
        return part(lm.model, layer, "mlp_down")[0]


def act_added(spec: ActAdd, lm: LanguageModel) -> Patch:
    """See `ActAdd`."""
    toward, away = (list(encode_prompt(lm, text)) for text in (spec.toward, spec.away))
    pad = next((i for i in (lm.tokenizer.pad_token_id, lm.tokenizer.eos_token_id) if i is not None), 0)
    longest = max(len(toward), len(away))
    rows = [ids + [pad] * (longest - len(ids)) for ids in (toward, away)]
    name = block(lm.model, spec.layer)[0]
    hidden = recorded(lm, rows, [name])[name][1].float()
    vectors: dict[str, Insert] = {name: Added(hidden[0] - hidden[1], spec.strength, "front")}
    return Patch(inserts=vectors)


def projected_out(spec: ProjectOut, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `ProjectOut`."""
    pairs = drawn(spec, lm, requests, job)
    means = []
    for answer in (_safe, _unsafe):
        rows = [encode_prompt(lm, answer(r)) for r in pairs]
        means.append(hidden_means(lm, rows, [range(len(row)) for row in rows], spec.layers, spec.forward_batch))
    deltas = {}
    for layer in spec.layers:
        projection = linear(lm.model, layer, "mlp_down")
        space = toxic_subspace(means[0][layer], means[1][layer], spec.rank)
        weight = projection.stored(projection.module.weight).float()
        left, right = -space.T, space @ weight
        deltas[projection.weight_name] = (
            LowRank(right.T.contiguous(), left.T.contiguous()) if projection.transposed else LowRank(left, right)
        )
    return Patch(deltas)


def toxic_subspace(safe: torch.Tensor, unsafe: torch.Tensor, rank: int) -> torch.Tensor:
    """Orthonormal rows that span what tells unsafe from safe; both of shape (pairs, width), result (rank, width)."""
    shared = torch.linalg.svd(safe, full_matrices=False).Vh[0]
    differences = safe - unsafe
    differences = differences - (differences @ shared)[:, None] * shared
    return torch.linalg.svd(differences, full_matrices=False).Vh[:rank]
