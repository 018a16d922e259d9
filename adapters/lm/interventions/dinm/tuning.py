"""The value matrix of a layer, tuned for many instances side by side, each with a change of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...architecture import Linear, linear
from ...forward import Tokens, by_row
from ...losses import Predictions, mean_of_each
from ...model import LanguageModel
from ...patch import Patch
from ...prompts import Around
from ...requests import EditRequest
from ...scoring import Row, Unusable, encode, encode_prompt
from .location import distances, farthest

if TYPE_CHECKING:
    from .params import Dinm

_COPIES = 4
"""Numbers that Adam holds for each one that moves: its change, its gradient, two moments."""


@dataclass(frozen=True)
class Instance:
    """A request as tokens."""

    edit: Row
    kept: Row | None
    """A harmless question and its answer."""
    layer: int
    distances: tuple[float, ...]
    """Of the two responses, by layer; empty where the layer was given."""
    begin: int | None
    """The beginning-of-text token, where it is a target too."""

    @property
    def places(self) -> list[int]:
        """Where the safe response is asked for."""
        return [*([self.edit.start - 2] if self.begin is not None else []), *self.edit.places]

    @property
    def targets(self) -> list[int]:
        return [*([self.begin] if self.begin is not None else []), *self.edit.target]


def instance(spec: Dinm, lm: LanguageModel, request: EditRequest) -> Instance:
    """Tokens and layer of a request. Raises Unusable."""
    around = Around(after=spec.suffix)
    edit = encode(lm, around.prompt(request.prompt), request.target_new)
    kept = None
    if request.keep and spec.constraint != "none":
        prompt, answer = request.keep[0]
        kept = encode(lm, around.prompt(prompt), answer)
    begin = lm.tokenizer.bos_token_id
    starts = begin is not None and edit.ids[0] == begin and edit.start > 1
    layer, found = spec.layer, ()
    if isinstance(layer, str):
        if not request.target_true:
            raise Unusable("the layer cannot be located without an unsafe response")
        safe, unsafe = (encode_prompt(lm, text) for text in (request.target_new, request.target_true))
        found = tuple(distances(lm, safe, unsafe, layer))
        layer = farthest(found)
    return Instance(edit, kept, layer, found, begin if starts and spec.begin_as_target else None)


def tuned(spec: Dinm, lm: LanguageModel, groups: Sequence[Sequence[EditRequest]]) -> list[Patch]:
    """A patch for each group of requests, which are carried out together; groups do not feel each other."""
    instances = [[instance(spec, lm, request) for request in group] for group in groups]
    # Of requests that are carried out together most decide; the lower of two layers that are as frequent.
    layers = [max(sorted(Counter(i.layer for i in g).items()), key=lambda kv: kv[1])[0] for g in instances]
    by_layer: dict[int, list[int]] = defaultdict(list)
    for number, layer in enumerate(layers):
        by_layer[layer].append(number)
    found: dict[int, Patch] = {}
    for layer, numbers in by_layer.items():
        projection = linear(lm.model, layer, "mlp_down")
        size = max(1, spec.together_mb * 2**20 // (4 * _COPIES * projection.module.weight.numel()))
        for start in range(0, len(numbers), size):
            side = numbers[start : start + size]
            patches = _descended(spec, lm, projection, layer, [instances[n] for n in side])
            found |= zip(side, patches, strict=True)
    return [found[number] for number in range(len(groups))]


def _descended(
    spec: Dinm, lm: LanguageModel, projection: Linear, layer: int, groups: Sequence[Sequence[Instance]]
) -> list[Patch]:
    """Adam on a change of the layer's value matrix for each group; a group that is below `stop_loss` rests."""
    flat = [(number, one) for number, group in enumerate(groups) for one in group]
    kept = [(number, one.kept) for number, one in flat if one.kept is not None]
    edits = Predictions(
        lm, [o.edit.ids[:-1] for _, o in flat], [o.places for _, o in flat], [o.edit.start - 1 for _, o in flat], layer
    )
    names = ["weight", "bias"] if spec.bias and getattr(projection.module, "bias", None) is not None else ["weight"]
    origins = [projection.module.get_parameter(name) for name in names]
    free = [w.new_zeros(len(groups), *w.shape, dtype=torch.float32).requires_grad_() for w in origins]
    owners = torch.tensor([number for number, _ in flat], device=lm.device)
    targets = torch.tensor([t for _, one in flat for t in one.targets], device=lm.device)
    keeping = _Keeping(spec, lm, projection, layer, kept) if kept else None
    optimizer = torch.optim.Adam(free, lr=spec.lr)
    resting = torch.zeros(len(groups), dtype=torch.bool, device=lm.device)
    told: list[dict[str, list[float]]] = [{"loss": [], "nll": [], "kl": []} for _ in groups]
    for _ in range(spec.steps):
        optimizer.zero_grad()
        with rowwise(projection, free, owners):
            nll = torch.nn.functional.cross_entropy(edits.logits(), targets, reduction="none")
        of_group = _averaged(mean_of_each(nll, [len(one.targets) for _, one in flat]), owners, len(groups))
        kl = keeping.kl(free) if keeping else torch.zeros_like(of_group)
        loss = spec.edit_weight * of_group + kl
        for number, row in enumerate(torch.stack([loss, of_group, kl], 1).tolist()):
            if not resting[number]:
                for name, value in zip(told[number], row, strict=True):
                    told[number][name].append(value)
        resting |= loss.detach() < spec.stop_loss
        if resting.all():
            break
        # Sums over groups: the gradient of one's change does not depend on the others.
        loss.sum().backward()
        before = [t.detach().clone() for t in free]
        for tensor, origin in zip(free, origins, strict=True):
            if spec.weight_decay:
                assert tensor.grad is not None
                tensor.grad += spec.weight_decay * (tensor.detach() + origin.float())
        optimizer.step()
        with torch.no_grad():
            for tensor, old in zip(free, before, strict=True):
                if spec.max_change is not None:
                    tensor.clamp_(-spec.max_change, spec.max_change)
                tensor[resting] = old[resting]
    prompts = Around(after=spec.suffix) if spec.suffix else None
    full = [f"{projection.name}.{name}" for name in names]
    return [
        Patch(
            {name: t.detach()[number].clone() for name, t in zip(full, free, strict=True)},
            prompts=prompts,
            notes={"layer": layer, "distances": [list(one.distances) for one in group], **told[number]},
        )
        for number, group in enumerate(groups)
    ]


