"""One forward and one backward pass: how a number changes with what every destination reads.

The model runs as it is. Gradients are taken where each destination has an input of its own: at the outputs of the
projections to queries, keys and values, before the MLP, behind the last normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ....errors import UsageError
from ..forward import replaced, tensor_of
from .nodes import LETTERS
from .values import Values, head_findings, last_logits
from .wiring import Layer, Norm, Projection, Wiring


@dataclass(frozen=True)
class Reader:
    """Destinations that read the same stream through the same normalisation: a block's queries, say."""

    destinations: slice
    sources: int
    """How many sources, the first ones, they can read."""
    norm: Norm
    at: tuple[str, Any]
    """The module where they have an input of their own: a projection, an MLP, the last normalisation."""
    projection: Projection | None
    """None where what the normalisation puts out is read as it is."""

    @property
    def last(self) -> bool:
        """Whether only the last position counts, and is kept: that of the logits."""
        return self.at[0] == self.norm.name

    def heads(self, output: torch.Tensor) -> torch.Tensor:
        """The part that is theirs of what was watched, shape (…, destinations, head width), in float32."""
        if self.projection is None:
            return output.unsqueeze(-2).float()
        if self._beside is None:
            return self.projection.read(output).float()
        return output[..., self._beside].unflatten(-1, (self.projection.count, -1)).float()

    def unbiased(self, output: torch.Tensor) -> torch.Tensor:
        """The same without what they are given where the normalisation puts out nothing but its bias."""
        found = self.heads(output)
        return found if self._constant is None else found - self._constant

    @cached_property
    def _beside(self) -> slice | None:
        """Where the projection's channels are, if they are beside each other: a slice copies nothing."""
        assert self.projection is not None
        first, count = int(self.projection.channels[0]), len(self.projection.channels)
        beside = torch.arange(first, first + count, device=self.projection.channels.device)
        return slice(first, first + count) if torch.equal(self.projection.channels, beside) else None

    @cached_property
    def _constant(self) -> torch.Tensor | None:
        """Shape (destinations, head width) or (width,)."""
        if self.projection is None:
            return self.norm.bias
        if self.norm.bias is None and self.projection.module.bias is None:
            return None
        bias = 0 if self.norm.bias is None else self.norm.bias
        return self.projection.bias.float() + (self.projection.weight.float() * bias).sum(-1)

    def pushed_back(self, gradients: torch.Tensor) -> torch.Tensor:
        """Gradients of shape (rows, positions, destinations, head width) before projection, gain and centring of the
        normalisation, though not before its division; shape (destinations, rows, positions, width)."""
        if self.projection is None:
            return self.norm.centre(gradients * self.norm.gain).movedim(-2, 0)
        weight = self.norm.centre(self.projection.weight.float() * self.norm.gain)
        flat = gradients.flatten(0, 1).transpose(0, 1)
        return (flat @ weight).unflatten(1, gradients.shape[:2])


def readers(wiring: Wiring) -> Iterator[Reader]:
    """In the order of the graph's destinations."""
    graph = wiring.graph
    for number, layer in enumerate(wiring.layers):
        for letter in LETTERS:
            projection = layer.projections[letter]
            at = (projection.name, projection.module)
            places, sources = graph.readers(number, letter), graph.before_attention(number)
            yield Reader(places, sources, layer.attention_norm, at, projection)
        yield Reader(graph.readers(number, "m"), graph.before_mlp(number), layer.mlp_norm, layer.mlp, None)
    last = wiring.final_norm
    places = slice(graph.logits, graph.logits + 1)
    yield Reader(places, len(graph.sources), last, (last.name, last.module), None)


@dataclass(frozen=True)
class Stage:
    """Sources that write at once: the embedding, the heads of a block, its MLP."""

    sources: slice
    module: Any
    """It puts out what they write, all together and with a bias."""
    layer: Layer | None
    """None of the embedding."""
    of: Callable[[Values], torch.Tensor]
    """Their part of values, shape (rows, positions, width), of heads (rows, positions, heads, head width)."""

    def each(self, values: Values) -> torch.Tensor:
        """What each of them writes, shape (sources, rows, positions, width)."""
        found = self.of(values)
        if found.dim() == 3:
            return found[None]
        assert self.layer is not None
        flat = found.flatten(0, 1).transpose(0, 1)
        return (flat @ self.layer.heads).unflatten(1, found.shape[:2])

    def together(self, values: Values) -> torch.Tensor:
        """Their sum, shape (rows, positions, width)."""
        found = self.of(values)
        if found.dim() == 3:
            return found
        assert self.layer is not None
        return found.flatten(-2) @ self.layer.heads.flatten(0, 1)


