"""Make a compiled model, and prove that it answers every question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ....errors import ModelError
from ...devices import prepared
from ...lm.graph.pairs import Pair
from ...lm.loading import DTYPES
from ...lm.model import LanguageModel
from .circuit import Circuit, placed
from .design import Design
from .facts import Facts
from .weights import weights_of

CONTEXT = 32


@dataclass(frozen=True)
class CompiledModel:
    """A model whose circuit is known."""

    lm: LanguageModel
    facts: Facts
    circuit: Circuit
    margin: float
    """Smallest logit of a right answer less the largest of all others, over all questions; positive."""

    @property
    def pairs(self) -> list[Pair]:
        """A question, and the same with relation and subject exchanged."""
        return list(_pairs(self.facts))


def make(design: Design, seed: int, device: str = "cpu", dtype: str = "float32", threads: int = 1) -> CompiledModel:
    """Compile a model: the same bytes for the same design and seed. Raises ModelError where it answers wrongly."""
    target = prepared(device, threads)
    facts, circuit = Facts(design, seed), placed(design, seed)
    lm = LanguageModel(_model(facts, circuit).to(target, DTYPES[dtype]), facts.tokenizer())
    margin = smallest_margin(lm, facts)
    if margin <= 0:
        raise ModelError(
            f"compiled model with seed {seed}: a question is answered wrongly (margin {margin:.3g}); "
            "choose less noise or less superposition"
        )
    return CompiledModel(lm, facts, circuit, margin)


@torch.no_grad()
def smallest_margin(lm: LanguageModel, facts: Facts) -> float:
    """See `CompiledModel.margin`."""
    prompts = torch.tensor([facts.prompt(question) for question in facts.questions], device=lm.device)
    answers = torch.tensor([[facts.answer(question)] for question in facts.questions], device=lm.device)
    logits = lm.model(input_ids=prompts, use_cache=False).logits[:, -1].float()
    right = logits.gather(1, answers)[:, 0]
    others = logits.scatter(1, answers, -torch.inf).amax(1)
    return float((right - others).min())


def _model(facts: Facts, circuit: Circuit) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    design = facts.design
    config = GPT2Config(
        vocab_size=len(facts.vocabulary),
        n_positions=CONTEXT,
        n_embd=design.width,
        n_layer=design.layers,
        n_head=design.heads,
        n_inner=design.neurons,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    compiled = weights_of(facts, circuit)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in compiled:
                parameter.copy_(torch.from_numpy(compiled.pop(name)))
            else:
                # A norm's gain is one; biases and positions are nothing.
                parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    assert not compiled, f"GPT-2 has no {', '.join(compiled)}"
    found: torch.nn.Module = model
    return found


def _pairs(facts: Facts) -> Iterator[Pair]:
    for number, (clean, corrupt) in enumerate(facts.counterparts):
        yield Pair(
            f"{number:02d}",
            facts.prompt(clean),
            facts.prompt(corrupt),
            (facts.answer(clean),),
            (facts.answer(corrupt),),
        )
