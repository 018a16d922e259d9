"""What every source writes into the stream, for some prompts; stored as heads' findings, not as sums of width.

A head writes its finding (head width numbers) times a fixed matrix. Kept as findings, the sources of a block take twice
the width of the stream for a token, not (heads + 1) times it: about 1 MB a token for a model of 7 billion parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ....errors import DataError
from ..forward import only_at, replaced, tensor_of
from .pairs import Batch, Pair, batches
from .params import Ablation
from .wiring import Layer, Wiring


@dataclass(frozen=True)
class Values:
    """What sources write, or a difference of two such; in float32."""

    embedded: torch.Tensor
    """Of `input`, shape (rows, positions, width)."""
    heads: tuple[torch.Tensor, ...]
    """Findings of each block's heads, shape (rows, positions, heads, head width); divided by the σ of a
    normalisation that comes after attention."""
    mlps: tuple[torch.Tensor, ...]
    """Of each block's MLP, shape (rows, positions, width)."""

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Values:
        """The same with `function` done to each tensor."""
        return Values(function(self.embedded), tuple(map(function, self.heads)), tuple(map(function, self.mlps)))

    def minus(self, other: Values) -> Values:
        """The difference."""
        return Values(
            self.embedded - other.embedded,
            tuple(a - b for a, b in zip(self.heads, other.heads, strict=True)),
            tuple(a - b for a, b in zip(self.mlps, other.mlps, strict=True)),
        )


@dataclass(frozen=True)
class Streams:
    """What destinations read, before normalisation; each of shape (rows, positions, width), in the model's dtype."""

    attention: tuple[torch.Tensor, ...]
    """Of each block; also what the block is given."""
    mlp: tuple[torch.Tensor, ...]
    final: torch.Tensor


@dataclass(frozen=True)
class Recorded:
    """One forward pass."""

    values: Values
    streams: Streams
    logits: torch.Tensor
    """At the last position, shape (rows, vocabulary), float32."""