def stages(wiring: Wiring) -> Iterator[Stage]:
    """In the order of the graph's sources."""
    graph = wiring.graph
    yield Stage(slice(0, 1), wiring.embedding[1], None, lambda values: values.embedded)
    for number, layer in enumerate(wiring.layers):
        out = layer.attention_after.module if layer.attention_after else layer.out.module
        mlp = layer.mlp_after.module if layer.mlp_after else layer.mlp[1]
        place = graph.mlp_source(number)
        yield Stage(graph.head_sources(number), out, layer, lambda values, n=number: values.heads[n])  # type: ignore[misc]
        yield Stage(slice(place, place + 1), mlp, layer, lambda values, n=number: values.mlps[n])  # type: ignore[misc]


@dataclass(frozen=True)
class Run:
    """What was watched; tensors by the name of a module, in the model's dtype, none with a history."""

    outputs: Mapping[str, torch.Tensor]
    """Where readers have an input of their own (`Reader.at`), shape (rows, positions, width there); behind the last
    normalisation at the last position alone."""
    gradients: Mapping[str, torch.Tensor]
    """The same shapes."""
    streams: Mapping[str, torch.Tensor]
    """What normalisations were given, shape (rows, positions, width); of the last, as above, the last position."""
    logits: torch.Tensor
    """At the last position, shape (rows, vocabulary), float32."""
    values: Values | None
    """What the sources wrote, where it was asked for."""


def run(
    wiring: Wiring,
    tokens: torch.Tensor,
    measure: Callable[[torch.Tensor], torch.Tensor],
    watched: list[Reader],
    stage: Stage,
    added: torch.Tensor,
    *,
    values: bool = False,
) -> Run:
    """Run tokens of shape (rows, positions), none of them padding, with `added` on what a stage puts out, and back.

    `measure`: from logits of shape (rows, vocabulary) to a number for each row; `watched`: readers behind the stage;
    `values`: whether to keep what the sources write. Raises UsageError where the number does not depend on logits.
    """
    seen: dict[str, torch.Tensor] = {}
    streams: dict[str, torch.Tensor] = {}
    last = wiring.final_norm.name
    embedded: list[torch.Tensor] = []
    heads: list[torch.Tensor] = []
    mlps: list[torch.Tensor] = []

    def moved(_: Any, __: Any, output: Any) -> Any:
        hidden = tensor_of(output)
        # A leaf: nothing below the stage is differentiated. Times one, since a leaf must not be written in place.
        leaf = (hidden.float() + added).to(hidden.dtype).detach().requires_grad_()
        return replaced(output, leaf * 1)

    def before(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...]) -> None:
            streams[name] = args[0].detach()[:, -1:].clone() if name == last else args[0].detach()

        return hook

    def behind(name: str) -> Any:
        def hook(_: Any, __: Any, output: torch.Tensor) -> None:
            seen[name] = output

        return hook

    def apart(name: str) -> Any:
        # A node of its own: attention may read the same normalisation (GPT-J, Phi).
        def hook(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            seen[name] = args[0].view_as(args[0])
            return (seen[name], *args[1:])

        return hook

    def kept(store: list[torch.Tensor]) -> Any:
        return lambda _, __, output: store.append(tensor_of(output).detach().float())

    def heads_of(layer: Layer) -> Any:
        def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
            heads.append(head_findings(layer, args[0].detach(), output.detach()))

        return hook

    with ExitStack() as hooks, torch.enable_grad():

        def hook(handle: Any) -> None:
            hooks.callback(handle.remove)

        hook(stage.module.register_forward_hook(moved))
        for norm in {reader.norm.name: reader.norm for reader in watched}.values():
            hook(norm.module.register_forward_pre_hook(before(norm.name)))
        for (name, module), mlp in {r.at: r.projection is None and not r.last for r in watched}.items():
            hook(module.register_forward_pre_hook(apart(name)) if mlp else module.register_forward_hook(behind(name)))
        if values:
            hook(wiring.embedding[1].register_forward_hook(kept(embedded)))
            for layer in wiring.layers:
                hook(layer.out.module.register_forward_hook(heads_of(layer)))
                hook((layer.mlp_after.module if layer.mlp_after else layer.mlp[1]).register_forward_hook(kept(mlps)))
        logits = last_logits(wiring, tokens)
        total = measure(logits).sum()
        if not total.requires_grad:
            raise UsageError("the target does not depend on the logits, so that it has no gradient; choose another one")
        gradients = torch.autograd.grad(total, list(seen.values()))
    shape = (*tokens.shape, wiring.width)
    return Run(
        {name: output.detach()[:, -1:] if name == last else output.detach() for name, output in seen.items()},
        {n: g[:, -1:] if n == last else g for n, g in zip(seen, gradients, strict=True)},
        streams,
        logits.detach(),
        Values(embedded[0], tuple(heads), tuple(mlp.reshape(shape) for mlp in mlps)) if values else None,
    )
