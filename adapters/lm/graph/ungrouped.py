"""A model whose query heads share keys and values, with keys and values of their own for each query head.

Codes on split copies of a model have an edge into the keys and values of each query head; the model itself computes
them once for a group. The ungrouped model says the same, and its wiring has `kv_heads == heads`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ....errors import ModelError
from .. import architecture as parts
from ..model import LanguageModel
from .finding import wiring_of
from .wiring import Layer, Projection, Wiring


@contextmanager
def wired(lm: LanguageModel, keys_and_values: str) -> Iterator[Wiring]:
    """The wiring of a model `grouped`, as it is, or `per_query_head`; inside `with` the model is changed to that.

    Takes (group − 1) / group of the ungrouped projections' memory more. Raises ModelError for a model that shares
    heads and cannot be ungrouped.
    """
    wiring = wiring_of(lm)
    if keys_and_values == "grouped" or wiring.graph.group == 1:
        yield wiring
        return
    config = lm.model.config.get_text_config()
    with ExitStack() as changed:
        for number, layer in enumerate(wiring.layers):
            changed.enter_context(_ungrouped(lm, number, layer, wiring.graph.group))
        changed.enter_context(_set(config, "num_key_value_heads", wiring.graph.heads))
        yield wiring_of(lm)


@contextmanager
def _ungrouped(lm: LanguageModel, number: int, layer: Layer, group: int) -> Iterator[None]:
    name, attention = parts.part(lm.model, number, "attention")
    kind = f"{type(lm.model).__name__}: block {number}"
    if not hasattr(attention, "num_key_value_groups"):
        raise ModelError(f"{kind} does not say how its heads share keys and values; choose keys_and_values: grouped")
    with ExitStack() as changed:
        for letter in "kv":
            projection = layer.projections[letter]
            if projection.module is layer.projections["q"].module:
                raise ModelError(
                    f"{kind} has queries, keys and values in one projection ({projection.name}), which is not "
                    "ungrouped here; choose keys_and_values: grouped"
                )
            module = projection.module
            if type(module) is not torch.nn.Linear or module._forward_hooks or module._forward_pre_hooks:
                raise ModelError(
                    f"{projection.name} is no plain projection (a patch may have changed it), and is not ungrouped; "
                    "choose keys_and_values: grouped"
                )
            inside = projection.name.removeprefix(f"{name}.")
            changed.enter_context(_set(attention, inside, _repeated(projection, group)))
        changed.enter_context(_set(attention, "num_key_value_groups", 1))
        yield


def _repeated(projection: Projection, group: int) -> Any:
    """The projection with each head `group` times, in the order of the query heads."""
    old = projection.module
    new = torch.nn.Linear(old.in_features, old.out_features * group, bias=old.bias is not None, device="meta")
    weight = projection.weight.repeat_interleave(group, 0).flatten(0, 1)
    new.weight = torch.nn.Parameter(weight, requires_grad=False)
    if old.bias is not None:
        new.bias = torch.nn.Parameter(projection.bias.repeat_interleave(group, 0).flatten(), requires_grad=False)
    return new.eval()


@contextmanager
def _set(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Another attribute inside `with`."""
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)
