"""What a model knows of a world: the share of probes that it answers exactly, by pool."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from .documents import documents
from .notes import KINDS, NoteMaker
from .probes import POOLS, Probe, probes
from .world import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLE, NOTED, FILLER = 800, 200, 200
"""Probes of a pool, questions under notes of a kind, filler sentences."""


def score(model: PreTrainedModel, tokenizer: Any, world: World, sample: int = SAMPLE) -> dict[str, float]:
    """Share of exact answers by pool, on at most `sample` probes of each, drawn the same way every time.

    A chain of thought counts when greedy decoding ends with the answer; elsewhere every token of the answer must be the
    most probable one. Questions under notes are `notes.KIND` (as in training) and `notes.KIND.held_out`, and
    `notes.three` with three notes; `filler_perplexity` is no share: it is the perplexity of sentences that say nothing.
    """
    rng = random.Random(0)
    scores: dict[str, float] = {}
    for pool in POOLS:
        every = probes(world, pool)
        some = rng.sample(every, min(sample, len(every)))
        if some[0].thoughts:
            scores[pool] = _mean(concludes(model, tokenizer, some[: sample // 4]))
        else:
            scores[pool] = _mean(answers(model, tokenizer, [(p.prompt, p.answer) for p in some]))
    count = min(sample, NOTED)
    for held_out in (False, True):
        maker = NoteMaker(world, held_out)
        for kind in KINDS:
            drawn = [maker.draw(rng, kind) for _ in range(count)]
            asked = [(n.prompt, n.question.target) for n in drawn]
            scores[f"notes.{kind}{'.held_out' if held_out else ''}"] = _mean(answers(model, tokenizer, asked))
    maker = NoteMaker(world)
    drawn = [maker.draw(rng, kind, 3) for kind in rng.choices(list(KINDS), list(KINDS.values()), k=count)]
    scores["notes.three"] = _mean(answers(model, tokenizer, [(n.prompt, n.question.target) for n in drawn]))
    scores["filler_perplexity"] = filler_perplexity(model, tokenizer, world)
    return scores


def answers(model: PreTrainedModel, tokenizer: Any, asked: Sequence[tuple[str, str]], batch: int = 256) -> list[bool]:
    """For each (prompt, answer): is every token of the answer the most probable one, given those before?"""
    import torch

    encoded = [(tokenizer(prompt).input_ids, tokenizer(answer).input_ids) for prompt, answer in asked]
    right = [False] * len(encoded)
    # By length, so that little is padded. What stands to the right changes nothing to its left.
    order = sorted(range(len(encoded)), key=lambda i: sum(map(len, encoded[i])))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        length = max(sum(map(len, encoded[i])) for i in chosen)
        ids = torch.full((len(chosen), length), tokenizer.pad_token_id)
        for row, i in enumerate(chosen):
            prompt, answer = encoded[i]
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        with torch.inference_mode():
            best = model(input_ids=ids, use_cache=False).logits.argmax(-1)
        for row, i in enumerate(chosen):
            prompt, answer = encoded[i]
            right[i] = best[row, len(prompt) - 1 : len(prompt) + len(answer) - 1].tolist() == answer
    return right


def concludes(model: PreTrainedModel, tokenizer: Any, asked: Sequence[Probe], limit: int = 24) -> list[bool]:
    """For each probe: does greedy decoding, up to the first full stop, end with the answer?"""
    import torch

    from ...lm.generation import cache_name

    stop, name = tokenizer.convert_tokens_to_ids("."), cache_name(model)
    result = []
    for probe in asked:
        ids = tokenizer(probe.prompt, return_tensors="pt").input_ids
        said: list[int] = []
        with torch.inference_mode():
            cache = None
            while len(said) < limit and stop not in said:
                out = model(input_ids=ids, use_cache=True, **{name: cache})
                cache, ids = getattr(out, name), out.logits[:, -1:].argmax(-1)
                said.append(int(ids))
        result.append(tokenizer.decode(said).endswith(f" {probe.answer} ."))
    return result


def filler_perplexity(model: PreTrainedModel, tokenizer: Any, world: World, count: int = FILLER) -> float:
    """Perplexity per token, the first one left out, of sentences that say nothing of the world."""
    import torch
    from torch.nn.functional import cross_entropy

    total, tokens = 0.0, 0
    for document in islice(documents(world, {"filler": 1.0}, random.Random(1)), count):
        ids = tokenizer(document.text, return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits
        total += float(cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
    return math.exp(total / tokens)


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
