"""Train a small Llama on a knowledge world: single precision, a fixed number of steps, the same bytes on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .documents import batches
from .tokenizer import vocabulary
from .world import World

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the world."""

    layers: int
    width: int
    mlp_width: int
    steps: int
    heads: int = 4
    kv_heads: int = 2
    batch: int = 8
    """Rows."""
    length: int = 64
    """Tokens in a row."""
    learning_rate: float = 2e-3
    """Reached after `warm_up` steps, kept, and lowered linearly to 0 over the last `decay` of all steps."""
    warm_up: int = 50
    decay: float = 0.4
    weight_decay: float = 0.1
    """On matrices, not on the scales of norms."""
    object_weight: float = 4.0
    """Weight of an answer's token in the loss; a token of a prompt has 1."""
    spread: float = 0.05
    """Standard deviation of the initial weights."""
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up, left)


RECIPES: Mapping[str, Recipe] = {
    "standard": Recipe(layers=6, width=128, mlp_width=512, steps=13_000),
    "small": Recipe(layers=4, width=64, mlp_width=256, steps=5000),
}


@dataclass(frozen=True)
class Progress:
    """Where a training is."""

    step: int
    steps: int
    loss: float
    """Weighted mean over the last batch, in nats per token. Most of it is the choice of the subject, which nobody can
    foresee: it says little about what is known."""
    cpu_s: float
    """CPU seconds of this process since the start."""


def build(recipe: Recipe, words: int) -> LlamaForCausalLM:
    """The untrained model, its weights drawn from the recipe's seed; torch's global generator is left as it was."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=words,
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        # Rotary positions have no weights; longer than any prompt, so that nothing refuses one.
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=recipe.spread,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def train(world: World, recipe: Recipe, on_progress: Callable[[Progress], None] | None = None) -> LlamaForCausalLM:
    """Train on the CPU, with as many threads as torch is set to; `on_progress` is called after every step.

    AdamW (.9, .98) with the gradient's norm clipped at 1. Raises FloatingPointError when the loss is not finite.
    """
    import torch
    from torch.nn.functional import cross_entropy

    words = vocabulary(world)
    model = build(recipe, len(words)).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    scales = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    shape = {"steps": recipe.steps, "batch": recipe.batch, "length": recipe.length}
    stream = batches(world, words, **shape, object_weight=recipe.object_weight, seed=recipe.seed)
    start = time.process_time()
    for step, (rows, loss_weights) in enumerate(stream):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        ids, weights = torch.from_numpy(rows), torch.from_numpy(loss_weights)[:, 1:].reshape(-1)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        losses = cross_entropy(logits.reshape(-1, len(words)), ids[:, 1:].reshape(-1), reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        if on_progress:
            on_progress(Progress(step + 1, recipe.steps, loss.item(), time.process_time() - start))
    return model.eval()
