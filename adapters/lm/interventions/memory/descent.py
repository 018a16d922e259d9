"""How a request is learned in a side memory: descent on the target's likelihood and on the router's margins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...architecture import Linear, blocks
from ...forward import Tokens, by_row, only_at, padded
from ...model import LanguageModel
from ...resumed import Lower, lower, resumed
from ...scoring import Row
from ...sidememory import distance, with_change

if TYPE_CHECKING:
    from .params import Margins, Wise


@dataclass(frozen=True)
class Lesson:
    """The texts that a request is learned from, as the model is given them: first the edit's, then irrelevant ones."""

    inputs: Mapping[str, torch.Tensor]
    """Of the model's forward; all of shape (rows, positions)."""
    edits: int
    """Rows of the edit."""
    places: tuple[tuple[int, ...], ...]
    """Of each row, the positions whose logits speak of the target's tokens; none in irrelevant rows."""
    targets: torch.Tensor
    """The tokens that are wanted at all places, shape (places,)."""
    weights: torch.Tensor
    """Weight of each token's negative log-likelihood in the loss, shape (places,)."""
    inside: torch.Tensor
    """The tokens over which the distance is taken, bool of shape (rows, positions)."""
    below: Lower | None = None
    """What the blocks below the memory's put out."""

    @property
    def ends(self) -> list[int]:
        """The last token of each row that the router sees."""
        places = torch.arange(self.inside.shape[1], device=self.inside.device)
        found: list[int] = places.where(self.inside, -1).amax(1).tolist()
        return found


@dataclass(frozen=True)
class Learned:
    """What a descent came to."""

    change: torch.Tensor
    """W' - W, shape (outputs, inputs)."""
    distances: tuple[float, ...]
    """Mean distance of the edit's texts before each update, and at the end."""
    losses: tuple[tuple[float, float], ...]
    """Negative log-likelihood and margin loss before each update."""


def lesson(lm: LanguageModel, rows: Sequence[Row], irrelevant: Sequence[Tokens], layer: int) -> Lesson:
    """The rows of a request, of which each counts the same, beside irrelevant texts."""
    # Nothing is asked of a target's last token: what would follow it is no part of the target.
    texts: list[Tokens] = [*(row.ids[:-1] for row in rows), *irrelevant]
    inputs, ends = padded(texts, lm.device), [*(row.start - 1 for row in rows), *(len(t) - 1 for t in irrelevant)]
    places = torch.arange(inputs["input_ids"].shape[1], device=lm.device)
    return Lesson(
        inputs,
        len(rows),
        (*(tuple(row.places) for row in rows), *(() for _ in irrelevant)),
        torch.tensor([token for row in rows for token in row.target], device=lm.device),
        torch.tensor([1 / len(rows) / len(row.target) for row in rows for _ in row.target], device=lm.device),
        places <= torch.tensor(ends, device=lm.device)[:, None],
        lower(lm, texts, layer, ends) if layer else None,
    )


def descended(
    spec: Wise,
    lm: LanguageModel,
    projection: Linear,
    lesson: Lesson,
    change: torch.Tensor,
    mask: torch.Tensor,
    activation: str,
) -> Learned:
    """Learn a lesson, from `change` on; gradients pass where `mask`, of the same shape, is true."""
    weight = projection.stored(projection.module.weight.detach()).float()
    reached = mask.to(change)
    losses: list[tuple[float, float]] = []
    distances: list[float] = []
    for step in range(spec.steps + 1):
        change = change.detach().requires_grad_()
        nll, apart = _said(lm, projection, lesson, change, activation)
        near, far = apart[: lesson.edits], apart[lesson.edits :]
        distances.append(near.mean().item())
        if step == spec.steps or _at_rest(spec, losses):
            break
        margin = margin_loss(near, far, spec.margins)
        losses.append((nll.item(), margin.item()))
        (gradient,) = torch.autograd.grad(nll + margin, change)
        with torch.no_grad():
            # In the gradient's own room: a weight is large, and so is what passing over it once more costs.
            gradient.mul_(reached)
            if spec.weight_decay:
                gradient.add_(spec.weight_decay * (weight + change))
            torch.sub(change, gradient.mul_(spec.lr), out=gradient)
            change = gradient.clamp_(-spec.norm_constraint, spec.norm_constraint)
    return Learned(change.detach(), tuple(distances), tuple(losses))


def margin_loss(near: torch.Tensor, far: torch.Tensor, margins: Margins) -> torch.Tensor:
    """See `Margins`; `near` and `far`: distances of the edit's texts and of irrelevant ones."""
    pairs = margins.gamma - near[None] + far[:, None]
    return _positive(far - margins.alpha) + _positive(margins.beta - near) + _positive(pairs)


def _positive(terms: torch.Tensor) -> torch.Tensor:
    """Mean of the positive ones, 0 when there are none."""
    return terms.clamp(min=0).sum() / (terms > 0).sum().clamp(min=1)


def _at_rest(spec: Wise, losses: Sequence[tuple[float, float]]) -> bool:
    if len(losses) < 2:
        return False
    before, last = map(sum, losses[-2:])
    return last <= spec.stop_loss and abs(last - before) <= spec.stop_change


def _said(
    lm: LanguageModel, projection: Linear, lesson: Lesson, change: torch.Tensor, activation: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted negative log-likelihood with the memory in use, and the distance of each row."""
    with _in_use(projection, lesson, change, activation) as distances, ExitStack() as below:
        below.enter_context(lm.asking(lesson.ends, [0] * len(lesson.places)))
        below.enter_context(only_at(lm, lesson.places))
        if lesson.below is not None:
            rows, last = range(len(lesson.places)), len(blocks(lm.model)[1]) - 1
            below.enter_context(resumed(lm, lesson.below, rows, lesson.inside.shape[1], last))
        logits = lm.model(**lesson.inputs, use_cache=False).logits[0].float()
    # The blocks of a large model may be on several devices.
    targets, weights = (t.to(logits.device) for t in (lesson.targets, lesson.weights))
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (nll * weights).sum(), distances[0].to(logits.device)


@contextmanager
def _in_use(projection: Linear, lesson: Lesson, change: torch.Tensor, activation: str) -> Iterator[list[torch.Tensor]]:
    """Inside `with`, the memory stands in for the projection in all rows; its distances are found in the list."""
    found: list[torch.Tensor] = []

    # Earlier memories may have been at work on the output: what the projection itself says is then computed again.
    alone = not projection.module._forward_hooks

    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        said = output if alone else projection.module.forward(args[0])
        inputs, own = (by_row(t, len(lesson.places)) for t in (args[0], said))
        after = with_change(inputs, own, change)
        found.append(distance(own.float(), after, lesson.inside, activation))
        return after.to(output.dtype).reshape(output.shape)

    handle = projection.module.register_forward_hook(hook)
    try:
        yield found
    finally:
        handle.remove()
