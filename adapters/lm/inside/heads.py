"""Where heads look from the last position, what they write there, and of which type that makes them.

Types after Yao et al. 2024, "Knowledge Circuits in Pretrained Transformers" (arXiv 2405.17969, section 4), which tells
them by looking; shares by source token after Chughtai et al. 2024 (arXiv 2402.07321). A mover head attends to the
subject and writes the answer; a relation head attends to the relation; a mixture head does both; a subject head attends
to the subject and writes something else. That a relation head writes words of its relation is not asked for: what
guides later heads need not be a word. So only of movers does the type say that a head does something: heads that look
at a subject or a relation and write next to nothing count as subject and relation heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..architecture import head, part
from ..graph.targets import rank
from ..graph.values import Recorded, last_logits, record
from ..graph.wiring import Layer, Wiring
from ..model import LanguageModel
from .direct import readout
from .passes import ELEMENTS
from .roles import Span

TYPES = ("other", "mover", "relation", "mixture", "subject")


@dataclass(frozen=True)
class Heads:
    """What heads do at the last position."""

    attention: torch.Tensor
    """To each position, shape (rows, blocks, heads, positions); sums to 1."""
    direct: torch.Tensor
    """Share of the difference of logits that each position gives through each head, of the same shape (direct.py)."""
    answer_rank: torch.Tensor
    """Rank of the best answer among the tokens that a head's writing alone speaks for, shape (rows, blocks, heads)."""


@torch.no_grad()
def heads(wiring: Wiring, tokens: torch.Tensor, answers: torch.Tensor, wrongs: torch.Tensor) -> Heads:
    """Look at all heads; tokens: shape (rows, positions); answers, wrongs: shape (rows, most), filled up with -1."""
    seen = record(wiring, tokens)
    attention, values = attended(wiring, tokens)
    final = seen.streams.final[:, -1]
    u = readout(wiring, final, answers, wrongs).direction
    shares, ranks = [], []
    for number, layer in enumerate(wiring.layers):
        value = values[number].repeat_interleave(wiring.graph.group, 2)
        read = torch.einsum("hed,bd->bhe", layer.heads, u) / _after(layer, attention[number], value)
        shares.append(attention[number] * torch.einsum("bphe,bhe->bhp", value, read))
        ranks.append(_ranks(wiring, seen, number, final, answers))
    return Heads(torch.stack(attention, 1), torch.stack(shares, 1), torch.stack(ranks, 1))


def types(found: Heads, row: int, span: Span, attends: float, top: int, least: float) -> torch.Tensor:
    """Type of each head on one prompt, as places in `TYPES`, shape (blocks, heads).

    attends: share of attention from which a head attends to something (to the subject: to its last token; to the
    relation: to all that is neither subject nor first nor last token of the prompt, since heads with nothing to do look
    at the first, Xiao et al. 2023, arXiv 2309.17453). A head writes the answer when that is among the `top` tokens that
    its writing speaks for, and when it adds at least `least` times what the head adds that adds most.
    """
    attention, added = found.attention[row], found.direct[row].sum(-1)
    relation = [p for p in range(1, attention.shape[-1] - 1) if not span[0] <= p < span[1]]
    subject = attention[..., span[1] - 1] >= attends
    related = attention[..., relation].sum(-1) >= attends
    writes = (found.answer_rank[row] < top) & (added > 0) & (added >= least * added.max())
    code = torch.zeros_like(found.answer_rank[row])
    code[subject] = TYPES.index("subject")
    code[related] = TYPES.index("relation")
    code[subject & writes] = TYPES.index("mover")
    code[subject & writes & related] = TYPES.index("mixture")
    return code


def attended(wiring: Wiring, tokens: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Attention of the last position, of each block, shape (rows, heads, positions), and the values that it is over,
    shape (rows, positions, heads of values, head width); in float32."""
    attention: list[torch.Tensor] = []
    values: list[torch.Tensor] = []

    def keep(layer: Layer) -> Any:
        return lambda _, __, output: values.append(layer.projections["v"].read(output).float())

    def look(_: Any, __: Any, output: Any) -> None:
        attention.append(output[1][:, :, -1].float())

    # Hooks of our own: those that transformers sets for output_attentions stay on the model for good.
    with ExitStack() as stack:
        for number, layer in enumerate(wiring.layers):
            stack.callback(layer.projections["v"].module.register_forward_hook(keep(layer)).remove)
            stack.callback(part(wiring.lm.model, number, "attention")[1].register_forward_hook(look).remove)
        stack.enter_context(spelled_out(wiring.lm))
        last_logits(wiring, tokens)
    return attention, values


@contextmanager
def spelled_out(lm: LanguageModel) -> Iterator[None]:
    """Inside `with`, attention is computed in the way that shows its weights."""
    before = lm.model.config._attn_implementation
    if before == "eager":
        yield
        return
    lm.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)


def _after(layer: Layer, attention: torch.Tensor, value: torch.Tensor) -> torch.Tensor | float:
    """σ of a norm that comes after attention, at the last position, shape (rows, 1, 1); 1 where there is none."""
    if layer.attention_after is None:
        return 1.0
    found = torch.einsum("bhp,bphe->bhe", attention, value).flatten(1)
    out = layer.out.module(found.to(layer.out.module.weight))
    return layer.attention_after.split(out)[1][..., None]


def _ranks(wiring: Wiring, seen: Recorded, number: int, final: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    norm, table = wiring.final_norm, head(wiring.lm.model)[1].weight
    written = torch.einsum("bhe,hed->bhd", seen.values.heads[number][:, -1], wiring.layers[number].heads)
    # Dividing by σ changes no rank.
    read = (norm.centre(written) * norm.gain).to(table)
    some = max(1, ELEMENTS // (read.shape[1] * len(table)))
    pairs = zip(read.split(some), answers.split(some), strict=True)
    return torch.cat([rank(r @ table.T, a) for r, a in pairs])
