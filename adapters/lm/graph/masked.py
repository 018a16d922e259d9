"""A model of whose edges some carry what stands in for their source, on its own modules, by hooks.

What a destination reads is x + Σ_s removed[s, d] · (reference_s − current_s), where x is the stream and current_s what
the source writes in this very run (Hanna et al. 2024, arXiv 2403.17806). With all edges removed under patching, that is
the run on the corrupt prompt. Rows of a batch have masks of their own.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch

from ....errors import ModelError
from ..forward import tensor_of
from .nodes import Mask
from .restarted import Runs, ends_alone, plus, restarted
from .values import head_findings
from .wiring import Layer, Norm, Projection


def removed_by(runs: Runs, masks: Mask) -> torch.Tensor:
    """1 for every edge that is in the graph and not in a mask; masks of shape (…, sources, destinations), float32."""
    return torch.from_numpy(runs.wiring.graph.allowed & ~masks).to(runs.wiring.lm.device, torch.float32)


def masked_logits(
    runs: Runs, rows: torch.Tensor, removed: torch.Tensor, start: int = 0, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits at the last position, shape (rows, vocabulary). Differentiable in `removed`.

    `rows`: which pair each row is; `removed`: how much of each edge is taken away, in [0, 1], of shape (rows, sources,
    destinations); `start`: a block below which nothing is taken away, so that it need not be computed; `known`:
    `runs.differences` of the sources below it, where they have been computed before. Memory: twice (rows, sources,
    positions, width) in float32.
    """
    graph = runs.wiring.graph
    if known is None:
        known = runs.differences(graph.before_attention(start))
    streams = runs.clean.streams
    stream = streams.final if start == graph.layers else streams.attention[start]
    with ExitStack() as hooks:
        _Masked(runs, rows, removed, known[rows]).hook(hooks, start)
        return restarted(runs, rows, start, stream[rows])


class _Masked:
    """One run: what has been written so far, and what destinations read of it."""

    def __init__(self, runs: Runs, rows: torch.Tensor, removed: torch.Tensor, known: torch.Tensor) -> None:
        self.runs = runs
        self.rows = rows
        self.removed = removed
        # What has a gradient is computed also where nothing is taken just now.
        taken = (removed != 0).any(0).any(0) | removed.requires_grad
        self.active: list[bool] = taken.tolist()
        """Of each destination: whether anything is taken from it in any row."""
        self.differences = known
        """Reference less current value of the sources so far, shape (rows, sources, positions, width)."""
        self.streams: dict[str, torch.Tensor] = {}

    def hook(self, hooks: ExitStack, start: int) -> None:
        wiring = self.runs.wiring
        norms = [n for layer in wiring.layers[start:] for n in (layer.attention_norm, layer.mlp_norm)]
        handles = [n.module.register_forward_pre_hook(self._seen(n)) for n in {n.name: n for n in norms}.values()]
        for number in range(start, wiring.graph.layers):
            layer = wiring.layers[number]
            for module in {p.name: p.module for p in layer.projections.values()}.items():
                handles.append(module[1].register_forward_hook(self._attention(number, layer, module[0])))
            handles.append(layer.out.module.register_forward_hook(self._heads(number, layer)))
            handles.append(layer.mlp[1].register_forward_pre_hook(self._mlp(number, layer)))
            last = layer.mlp_after.module if layer.mlp_after else layer.mlp[1]
            handles.append(last.register_forward_hook(self._written_by_mlp(number)))
        handles.append(wiring.final_norm.module.register_forward_pre_hook(self._logits))
        for handle in handles:
            hooks.callback(handle.remove)

    def change(self, places: list[int], count: int, found: torch.Tensor) -> torch.Tensor:
        """What these destinations read beside the stream, shape (rows, places, positions, width); `count`: how many
        sources they see."""
        share = self.removed[:, :count, places].transpose(1, 2)
        return torch.bmm(share, found[:, :count].flatten(2)).unflatten(2, found.shape[2:])

    def _seen(self, norm: Norm) -> Any:
        def hook(_: Any, args: tuple[Any, ...]) -> None:
            # The norm is called again for what destinations read; what the model gave it comes first.
            self.streams.setdefault(norm.name, args[0])

        return hook

    def _attention(self, number: int, layer: Layer, module: str) -> Any:
        graph = self.runs.wiring.graph
        projections = [(letter, p) for letter, p in layer.projections.items() if p.name == module]

        def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            for letter, projection in projections:
                first = graph.readers(number, letter).start
                heads = [i for i in range(graph.count(letter)) if self.active[first + i]]
                if heads:
                    change = self.change([first + i for i in heads], graph.before_attention(number), self.differences)
                    read = layer.attention_norm(plus(self.streams[layer.attention_norm.name][:, None], change))
                    output = _projected(projection, heads, read, output)
            return output

        return hook

    def _mlp(self, number: int, layer: Layer) -> Any:
        graph = self.runs.wiring.graph
        place = graph.readers(number, "m").start

        def hook(_: Any, args: tuple[Any, ...]) -> Any:
            if not self.active[place]:
                return None
            # Behind the last block's attention only the last position is read.
            seen = slice(-1 if number + 1 == graph.layers and ends_alone(self.runs.wiring) else None, None)
            change = self.change([place], graph.before_mlp(number), self.differences[:, :, seen])[:, 0]
            return (layer.mlp_norm(plus(self.streams[layer.mlp_norm.name][:, seen], change)), *args[1:])

        return hook

    def _logits(self, _: Any, args: tuple[Any, ...]) -> Any:
        graph = self.runs.wiring.graph
        if not self.active[graph.logits]:
            return None
        stream = args[0]
        change = self.change([graph.logits], len(graph.sources), self.differences[:, :, -1:])[:, 0]
        # Only the last position is read.
        return (torch.cat([stream[:, :-1], plus(stream[:, -1:], change)], 1), *args[1:])

    def _heads(self, number: int, layer: Layer) -> Any:
        graph = self.runs.wiring.graph

        def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
            findings = self.runs.reference.heads[number][self.rows] - head_findings(layer, args[0], output)
            self._add(graph.head_sources(number).start, torch.einsum("bphe,hed->bhpd", findings, layer.heads))

        return hook

    def _written_by_mlp(self, number: int) -> Any:
        place = self.runs.wiring.graph.mlp_source(number)

        def hook(_: Any, __: Any, output: Any) -> None:
            change = self.runs.reference.mlps[number][self.rows] - tensor_of(output).float()
            self._add(place, change[:, None])

        return hook

    def _add(self, place: int, more: torch.Tensor) -> None:
        if self.differences.shape[1] != place:
            kind = type(self.runs.wiring.lm.model).__name__
            raise ModelError(f"{kind}: its blocks do not compute attention first and the MLP then, once each")
        self.differences = torch.cat([self.differences, more], 1)


def _projected(projection: Projection, heads: list[int], read: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The projection's output, where each of these heads has read what it was given; (rows, heads, positions, …)."""
    weight, bias = projection.weight[heads].to(read), projection.bias[heads].to(read)
    made = torch.einsum("bgpd,ged->bpge", read, weight) + bias
    places = torch.tensor(heads, device=output.device)
    return projection.written(output, projection.read(output).index_copy(-2, places, made))
