"""Texts that a model writes, greedily or sampled, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
) -> list[tuple[int, ...]]:
    """Greedy continuation of each prompt by `lengths[i]` tokens, or up to and with the first token in `stop`."""
    return _continued(lm, prompts, lengths, batch_size, lambda logits, *_: logits.argmax(-1), owners, stop)


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

    return _continued(lm, prompts, lengths, batch_size, choose, owners)


@torch.inference_mode()
def _continued(
    lm: LanguageModel,
    prompts: Sequence[Tokens],
    lengths: Sequence[int],
    batch_size: int,
    choose: Choose,
    owners: Sequence[int] | None = None,
    stop: frozenset[int] = frozenset(),
) -> list[tuple[int, ...]]:
    texts: list[list[int]] = [[] for _ in prompts]
    for batch in batches(prompts, batch_size):
        own = [owners[i] for i in batch] if owners else [0] * len(batch)
        inputs = padded([prompts[i] for i in batch], lm.device, left=True)
        last = inputs["input_ids"].shape[1] - 1
        ends, cache = [last] * len(batch), None
        positions, mask = inputs["position_ids"], inputs["attention_mask"]
        ids, open_ = inputs["input_ids"], set(batch)
        for step in range(max(lengths[i] for i in batch)):
            with lm.asking(ends, own):
                out = lm.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            cache = out.past_key_values
            picked = choose(out.logits[:, -1].float(), batch, step)
            for i, token in zip(batch, picked.tolist(), strict=True):
                if i in open_ and len(texts[i]) < lengths[i]:
                    texts[i].append(token)
                    if token in stop:
                        open_.discard(i)
            if all(i not in open_ or len(texts[i]) >= lengths[i] for i in batch):
                break
            # What follows is behind the prompt: inserted modules that act at its end have acted.
            ids, ends = picked[:, None], [-1] * len(batch)
            positions = positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
    return [tuple(text) for text in texts]