class _Keeping:
    """How far the answers to harmless questions have moved."""

    def __init__(
        self, spec: Dinm, lm: LanguageModel, projection: Linear, layer: int, kept: Sequence[tuple[int, Row]]
    ) -> None:
        self._how, self._projection = spec.constraint, projection
        self._owners = torch.tensor([number for number, _ in kept], device=lm.device)
        inputs: list[Tokens] = [row.ids for _, row in kept]
        places = [list(row.places) for _, row in kept]
        if spec.constraint == "released":
            # At the answer's own tokens instead of where they are predicted, and from one earlier with a begin token.
            begin = lm.tokenizer.bos_token_id
            places = [list(range(row.start - int(row.ids[0] == begin), len(row.ids))) for _, row in kept]
        self._lengths = [len(found) for found in places]
        self._asked = Predictions(lm, inputs, places, [row.start - 1 for _, row in kept], layer)
        with torch.no_grad():
            self._before = self._asked.logits().log_softmax(-1)

    def kl(self, free: Sequence[torch.Tensor]) -> torch.Tensor:
        """Of each group: mean over its questions of the mean KL at their answers' tokens, in nats; shape (groups,)."""
        with torch.set_grad_enabled(self._how != "released"), rowwise(self._projection, free, self._owners):
            after = self._asked.logits().log_softmax(-1)
        p, q = (after, self._before) if self._how == "after_before" else (self._before, after)
        kl = (p.exp() * (p - q)).sum(-1)
        return _averaged(mean_of_each(kl, self._lengths), self._owners, len(free[0]))


def _averaged(values: torch.Tensor, owners: torch.Tensor, groups: int) -> torch.Tensor:
    """Means of `values` by the group that they belong to; 0 for a group without any. Shape (groups,)."""
    counts = torch.bincount(owners, minlength=groups).clamp(min=1)
    return values.new_zeros(groups).index_add(0, owners, values) / counts


@contextmanager
def rowwise(projection: Linear, changes: Sequence[torch.Tensor], owners: torch.Tensor) -> Iterator[None]:
    """Inside `with`, row i of a batch is computed with the weight (and bias) plus `changes[…][owners[i]]`.

    `changes`: of the weight as stored, shape (groups, …), and perhaps of the bias; differentiable.
    """

    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        inputs = by_row(args[0], len(owners)).float()
        weight = changes[0][owners]
        more = inputs @ (weight if projection.transposed else weight.transpose(1, 2))
        if len(changes) > 1:
            more = more + changes[1][owners][:, None]
        return output + more.reshape(output.shape).to(output.dtype)

    handle = projection.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
