"""Where the parts of a transformer are, found in the module tree by the names that each family uses."""

from __future__ import annotations

from typing import Any

from ...errors import ModelError, Skip

MLP_DOWN = ("mlp.down_proj", "mlp.c_proj", "mlp.fc_out", "mlp.dense_4h_to_h", "mlp.fc2", "fc2")
"""The MLP's output projection inside a block: Llama, Mistral, Qwen, Gemma; GPT-2; GPT-J; GPT-NeoX; Phi; OPT."""


def blocks(model: Any) -> tuple[str, Any]:
    """Name and `ModuleList` of the transformer blocks. Raises ModelError when it is not clear which they are."""
    count = model.config.num_hidden_layers
    found = [
        (name, module)
        for name, module in model.named_modules()
        if type(module).__name__ == "ModuleList" and len(module) == count
    ]
    if len(found) != 1:
        raise ModelError(f"{type(model).__name__}: cannot tell which of its {len(found)} module lists are the blocks")
    return found[0]


def mlp_down(model: Any, layer: int) -> tuple[str, Any]:
    """Full name and module of the MLP output projection of block `layer`. Raises Skip, ModelError."""
    name, modules = blocks(model)
    if not 0 <= layer < len(modules):
        raise Skip(f"layer {layer} does not exist; the model has layers 0 to {len(modules) - 1}")
    inside = dict(modules[layer].named_modules())
    for candidate in MLP_DOWN:
        if candidate in inside:
            return f"{name}.{layer}.{candidate}", inside[candidate]
    raise ModelError(
        f"{type(model).__name__}: no MLP output projection found in block {layer} (known: {', '.join(MLP_DOWN)})"
    )