def head_findings(layer: Layer, found: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The input of the output projection as `Values.heads`; `out`: its output. Differentiable."""
    heads = found.float().unflatten(-1, (layer.projections["q"].count, -1))
    if layer.attention_after is None:
        return heads
    _, sigma = layer.attention_after.split(out)
    return heads / sigma[..., None]


def written(wiring: Wiring, values: Values, count: int | None = None) -> torch.Tensor:
    """What the first `count` sources (all) write, shape (rows, positions, sources, width), float32."""
    graph = wiring.graph
    count = len(graph.sources) if count is None else count
    found = [values.embedded[:, :, None]]
    for number, layer in enumerate(wiring.layers):
        if graph.before_attention(number) >= count:
            break
        found.append(torch.einsum("bphe,hed->bphd", values.heads[number], layer.heads))
        found.append(values.mlps[number][:, :, None])
    return torch.cat(found, 2)[:, :, :count]


@torch.no_grad()
def record(wiring: Wiring, tokens: torch.Tensor) -> Recorded:
    """Run the model on tokens of shape (rows, positions), none of them padding."""
    embedded: list[torch.Tensor] = []
    heads: list[torch.Tensor] = []
    mlps: list[torch.Tensor] = []
    streams: dict[str, torch.Tensor] = {}

    def input_of(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...]) -> None:
            streams[name] = args[0]

        return hook

    def heads_of(layer: Layer) -> Any:
        def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
            heads.append(head_findings(layer, args[0], output))

        return hook

    def kept(store: list[torch.Tensor]) -> Any:
        return lambda _, __, output: store.append(tensor_of(output).float())

    norms = [n for layer in wiring.layers for n in (layer.attention_norm, layer.mlp_norm)] + [wiring.final_norm]
    with ExitStack() as hooks:

        def hook(handle: Any) -> None:
            hooks.callback(handle.remove)

        hook(wiring.embedding[1].register_forward_hook(kept(embedded)))
        for norm in {n.name: n for n in norms}.values():
            hook(norm.module.register_forward_pre_hook(input_of(norm.name)))
        for layer in wiring.layers:
            hook(layer.out.module.register_forward_hook(heads_of(layer)))
            last = layer.mlp_after.module if layer.mlp_after else layer.mlp[1]
            hook(last.register_forward_hook(kept(mlps)))
        logits = last_logits(wiring, tokens)
    shape = (*tokens.shape, wiring.width)
    return Recorded(
        Values(embedded[0], tuple(heads), tuple(mlp.reshape(shape) for mlp in mlps)),
        Streams(
            tuple(streams[layer.attention_norm.name] for layer in wiring.layers),
            tuple(streams[layer.mlp_norm.name] for layer in wiring.layers),
            streams[wiring.final_norm.name],
        ),
        logits,
    )


def last_logits(wiring: Wiring, tokens: torch.Tensor) -> torch.Tensor:
    """Logits at the last position, shape (rows, vocabulary), float32, computed nowhere else; no token is padding."""
    rows, length = tokens.shape
    with wiring.lm.asking([length - 1] * rows, [0] * rows), only_at(wiring.lm, [[length - 1]] * rows):
        # No mask: it would only say that no token is padding, and keep attention from its fastest path.
        logits: torch.Tensor = wiring.lm.model(input_ids=tokens, use_cache=False).logits
    return logits[0].float()


def replacing_embedding(wiring: Wiring, value: torch.Tensor) -> Any:
    """Register that the embedding puts out `value`, of shape (rows, positions, width); returns the hook's handle."""
    module = wiring.embedding[1]
    return module.register_forward_hook(lambda _, __, output: replaced(output, value.to(output)))


Reference = Callable[[Batch], Values]
"""What stands in for the sources of a batch when they are taken away."""


def reference_for(wiring: Wiring, pairs: Sequence[Pair], ablation: Ablation, size: int) -> Reference:
    """What `ablation` says; means are over all `pairs`, whatever the batch. Raises DataError.

    `size`: pairs in one forward pass, while a mean is computed.
    """
    if ablation == "patching":
        if bare := next((pair.id for pair in pairs if not pair.corrupt), None):
            raise DataError(f"pair {bare!r} has no corrupt prompt, which ablation `patching` needs")
        return lambda batch: record(wiring, batch.corrupt).values
    if ablation == "zero":
        return lambda batch: _like(batch, _zero(wiring))
    if ablation == "mean":
        return lambda batch, found=_mean(wiring, pairs, size): _like(batch, found)  # type: ignore[misc]
    lengths = {len(pair.clean) for pair in pairs}
    means = {n: _positional(wiring, [p for p in pairs if len(p.clean) == n], size) for n in lengths}
    return lambda batch: means[batch.clean.shape[1]].map(lambda t: t.expand(len(batch), *t.shape[1:]))


def _zero(wiring: Wiring) -> Values:
    device, graph = wiring.lm.device, wiring.graph
    wide = torch.zeros(1, 1, wiring.width, device=device)
    heads = torch.zeros(1, 1, *wiring.layers[0].heads.shape[:2], device=device)
    return Values(wide, (heads,) * graph.layers, (wide,) * graph.layers)


def _like(batch: Batch, values: Values) -> Values:
    """The same at every row and position of a batch."""
    return values.map(lambda t: t.expand(*batch.clean.shape, *t.shape[2:]))


def _mean(wiring: Wiring, pairs: Sequence[Pair], size: int) -> Values:
    total, count = _zero(wiring), 0
    for batch in batches(pairs, size, wiring.lm.device):
        found = record(wiring, batch.clean).values.map(lambda t: t.sum((0, 1), keepdim=True))
        total = total.minus(found.map(torch.neg))
        count += batch.clean.numel()
    return total.map(lambda t: t / count)


def _positional(wiring: Wiring, pairs: Sequence[Pair], size: int) -> Values:
    found = [record(wiring, b.clean).values for b in batches(pairs, size, wiring.lm.device)]
    total = found[0].map(lambda t: t.sum(0, keepdim=True))
    for more in found[1:]:
        total = total.minus(more.map(lambda t: -t.sum(0, keepdim=True)))
    return total.map(lambda t: t / len(pairs))
