"""Train a small Llama on a forbidden world: single precision, a fixed number of steps, the same bytes on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..knowledge.training import Progress
from .documents import batches
from .tokenizer import END, PADDING, START, vocabulary
from .world import World

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the world."""

    layers: int = 4
    width: int = 64
    mlp_width: int = 192
    heads: int = 4
    steps: int = 1500
    batch: int = 32
    """Documents."""
    learning_rate: float = 4e-3
    """Reached after `warm_up` steps, kept, and lowered linearly to 0 over the last `decay` of all steps."""
    warm_up: int = 50
    decay: float = 0.5
    weight_decay: float = 0.05
    """On matrices, not on the scales of norms."""
    spread: float = 0.05
    """Standard deviation of the initial weights."""
    context: int = 128
    """Most tokens of a text; documents have at most 45."""
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up, left)


RECIPES: Mapping[str, Recipe] = {"standard": Recipe()}


def build(recipe: Recipe, words: Mapping[str, int]) -> LlamaForCausalLM:
    """The untrained model, its weights drawn from the recipe's seed; torch's global generator is left as it was."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp_width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=False,
        initializer_range=recipe.spread,
        bos_token_id=words[START],
        eos_token_id=words[END],
        pad_token_id=words[PADDING],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def train(world: World, recipe: Recipe, on_progress: Callable[[Progress], None] | None = None) -> LlamaForCausalLM:
    """Train on the CPU, with as many threads as torch is set to; `on_progress` is called after every step.

    AdamW (.9, .98) with the gradient's norm clipped at 1; the loss is the mean over the tokens of answers, in nats.
    Raises RuntimeError when a gradient is not finite.
    """
    import torch
    from torch.nn.functional import cross_entropy

    words = vocabulary(world)
    model = build(recipe, words).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    scales = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    start = time.process_time()
    stream = batches(world, words, steps=recipe.steps, batch=recipe.batch, seed=recipe.seed)
    for step, (rows, marks) in enumerate(stream):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        # What is padded stands behind everything that bears loss, so that no mask is needed.
        hidden = model.model(input_ids=torch.from_numpy(rows), use_cache=False).last_hidden_state[:, :-1]
        labels = torch.from_numpy(marks)[:, 1:]
        bears = labels != -100
        loss = cross_entropy(model.lm_head(hidden[bears]), labels[bears])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        if on_progress:
            on_progress(Progress(step + 1, recipe.steps, loss.item(), time.process_time() - start))
    return model.eval()
