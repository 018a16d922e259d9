"""Where the nodes of `nodes.py` are among a model's own modules.

Names differ from family to family, and so does what is normalised where. So one forward pass over a few tokens is
watched: which normalisation feeds attention and MLP, what is normalised after them (Gemma 2), whether both read the
same stream (GPT-NeoX). Then it is checked that the stream is the sum of what the sources write: a model for which it is
not would give numbers that look right.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ....errors import ModelError
from .. import architecture as parts
from ..forward import padded, tensor_of
from ..model import LanguageModel
from .nodes import LETTERS, Graph
from .wiring import Layer, Norm, Projection, Wiring

_PROBE = ((1, 2, 3, 4, 5), (3, 1, 4, 2, 2))
"""Tokens of the pass that is watched: two rows, so that what does not depend on tokens is told from what does."""


def wiring_of(lm: LanguageModel) -> Wiring:
    """Find the nodes of a model. Raises ModelError for one that does not have them, or whose stream is no sum."""
    model = lm.model
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    blocks = parts.blocks(model)[1]
    seen = _watched(lm)
    layers = tuple(_layer(lm, number, heads, kv_heads, seen) for number in range(len(blocks)))
    embedding = parts.embeddings(model)
    stream, embedded = seen.given[_block(lm, 0)].float(), seen.made[embedding[0]].float()
    rest = stream - embedded
    rounding = torch.finfo(seen.made[embedding[0]].dtype).eps
    # What is not the embedding is the position's, whatever the tokens.
    if (rest[0] - rest[1]).norm() > 8 * rounding * (stream.norm() + embedded.norm()):
        raise ModelError(f"{type(model).__name__}: what enters the first block is not embedding plus position")
    parallel = _check_sums(lm, layers, seen)
    graph = Graph(len(layers), heads, kv_heads, parallel)
    return Wiring(lm, graph, embedding, layers, _norm(*parts.final_norm(model)))


@dataclass(frozen=True)
class _Seen:
    """One forward pass over the probe."""

    given: dict[str, torch.Tensor]
    """First input of a module, by name."""
    made: dict[str, torch.Tensor]
    """Its output."""


def _block(lm: LanguageModel, number: int) -> str:
    return parts.block(lm.model, number)[0]


@torch.no_grad()
def _watched(lm: LanguageModel, disturbed: bool = False) -> _Seen:
    """Inputs and outputs of everything that could be a part; `disturbed`: with all that attention puts out far off."""
    model = lm.model
    attentions = [parts.linear(model, n, "attention_out").name for n in range(len(parts.blocks(model)[1]))]
    names = [parts.embeddings(model)[0], parts.final_norm(model)[0]]
    for number in range(len(parts.blocks(model)[1])):
        names += [_block(lm, number), parts.part(model, number, "mlp")[0], attentions[number]]
        names += [p.name for p in parts.attention_inputs(model, number)]
        names += [name for name, _ in parts.norms(model, number)]
    given: dict[str, torch.Tensor] = {}
    made: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            # Cloned: some models add to the stream in place.
            given[name] = (args[0] if args else next(iter(kwargs.values()))).clone()
            made[name] = tensor_of(output).clone()

        return hook

    vocabulary = model.get_input_embeddings().weight.shape[0]
    rows = [tuple(t % vocabulary for t in row) for row in _PROBE]
    with ExitStack() as hooks, lm.asking([len(row) - 1 for row in rows], [0] * len(rows)):
        for name in attentions if disturbed else ():
            handle = model.get_submodule(name).register_forward_hook(lambda _, __, output: _far_off(output))
            hooks.callback(handle.remove)
        for name in dict.fromkeys(names):
            handle = model.get_submodule(name).register_forward_hook(keep(name), with_kwargs=True)
            hooks.callback(handle.remove)
        model(**padded(rows, lm.device), use_cache=False)
    return _Seen(given, made)


def _far_off(output: torch.Tensor) -> torch.Tensor:
    """Something else, in every other channel, so that no normalisation takes it away."""
    return output + (torch.arange(output.shape[-1], device=output.device) % 2 + 1).to(output)


def _layer(lm: LanguageModel, number: int, heads: int, kv_heads: int, seen: _Seen) -> Layer:
    model = lm.model
    inputs = parts.attention_inputs(model, number)
    out = parts.linear(model, number, "attention_out")
    mlp = parts.part(model, number, "mlp")
    norms = parts.norms(model, number)

    def feeding(module: str, what: str, candidates: list[tuple[str, Any]]) -> Norm:
        for name, norm in candidates:
            if torch.equal(seen.made[name], seen.given[module]):
                return _norm(name, norm)
        raise ModelError(f"{type(model).__name__}: in block {number} no normalisation feeds {what}")

    def after(module: str) -> Norm | None:
        for name, norm in norms:
            if torch.equal(seen.given[name], seen.made[module]):
                found = _norm(name, norm)
                if found.bias is not None or found.centred or out.module.bias is not None:
                    raise ModelError(f"{type(model).__name__}: {name} is no plain RMSNorm; heads cannot be told apart")
                return found
        return None

    # An untrained GPT-NeoX has two equal norms; that of the MLP is the later one.
    return Layer(
        attention_norm=feeding(inputs[0].name, "attention", norms),
        mlp_norm=feeding(mlp[0], "the MLP", norms[::-1]),
        projections=_projections(inputs, heads, kv_heads, out),
        out=out,
        mlp=mlp,
        attention_after=after(out.name),
        mlp_after=after(mlp[0]),
    )


def _norm(name: str, module: Any) -> Norm:
    """Raises ModelError for what is neither LayerNorm nor RMSNorm."""
    centred = isinstance(module, torch.nn.LayerNorm)
    eps = next((float(getattr(module, n)) for n in ("eps", "variance_epsilon") if hasattr(module, n)), None)
    weight = getattr(module, "weight", None)
    if eps is None or weight is None:
        raise ModelError(f"{name} ({type(module).__name__}) is neither a LayerNorm nor an RMSNorm")
    bias = getattr(module, "bias", None)
    gain = weight.detach().float()
    probe = torch.linspace(-1, 2, len(gain), device=gain.device).to(weight.dtype)
    with torch.no_grad():
        # Gemma stores the gain less one.
        for found in (gain, gain + 1):
            norm = Norm(name, module, centred, eps, found, None if bias is None else bias.detach().float())
            expected = norm.split(probe)[0] * found + (0 if norm.bias is None else norm.bias)
            if torch.allclose(module(probe).float(), expected, atol=1e-2, rtol=1e-2):
                return norm
    raise ModelError(f"{name} ({type(module).__name__}) computes neither a LayerNorm nor an RMSNorm")


def _projections(inputs: list[parts.Linear], heads: int, kv_heads: int, out: parts.Linear) -> dict[str, Projection]:
    """Where queries, keys and values are in the outputs of one projection or of three. Raises ModelError."""
    width = out.stored(out.module.weight).shape[1] // heads
    counts = dict(zip(LETTERS, (heads, kv_heads, kv_heads), strict=True))
    device = out.module.weight.device
    found = {}
    for number, (letter, count) in enumerate(counts.items()):
        linear = inputs[0] if len(inputs) == 1 else inputs[number]
        made = linear.stored(linear.module.weight).shape[0]
        channels = torch.arange(count * width, device=device)
        if len(inputs) == 1:
            if made != sum(counts.values()) * width:
                raise ModelError(f"{linear.name}: {made} outputs are not queries, keys and values of {heads} heads")
            if linear.name.endswith("query_key_value"):
                # GPT-NeoX has the three beside each other for each head.
                first = torch.arange(heads, device=device)[:, None] * 3 * width + number * width
                channels = (first + torch.arange(width, device=device)).flatten()
            else:
                channels = channels + sum(list(counts.values())[:number]) * width
        elif made != count * width:
            raise ModelError(f"{linear.name}: {made} outputs are not {count} heads of {width}")
        found[letter] = Projection(linear.name, linear.module, count, channels, linear.transposed)
    return found


def _check_sums(lm: LanguageModel, layers: tuple[Layer, ...], seen: _Seen) -> bool:
    """Whether attention and MLP read the same stream. Raises ModelError where the stream is not the sum."""
    model, blocks = lm.model, [_block(lm, number) for number in range(len(layers))]
    # What a sum of so small parts is in a half-precision stream cannot be told from another one; this can.
    other = _watched(lm, disturbed=True).given
    parallel = {torch.equal(other[layer.mlp_norm.name], other[b]) for layer, b in zip(layers, blocks, strict=True)}
    if len(parallel) != 1:
        raise ModelError(f"{type(model).__name__}: blocks are wired in unlike ways")
    (apart,) = parallel
    rounding = torch.finfo(seen.given[blocks[0]].dtype).eps

    def is_sum(found: torch.Tensor, *summands: torch.Tensor) -> bool:
        summed = sum(summand.float() for summand in summands)
        size = sum(summand.float().norm() for summand in summands)
        written = sum(summand.float().norm() for summand in summands[1:])
        return bool((found.float() - summed).norm() <= 1e-3 * written + 4 * rounding * size)

    for number, (layer, block) in enumerate(zip(layers, blocks, strict=True)):
        stream = seen.given[block]
        attention = seen.made[layer.attention_after.name if layer.attention_after else layer.out.name]
        mlp = seen.made[layer.mlp_after.name if layer.mlp_after else layer.mlp[0]]
        above = seen.given[blocks[number + 1] if number + 1 < len(layers) else parts.final_norm(model)[0]]
        if not (
            torch.equal(seen.given[layer.attention_norm.name], stream)
            and is_sum(seen.given[layer.mlp_norm.name], stream, *([] if apart else [attention]))
            and is_sum(above, stream, attention, mlp.reshape(stream.shape))
        ):
            raise ModelError(
                f"{type(model).__name__}: block {number} does not add attention and MLP to its input; "
                "its residual stream is not the sum that a circuit is cut from"
            )
    return apart
