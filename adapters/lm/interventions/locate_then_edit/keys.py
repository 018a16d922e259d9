"""What goes into a projection, and what comes out of a module, at the subject's last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...architecture import block, linear
from ...forward import recorded
from ...model import LanguageModel
from .contexts import Filled


@dataclass(frozen=True)
class Reading:
    """Of some requests, each in the same contexts."""

    keys: torch.Tensor
    """Inputs of the projection, shape (requests, contexts, inputs), float32."""
    outputs: torch.Tensor
    """Outputs of the module whose output the value replaces, shape (requests, contexts, width), float32."""
    groups: tuple[int, ...]
    """Sizes of the groups that the contexts fall into, in their order."""

    def of(self, chosen: Sequence[int]) -> Reading:
        """Of some of the requests."""
        return Reading(self.keys[list(chosen)], self.outputs[list(chosen)], self.groups)

    @property
    def grouped_keys(self) -> torch.Tensor:
        """Mean over groups of the mean in each group, shape (requests, inputs): a group of many weighs as one."""
        return torch.stack([group.mean(1) for group in self.keys.split(self.groups, dim=1)]).mean(0)


def moved(lm: LanguageModel, at: str, layer: int) -> list[str]:
    """Names of the modules to whose outputs a value adds, in the order in which they are computed."""
    # The last projection of a part puts out what the part does, also where a family has no module for the whole of it.
    roles = {"mlp": ["mlp_down"], "attention_and_mlp": ["attention_out", "mlp_down"]}
    return [linear(lm.model, layer, role).name for role in roles[at]] if at in roles else [block(lm.model, layer)[0]]


def place(lm: LanguageModel, at: str, layer: int) -> str:
    """Name of the module whose output a value replaces: the MLP's, or a whole block's."""
    return moved(lm, at, layer)[-1]


def read(
    lm: LanguageModel,
    filled: Sequence[Filled],
    groups: tuple[int, ...],
    projection: str,
    output: str,
    owners: Sequence[int],
    batch_size: int,
) -> Reading:
    """Read the model as it is now, in batches of `batch_size` requests.

    `owners`: which of several stacked patches each request belongs to.
    """
    keys: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    for start in range(0, len(filled), batch_size):
        some, whose = filled[start : start + batch_size], owners[start : start + batch_size]
        rows = [row.prompt for f in some for row in f.rows]
        columns = torch.tensor([column for f in some for column in f.subject])
        row_owners = [o for f, o in zip(some, whose, strict=True) for _ in f.rows]
        found = recorded(lm, rows, list(dict.fromkeys([projection, output])), owners=row_owners)
        every = torch.arange(len(rows))
        for into, tensor in ((keys, found[projection][0]), (outputs, found[output][1])):
            at_subject = tensor[every.to(tensor.device), columns.to(tensor.device)].float()
            into.append(at_subject.reshape(len(some), -1, tensor.shape[-1]))
    return Reading(torch.cat(keys), torch.cat(outputs), groups)
