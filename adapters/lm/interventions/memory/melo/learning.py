"""How MELO's blocks are trained, and what its patch and its memory consist of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ......canonical import digest
from ....architecture import Linear, linear, part
from ....blocks import ClusterIndex, LowRankBlocks, added
from ....forward import by_row, recorded
from ....losses import Targets
from ....model import LanguageModel
from ....patch import Patch
from ....requests import EditRequest
from ....scoring import Row, Unusable, batches, encode
from .clusters import Cluster, admit, clusters_of, index_of

if TYPE_CHECKING:
    from ......job import Job
    from ... import State
    from .params import Melo

INDEX, INTO, OUT = "index:", "into:", "out:"
"""First words of the names of tensors in the memory."""


@dataclass
class Blocks:
    """A and B of each block, by the name of the projection: shapes (blocks, rank, inputs), (blocks, outputs, rank)."""

    into: dict[str, torch.Tensor]
    out: dict[str, torch.Tensor]

    def then(self, later: Blocks) -> Blocks:
        """These, and behind them others."""
        sides = (self.into, later.into), (self.out, later.out)
        into, out = ({name: torch.cat([a[name], b[name]]) for name in a} for a, b in sides)
        return Blocks(into, out)

    def __len__(self) -> int:
        return len(next(iter(self.into.values())))


def places(spec: Melo, lm: LanguageModel) -> tuple[str, list[Linear]]:
    """Name of the module that is read, and the projections that get blocks. Raises Skip, ModelError."""
    name, _ = part(lm.model, spec.index.layer, spec.index.module)
    layers = sorted(set(spec.targets.layers))
    found = [linear(lm.model, layer, role) for layer in layers for role in spec.targets.modules]
    return name, list({projection.name: projection for projection in found}.values())


def together(
    spec: Melo, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job
) -> tuple[Patch, State]:
    """See `Melo.apply`."""
    clusters, blocks = _read(state, lm.device)
    rows = [encode(lm, r.prompt, r.target_new) for r in requests]
    keys = _keys(spec, lm, rows)
    for start in range(0, len(rows), spec.edits_per_block):
        end = start + spec.edits_per_block
        number = len(blocks) if blocks else 0
        (new,) = _trained(spec, lm, [rows[start:end]], [" ".join(r.id for r in requests[start:end])], job)
        blocks = blocks.then(new) if blocks else new
        for row, key in zip(rows[start:end], keys[start:end], strict=True):
            admit(clusters, key, row.target, number, spec.radius)
    assert blocks is not None, "no request"
    return _patch(spec, lm, clusters, blocks), _tensors(clusters, blocks)


def each_alone(spec: Melo, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
    """See `Melo.apply_each`."""
    found: list[Any] = []
    for request in requests:
        try:
            found.append(encode(lm, request.prompt, request.target_new))
        except Unusable as error:
            found.append(error)
    usable = [i for i, row in enumerate(found) if isinstance(row, Row)]
    rows = [found[i] for i in usable]
    keys = _keys(spec, lm, rows)
    for batch in batches(rows, spec.batch_size):
        ids = [requests[usable[i]].id for i in batch]
        for i, own in zip(batch, _trained(spec, lm, [[rows[i]] for i in batch], ids, job), strict=True):
            clusters: list[Cluster] = []
            admit(clusters, keys[i], rows[i].target, 0, spec.radius)
            found[usable[i]] = _patch(spec, lm, clusters, own)
    return found


def _keys(spec: Melo, lm: LanguageModel, rows: Sequence[Row]) -> list[torch.Tensor]:
    name, _ = places(spec, lm)
    found: dict[int, torch.Tensor] = {}
    for batch in batches(rows, spec.batch_size):
        _, outputs = recorded(lm, [rows[i].prompt for i in batch], [name])[name]
        # Copies: a view would keep the hidden states of the whole batch.
        found |= {i: outputs[at, rows[i].start - 1].float().clone() for at, i in enumerate(batch)}
    return [found[i] for i in range(len(rows))]


def _trained(
    spec: Melo, lm: LanguageModel, groups: Sequence[Sequence[Row]], ids: Sequence[str], job: Job
) -> list[Blocks]:
    """A block for each group of rows. Each has its own descent, as if it were alone: Adam works number by number."""
    _, projections = places(spec, lm)
    into, out = {}, {}
    for projection in projections:
        outputs, inputs = projection.stored(projection.module.weight).shape
        rngs = [job.rng("melo", f"{projection.name} {of_group}") for of_group in ids]
        draws = torch.stack([torch.from_numpy(rng.random((spec.rank, inputs), dtype="float32")) for rng in rngs])
        into[projection.name] = ((2 * draws - 1) / math.sqrt(inputs)).to(lm.device).requires_grad_()
        out[projection.name] = torch.zeros(len(groups), outputs, spec.rank, device=lm.device, requires_grad=True)
    rows = [row for group in groups for row in group]
    owners = torch.tensor([i for i, group in enumerate(groups) for _ in group], device=lm.device)
    # The module that is read lies below: what was learned earlier is silent, for nothing names its blocks here.
    targets = Targets(lm, rows, min(spec.targets.layers))
    free = [*into.values(), *out.values()]
    optimizer = torch.optim.Adam(free, lr=spec.lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, spec.lr_step, spec.lr_decay)
    moving = torch.ones(len(groups), device=lm.device)
    with torch.enable_grad():
        for _ in range(spec.steps):
            with _in_use(spec, projections, Blocks(into, out), owners):
                nll = targets.nll()
            means = torch.stack([part.mean() for part in nll.split([len(group) for group in groups])])
            moving = moving * (means.detach() >= spec.stop_loss).to(moving)
            if not bool(moving.any()):
                break
            optimizer.zero_grad()
            means.sum().backward()
            before = [tensor.detach().clone() for tensor in free]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for tensor, old in zip(free, before, strict=True):
                    tensor.copy_(torch.where(moving[:, None, None] > 0, tensor, old))
    return [
        Blocks(*({name: tensor.detach()[i : i + 1].clone() for name, tensor in side.items()} for side in (into, out)))
        for i in range(len(groups))
    ]


@contextmanager
def _in_use(spec: Melo, projections: Sequence[Linear], blocks: Blocks, owners: torch.Tensor) -> Iterator[None]:
    """Inside `with`, row i of a batch uses block `owners[i]`; differentiable in the blocks."""

    def hook_of(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            inputs = by_row(args[0], len(owners))
            more = added(inputs, blocks.into[name][owners], blocks.out[name][owners], spec.scale)
            return output + more.to(output.dtype).reshape(output.shape)

        return hook

    with ExitStack() as hooks:
        for projection in projections:
            hooks.callback(projection.module.register_forward_hook(hook_of(projection.name)).remove)
        yield


def _patch(spec: Melo, lm: LanguageModel, clusters: Sequence[Cluster], blocks: Blocks) -> Patch:
    name, _ = places(spec, lm)
    # Of two indexes in one model each has a name of its own.
    points = torch.stack([point for cluster in clusters for point in cluster.points])
    known = f"block:{digest(points.cpu().numpy().tobytes())}"
    own = {n: LowRankBlocks(into, blocks.out[n], known, spec.scale) for n, into in blocks.into.items()}
    return Patch(inserts={name: index_of(clusters, known), **own})


def _tensors(clusters: Sequence[Cluster], blocks: Blocks) -> dict[str, torch.Tensor]:
    named = {INDEX: index_of(clusters).tensors(), INTO: blocks.into, OUT: blocks.out}
    return {f"{kind}{name}": tensor for kind, tensors in named.items() for name, tensor in tensors.items()}


def _read(state: State, device: torch.device) -> tuple[list[Cluster], Blocks | None]:
    if state is None:
        return [], None
    index, into, out = (
        {
            n.removeprefix(kind): t if n.endswith("radii") else t.to(device)
            for n, t in state.items()
            if n.startswith(kind)
        }
        for kind in (INDEX, INTO, OUT)
    )
    return clusters_of(ClusterIndex(**index, name="")), Blocks(into, out)
