"""One forward pass over rows of unlike lengths, with logits only where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .architecture import head
from .model import LanguageModel

Tokens = Sequence[int]


def padded(rows: Sequence[Tokens], device: torch.device, *, left: bool = False) -> dict[str, torch.Tensor]:
    """Inputs of shape (rows, longest), padded at the right: in a causal model no token sees what stands behind it.

    Positions come from the mask, so that a model with absolute positions counts real tokens only, on either side.
    """
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return {name: value.to(device) for name, value in inputs.items()}


def logits_at(
    lm: LanguageModel,
    rows: Sequence[Tokens],
    places: Sequence[Sequence[int]],
    prompt_ends: Sequence[int],
    owners: Sequence[int] | None = None,
    weights: dict[str, torch.Tensor] | None = None,
    behind: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> torch.Tensor:
    """Logits in float32, shape (all places, vocabulary): of row 0 at `places[0]`, of row 1 at `places[1]` and so on.

    `prompt_ends`: last token of each row's prompt; `owners`: which of several stacked patches each row belongs to;
    `weights`: tensors to use in place of parameters; `behind`: makes of the model's inputs those of rows that follow
    something (see prefixes.py). The projection to the vocabulary, most of the cost of a small
    model, is computed at these places alone.
    """
    inputs: dict[str, Any] = {**padded(rows, lm.device), "use_cache": False}
    inputs = behind(inputs) if behind else inputs
    with lm.asking(prompt_ends, owners or [0] * len(rows)), only_at(lm, places):
        if weights is None:
            logits = lm.model(**inputs).logits
        else:
            logits = torch.func.functional_call(lm.model, weights, args=(), kwargs=inputs).logits
    return logits[0].float()


@contextmanager
def only_at(lm: LanguageModel, places: Sequence[Sequence[int]]) -> Iterator[None]:
    """Inside `with`, the head sees the hidden states of these places alone, as one row of shape (1, places, width)."""
    rows = torch.tensor([i for i, found in enumerate(places) for _ in found])
    columns = torch.tensor([column for found in places for column in found])

    def gather(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)][None], *args[1:])

    handle = head(lm.model)[1].register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


class _Enough(Exception):
    """Ends a forward pass when everything that was asked for has been seen."""


@torch.no_grad()
def recorded(
    lm: LanguageModel,
    rows: Sequence[Tokens],
    modules: Sequence[str],
    prompt_ends: Sequence[int] | None = None,
    owners: Sequence[int] | None = None,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Input and output of modules, by name, each of shape (rows, longest, width); padding at the right.

    The pass ends behind the last of them: what lies above is not computed. `owners`: which of several stacked patches
    each row belongs to.
    """
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = args[0] if args else kwargs["hidden_states"]
            found[name] = (by_row(given, len(rows)), by_row(tensor_of(output), len(rows)))
            if len(found) == len(modules):
                raise _Enough

        return hook

    # Hooks of inserted modules were registered earlier, so what is kept is what the patched model computes.
    handles = [lm.model.get_submodule(n).register_forward_hook(keep(n), with_kwargs=True) for n in modules]
    ends = prompt_ends or [len(row) - 1 for row in rows]
    try:
        with lm.asking(ends, owners or [0] * len(rows)):
            lm.model(**padded(rows, lm.device), use_cache=False)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def listening(lm: LanguageModel, modules: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Inside `with`, hidden states that modules put out in the last pass, by name, with their gradients.

    Not transformers' own `output_hidden_states`, which leaves hooks in the model.
    """
    heard: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            heard[name] = tensor_of(output)

        return hook

    handles = [lm.model.get_submodule(name).register_forward_hook(keep(name)) for name in modules]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def by_row(hidden: torch.Tensor, rows: int) -> torch.Tensor:
    """Shape (rows, positions, width) of what OPT's MLP sees as (rows × positions, width)."""
    return hidden.reshape(rows, -1, hidden.shape[-1])


def tensor_of(output: Any) -> torch.Tensor:
    """The hidden states of a module's output; blocks of some families return them first in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def replaced(output: Any, hidden: torch.Tensor) -> Any:
    """`output` with other hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
