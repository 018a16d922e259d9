"""From a request to its neurons, and to what they write instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .....errors import Skip
from ...architecture import embeddings, head, linear
from ...graph.values import last_logits
from ...graph.wiring import Wiring
from ...inside.neurons import attribution, knowledge_neurons
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...scoring import Unusable, encode, tokenised
from ..locate_then_edit.spread import as_stored

if TYPE_CHECKING:
    from .params import EditNeurons


@dataclass(frozen=True)
class Question:
    """A request, tokenised."""

    prompts: tuple[tuple[int, ...], ...]
    """The prompt in each context, the bare one first."""
    old: tuple[int, ...]
    """Tokens whose probability is attributed."""
    new: tuple[int, ...]
    """Tokens that shall be said."""


def asked(lm: LanguageModel, request: EditRequest, templates: tuple[str, ...], variant: str) -> Question:
    """Tokenise a request. Raises Unusable, also where it does not say what the old answer is."""
    if not request.target_true:
        raise Unusable("the old answer is not known (`ground_truth`); neurons are found by it")
    prompts = [t.replace("{}", request.prompt) for t in templates]
    rows = tuple(encode(lm, prompt, request.target_new) for prompt in prompts)
    old = encode(lm, request.prompt, request.target_true).target[:1]
    new = rows[0].target[:1]
    if variant == "easyedit":
        old, new = (tuple(tokenised(lm, answer)[0]) for answer in (request.target_true, request.target_new))
    return Question(tuple(row.prompt for row in rows), old, new)


def edited(method: EditNeurons, wiring: Wiring, question: Question) -> Patch:
    """What changes the model as it is now; see EditNeurons."""
    plain = method.variant == "easyedit"
    votes = torch.zeros(1)
    for prompt in question.prompts:
        tokens, old = (torch.tensor([ids], device=wiring.lm.device) for ids in (prompt, question.old))
        found = attribution(wiring, tokens, old, method.steps, method.batch_size, raw=plain)
        votes = votes + knowledge_neurons(found, method.threshold)[0].cpu()
    inputs = linear(wiring.lm.model, 0, "mlp_down")
    if votes.shape[-1] != inputs.stored(inputs.module.weight).shape[1]:
        raise Skip(f"{inputs.name} reads other neurons than there are before the activation; use variant paper")
    kept = votes >= (1 if plain else method.share * len(question.prompts))
    instead = _plain(wiring, question) if plain else None
    patch = Patch()
    for layer, neurons in enumerate(kept):
        (columns,) = neurons.nonzero(as_tuple=True)
        if not len(columns):
            continue
        projection = linear(wiring.lm.model, layer, "mlp_down")
        weight = projection.stored(projection.module.weight.detach()).float()
        columns = columns.to(weight.device)
        writes = weight[:, columns]
        change = (
            instead[:, None].expand_as(writes) if instead is not None else _scaled(method, wiring, question, writes)
        )
        chosen = torch.nn.functional.one_hot(columns, weight.shape[1]).to(change)
        patch = patch.then(Patch({projection.weight_name: as_stored(projection, (change, chosen))}))
    return patch


def _scaled(method: EditNeurons, wiring: Wiring, question: Question, writes: torch.Tensor) -> torch.Tensor:
    """What to add to what neurons write, shape (width, neurons), by directions as long as each of them.

    The rows of the output head are the directions: those of the paper's BERT are its word embeddings.
    """
    rows = head(wiring.lm.model)[1].weight.detach().float()
    said = int(last_logits(wiring, torch.tensor([question.prompts[0]], device=wiring.lm.device)).argmax())
    old, new = (rows[token].to(writes) for token in (said, question.new[0]))
    direction = method.more * new / new.norm() - method.less * old / old.norm()
    return direction[:, None] * writes.norm(dim=0)


def _plain(wiring: Wiring, question: Question) -> torch.Tensor:
    """The same as EasyEdit has it, for every neuron, shape (width,)."""
    lm, rows = wiring.lm, embeddings(wiring.lm.model)[1].weight.detach().float()
    tokens, said = list(question.prompts[0]), []
    for _ in question.new:
        said.append(int(last_logits(wiring, torch.tensor([tokens], device=lm.device)).argmax()))
        tokens.append(said[-1])
    often = 2 if len(question.new) == 1 else 1
    return often * (rows[list(question.new)].sum(0) - rows[said].sum(0))
