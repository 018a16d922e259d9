"""Windows of a target, and the hidden state before each that makes the model say it.

UnKE, section 3.3, and AnyEdit, section 4.2, as the authors' code does it: the perturbation stands at the last token
before the window. Requests share nothing but the forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...architecture import block, blocks
from ...forward import Tokens, logits_at, tensor_of
from ...losses import mean_of_each
from ...model import LanguageModel
from ...requests import EditRequest
from ...resumed import Lower, added, lower, resumed
from ...scoring import Row, Unusable, encode, encode_ended

if TYPE_CHECKING:
    from .params import Search


@dataclass(frozen=True)
class Window:
    """Some tokens of a row, and the place of the state that shall make the model say them."""

    place: int
    """The token before the first of them."""
    end: int
    """Behind the last of them."""


def row_of(lm: LanguageModel, request: EditRequest, search: Search) -> Row:
    """Prompt and target, with the end of the text where it is wanted. Raises Unusable."""
    row = (encode_ended if search.ended else encode)(lm, request.prompt, request.target_new)
    if len(row.ids) > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return row


def windows(row: Row, window: int | None, overlap: int) -> list[Window]:
    """The target in windows, one after the other, `overlap` tokens in common.

    >>> [(w.place, w.end) for w in windows(Row((9, 9, 1, 2, 3, 4, 5), 2), 2, 0)]
    [(1, 4), (3, 6), (5, 7)]
    """
    size = len(row.target) if window is None else window
    starts = range(row.start, len(row.ids), size - overlap)
    found = [Window(start - 1, min(start + size, len(row.ids))) for start in starts]
    last = next(i for i, w in enumerate(found) if w.end == len(row.ids))
    return found[: last + 1]


def perturbations(
    lm: LanguageModel, rows: Sequence[Row], search: Search, layer: int, batch_size: int
) -> list[torch.Tensor]:
    """For each row what to add to the output of block `layer` at the place of each window, shape (windows, width)."""
    found: list[torch.Tensor] = []
    for start in range(0, len(rows), batch_size):
        some = rows[start : start + batch_size]
        cut = [windows(row, search.window, search.overlap) for row in some]
        known: list[list[torch.Tensor]] = [[] for _ in some]
        for number in range(max(map(len, cut))):
            having = [i for i, of_row in enumerate(cut) if number < len(of_row)]
            chunks = [_Chunk(some[i], cut[i][: number + 1], known[i]) for i in having]
            for i, delta in zip(having, _descended(lm, chunks, search, layer), strict=True):
                known[i].append(delta)
        found += [torch.stack(deltas) for deltas in known]
    return found


@dataclass(frozen=True)
class _Chunk:
    """A row up to a window that it shall say next."""

    row: Row
    windows: Sequence[Window]
    """That window, and all before it."""
    earlier: Sequence[torch.Tensor]
    """What is added before each of those."""

    @property
    def inputs(self) -> Tokens:
        # Nothing is asked of the last token.
        return self.row.ids[: self.windows[-1].end - 1]

    @property
    def asked(self) -> range:
        return range(self.windows[-1].place, self.windows[-1].end - 1)

    @property
    def targets(self) -> Tokens:
        return self.row.ids[self.windows[-1].place + 1 : self.windows[-1].end]


def _descended(lm: LanguageModel, chunks: Sequence[_Chunk], search: Search, layer: int) -> list[torch.Tensor]:
    """The perturbation before the last window of each chunk."""
    ends = [c.row.start - 1 for c in chunks]
    below = lower(lm, [c.inputs for c in chunks], layer + 1, ends)
    # What is added behind the block changes nothing of what it puts out elsewhere.
    states = [tensor_of(below.output)[i, c.windows[-1].place].float() for i, c in enumerate(chunks)]
    deltas = [torch.zeros_like(h, requires_grad=True) for h in states]
    sizes = torch.stack(states).norm(dim=1)
    adam = torch.optim.Adam(deltas, lr=search.lr)
    active = list(range(len(chunks)))
    for step in range(search.steps):
        with torch.enable_grad():
            losses = _losses(lm, [chunks[i] for i in active], [deltas[i] for i in active], below, active, layer)
            norms = torch.stack([deltas[i].norm() for i in active])
            losses = losses + search.weight_decay * (norms / sizes[active] ** 2).to(losses)
        # Also a loss that is no number ends the search, before it spoils the vector.
        going = losses.detach() >= search.stop_loss
        active = [i for i, goes in zip(active, going.tolist(), strict=True) if goes]
        if not active or step == search.steps - 1:
            break
        gradients = torch.autograd.grad(losses[going].sum(), [deltas[i] for i in active])
        adam.zero_grad(set_to_none=True)
        for i, gradient in zip(active, gradients, strict=True):
            deltas[i].grad = gradient
        adam.step()
        with torch.no_grad():
            for i in active:
                deltas[i].mul_((search.clamp_norm_factor * sizes[i] / deltas[i].norm()).clamp(max=1))
    return [delta.detach() for delta in deltas]


def _losses(
    lm: LanguageModel,
    chunks: Sequence[_Chunk],
    deltas: Sequence[torch.Tensor],
    below: Lower,
    numbers: Sequence[int],
    layer: int,
) -> torch.Tensor:
    """Mean NLL of each chunk's tokens, in nats, shape (chunks,). `numbers`: which rows of `below` they are."""
    inputs = [c.inputs for c in chunks]
    ends = [c.row.start - 1 for c in chunks]
    vectors = torch.stack([v for c, own in zip(chunks, deltas, strict=True) for v in (*c.earlier, own)])
    rows = torch.tensor([i for i, c in enumerate(chunks) for _ in c.windows])
    columns = torch.tensor([w.place for c in chunks for w in c.windows])
    name, last = block(lm.model, layer)[0], len(blocks(lm.model)[1]) - 1
    with resumed(lm, below, numbers, max(map(len, inputs)), last), added(lm, name, rows, columns, vectors):
        logits = logits_at(lm, inputs, [c.asked for c in chunks], ends)
    targets = torch.tensor([token for c in chunks for token in c.targets], device=logits.device)
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return mean_of_each(nll, [len(c.targets) for c in chunks])
