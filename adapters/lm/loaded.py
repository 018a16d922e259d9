"""A `transformers` model that somebody loaded already, as a language model that can be edited."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...canonical import digest
from ...errors import ModelError
from ...job import fingerprint
from .model import LanguageModel
from .usable import EditedModel

LOAN = "_benchwright_loan"
"""Under which a lent model knows of its loan."""
IN_FORCE = "_benchwright_in_force"
"""Under which a model knows whose edits are in it for plain calls; who keeps the model keeps what holds them, too."""


def check_free(network: Any, who: object = None) -> None:
    """Raises ModelError where the edits of somebody else than `who` are in force in a model."""
    if network.__dict__.get(IN_FORCE) not in (None, who):
        raise ModelError("model: the edits of an earlier call are in force in it; `close` that one first")


@dataclass(eq=False)
class Loan:
    """A model that was handed over loaded, for one `edit` or several that are open together."""

    modes: list[tuple[torch.nn.Module, bool]]
    gradients: list[tuple[torch.nn.Parameter, bool]]
    """How it was when it was lent."""
    count: int = 0


def opened(model: Any) -> tuple[LanguageModel, Callable[[], None]]:
    """The language model, and what gives a borrowed one back as it was: its modes and its need of gradients.

    `model`: `(model, tokenizer)`, or what `load_edited` gave. Raises ModelError.
    """
    if isinstance(model, EditedModel):
        return model.lm, lambda: None
    if isinstance(model, LanguageModel):
        return model, lambda: None
    if not isinstance(model, tuple) or len(model) != 2:
        kind = type(model).__name__
        raise ModelError(f"model: got {kind}; expected a name, a folder, or (model, tokenizer), both of transformers")
    network, tokenizer = model
    if not isinstance(network, torch.nn.Module) or not hasattr(network, "get_input_embeddings"):
        raise ModelError(f"model: got {type(network).__name__}; expected a causal language model of transformers")
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"tokenizer: got {type(tokenizer).__name__}; expected a fast one (character offsets are needed)"
        )
    loan: Loan = network.__dict__.get(LOAN) or Loan(
        [(module, module.training) for module in network.modules()],
        [(p, p.requires_grad) for p in network.parameters()],
    )
    check_free(network)
    loan.count += 1
    network.__dict__[LOAN] = loan
    open_ = [loan]

    def give_back() -> None:
        if not open_:
            return
        open_.pop().count -= 1
        if loan.count == 0:
            for module, training in loan.modes:
                module.training = training
            for parameter, wanted in loan.gradients:
                parameter.requires_grad_(wanted)
            del network.__dict__[LOAN]

    return LanguageModel(network, tokenizer), give_back


def names_for(lm: LanguageModel) -> list[str]:
    """Names under which a method may have settings for it: the last part of where it was loaded from."""
    name = Path(str(getattr(lm.model.config, "_name_or_path", "") or "loaded-model")).name
    return [re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "loaded-model"]


def state_of_loaded(lm: LanguageModel) -> str:
    """Fingerprint of its state, from every number in it: what is kept of the untouched model belongs to this one."""
    found = hashlib.blake2b(digest_size=16)
    tensors = [*lm.model.named_parameters(), *lm.model.named_buffers()]
    for name, tensor in tensors:
        found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    about = [
        found.hexdigest(),
        lm.model.config.to_json_string(),
        lm.tokenizer.backend_tokenizer.to_str(),
        lm.chat,
        [patch.digest() for patch in lm.around],
    ]
    dtype = str(next(lm.model.parameters()).dtype)
    return fingerprint(digest(about), {"loaded": True}, dtype, lm.device.type, torch.get_num_threads())
