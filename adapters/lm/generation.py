"""Texts that a model writes, greedily or sampled, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch

from .forward import Tokens, padded
from .model import LanguageModel
from .scoring import batches

Choose = Callable[[torch.Tensor, list[int], int], torch.Tensor]
"""`choose(logits, rows, step)`: of logits (rows of the batch, vocabulary) the next token of each; `rows` tells which
of all rows they are."""


def greedy(
    lm: LanguageModel,
    prompts: Sequence[Tokens],
    lengths: Sequence[int],
    batch_size: int,
    owners: Sequence[int] | None = None,
    stop: frozenset[int] = frozenset(),
    openings: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Greedy continuation of each prompt by `lengths[i]` tokens, or up to and with the first token in `stop`."""
    return continued(lm, prompts, lengths, batch_size, lambda logits, *_: logits.argmax(-1), owners, stop, openings)


def sampled(
    lm: LanguageModel,
    prompts: Sequence[Tokens],
    lengths: Sequence[int],
    batch_size: int,
    top_k: int,
    draws: np.ndarray,
    owners: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Continuations sampled from the `top_k` most probable tokens.

    `draws`: uniform numbers in [0, 1) of shape (prompts, longest continuation), so that a text depends on nothing
    but its own draws: not on the batch, not on what was sampled before.
    """

    def choose(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        best = logits.topk(min(top_k, logits.shape[-1]), dim=-1)
        # On the CPU: not every device has double precision.
        below = best.values.cpu().double().softmax(-1).cumsum(-1)
        draw = torch.from_numpy(draws[rows, step])[:, None]
        picked = (below <= draw * below[:, -1:]).sum(-1, keepdim=True).clamp(max=below.shape[-1] - 1)
        return best.indices.gather(-1, picked.to(best.indices.device))[:, 0]

    return continued(lm, prompts, lengths, batch_size, choose, owners)


def cache_name(model: Any) -> str:
    """What a model's `forward` and its output call the keys and values so far; transformers 5.24 has a new name."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


@torch.inference_mode()
def continued(
    lm: LanguageModel,
    prompts: Sequence[Tokens],
    lengths: Sequence[int],
    batch_size: int,
    choose: Choose,
    owners: Sequence[int] | None = None,
    stop: frozenset[int] = frozenset(),
    openings: Sequence[int] | None = None,
    together: int = 1,
) -> list[tuple[int, ...]]:
    """Continuations by the tokens that `choose` gives, up to `lengths[i]` of them or the first one in `stop`.

    `openings`: how many of each prompt's last tokens belong to its answer already; `together`: so many consecutive
    prompts are always in one batch, for a `choose` that looks at them together.
    """
    texts: list[list[int]] = [[] for _ in prompts]
    name = cache_name(lm.model)
    longest = [max(prompts[i : i + together], key=len) for i in range(0, len(prompts), together)]
    for groups in batches(longest, max(1, batch_size // together)):
        batch = [g * together + i for g in groups for i in range(together)]
        own = [owners[i] for i in batch] if owners else [0] * len(batch)
        inputs = padded([prompts[i] for i in batch], lm.device, left=True)
        last = inputs["input_ids"].shape[1] - 1
        ends, cache = [last - (openings[i] if openings else 0) for i in batch], None
        starts = [last + 1 - len(prompts[i]) for i in batch]
        carried: dict[object, torch.Tensor] = {}
        positions, mask = inputs["position_ids"], inputs["attention_mask"]
        ids, open_ = inputs["input_ids"], set(batch)
        for step in range(max(lengths[i] for i in batch)):
            with lm.asking(ends, own, starts, carried):
                out = lm.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    **{name: cache},
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache = getattr(out, name)
            picked = choose(out.logits[:, -1].float(), batch, step)
            for i, token in zip(batch, picked.tolist(), strict=True):
                if i in open_ and len(texts[i]) < lengths[i]:
                    texts[i].append(token)
                    if token in stop:
                        open_.discard(i)
            if all(i not in open_ or len(texts[i]) >= lengths[i] for i in batch):
                break
            # What follows is behind the prompt: inserted modules that act at its end have acted, and what they decided
            # for the rest of the text is in `carried`.
            ids, ends = picked[:, None], [-1] * len(batch)
            positions = positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
    return [tuple(text) for text in texts]
