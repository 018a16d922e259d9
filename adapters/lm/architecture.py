"""Where the parts of a transformer are, found in its module tree by the names that each family uses.

Known: GPT-2, GPT-J, GPT-NeoX (Pythia), OPT, Llama, Mistral, Qwen 2 and 3, Gemma, Phi, and whatever names its parts as
one of them does. Nothing asks for a model's type: a new family needs at most a name in a table below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ...errors import ModelError, Skip

PARTS = {
    "attention": ("self_attn", "attn", "attention"),
    "attention_out": ("o_proj", "out_proj", "dense", "c_proj"),
    "mlp": ("mlp",),
    "mlp_up": ("up_proj", "gate_up_proj", "c_fc", "fc_in", "dense_h_to_4h", "fc1"),
    "mlp_gate": ("gate_proj",),
    "mlp_down": ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2"),
}
"""Names of a block's parts. Projections are inside `attention` or `mlp`; OPT has its MLP's directly in the block."""

ATTENTION_INPUTS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn")
"""The projections to queries, keys and values; one where a family keeps the three in one matrix."""

NORMS = ("norm", "ln_", "layernorm")
"""What the name of a normalisation contains."""


@dataclass(frozen=True)
class Linear:
    """A projection y = W x + b."""

    name: str
    module: Any
    transposed: bool
    """Whether the weight is stored as (inputs, outputs), as GPT-2's Conv1D does, and not as (outputs, inputs)."""

    @property
    def weight_name(self) -> str:
        """Name of the weight among the model's parameters."""
        return f"{self.name}.weight"

    def stored(self, matrix: Any) -> Any:
        """A matrix of shape (outputs, inputs) in the way the weight is stored, and back."""
        return matrix.T if self.transposed else matrix


_SEEN: WeakKeyDictionary[Any, dict[str, tuple[str, Any]]] = WeakKeyDictionary()
"""Where parts of a model were found: looking through all of its modules takes longer than a pass of a small one."""


def _remembered(model: Any, what: str, find: Callable[[], tuple[str, Any]]) -> tuple[str, Any]:
    """What `find` finds, from an earlier call where that module still stands there."""
    seen = _SEEN.setdefault(model, {})
    name, module = seen.get(what, ("", None))
    if module is None or model.get_submodule(name) is not module:
        seen[what] = find()
    return seen[what]


def blocks(model: Any) -> tuple[str, Any]:
    """Name and `ModuleList` of the transformer blocks. Raises ModelError when it is not clear which they are."""
    return _remembered(model, "blocks", lambda: _blocks(model))


def _blocks(model: Any) -> tuple[str, Any]:
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if type(module).__name__ == "ModuleList" and len(module) == count and _part(module[0], "attention")
    ]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: cannot tell which of its module lists are the {count} blocks "
            f"(a block has a module called {', '.join(PARTS['attention'])})"
        )
    return found[0]


def block(model: Any, layer: int) -> tuple[str, Any]:
    """Full name and module of block `layer`. Raises Skip for a layer that the model does not have."""
    name, modules = blocks(model)
    if not 0 <= layer < len(modules):
        raise Skip(
            f"layer {layer} does not exist; the model has layers 0 to {len(modules) - 1}: the method's settings are "
            "for another one (`for_models` in its spec, or --settings, say whose to take)"
        )
    return f"{name}.{layer}", modules[layer]


def part(model: Any, layer: int, role: str) -> tuple[str, Any]:
    """Full name and module of a part of a block, by its role in `PARTS`. Raises Skip, ModelError."""
    name, inside = block(model, layer)
    found = _part(inside, role)
    if not found:
        raise ModelError(f"{type(model).__name__}: block {layer} has no {role} (known names: {', '.join(PARTS[role])})")
    return f"{name}.{found}", inside.get_submodule(found)


def linear(model: Any, layer: int, role: str) -> Linear:
    """A projection of a block: `attention_out`, `mlp_up`, `mlp_gate`, `mlp_down`. Raises Skip, ModelError."""
    name, module = part(model, layer, role)
    return _linear(name, module)


def attention_inputs(model: Any, layer: int) -> list[Linear]:
    """The projections to queries, keys and values of a block. Raises Skip, ModelError."""
    name, module = part(model, layer, "attention")
    inside = dict(module.named_modules())
    found = [_linear(f"{name}.{n}", inside[key]) for n in ATTENTION_INPUTS for key in inside if key.split(".")[-1] == n]
    if not found:
        raise ModelError(f"{type(model).__name__}: the attention of block {layer} has no known input projection")
    return found


def norms(model: Any, layer: int) -> list[tuple[str, Any]]:
    """Names and modules of a block's normalisations, in the order of its module tree."""
    name, inside = block(model, layer)
    return [
        (f"{name}.{child}", module) for child, module in inside.named_children() if any(word in child for word in NORMS)
    ]


def final_norm(model: Any) -> tuple[str, Any]:
    """Name and module of the normalisation after the last block. Raises ModelError."""
    parent, _, _ = blocks(model)[0].rpartition(".")
    holder = model.get_submodule(parent)
    found = [n for n, _ in holder.named_children() if any(word in n for word in NORMS)]
    if len(found) != 1:
        raise ModelError(f"{type(model).__name__}: no normalisation found after the last block")
    return f"{parent}.{found[0]}", holder.get_submodule(found[0])


def head(model: Any) -> tuple[str, Any]:
    """Name and module of the projection to the vocabulary. Raises ModelError."""
    wanted = model.get_output_embeddings()
    found = _remembered(model, "head", lambda: _named(model, wanted, "output head"))
    return found if found[1] is wanted else _named(model, wanted, "output head")


def embeddings(model: Any) -> tuple[str, Any]:
    """Name and module of the token embeddings. Raises ModelError."""
    return _named(model, model.get_input_embeddings(), "token embedding")


def _named(model: Any, wanted: Any, what: str) -> tuple[str, Any]:
    for name, module in model.named_modules():
        if module is wanted and wanted is not None:
            return name, module
    raise ModelError(f"{type(model).__name__}: has no {what}")


def _part(inside: Any, role: str) -> str:
    """Name of a part inside a block, or an empty string."""
    holder, _, kind = role.partition("_")
    children = {n for n, _ in inside.named_modules()}
    if not kind:
        return next((n for n in PARTS[role] if n in children), "")
    return next((n for n in _candidates(holder, role) if n in children), "")


def _candidates(holder: str, role: str) -> Iterator[str]:
    for outer in (*PARTS[holder], ""):
        for name in PARTS[role]:
            # GPT-Neo keeps its attention one level deeper.
            inner = (f"{outer}.{name}", f"{outer}.attention.{name}") if outer else (name,)
            yield from inner if holder == "attention" else inner[:1]


def _linear(name: str, module: Any) -> Linear:
    """Raises Skip for quantised weights: a change of a weight that is stored in blocks of integers is not a sum."""
    weight = getattr(module, "weight", None)
    kind = type(module).__name__
    if weight is None or not weight.is_floating_point() or weight.element_size() < 2 or weight.dim() != 2:
        raise Skip(
            f"{name} ({kind}) holds quantised weights, which an editor of weights cannot change; use bf16 or more"
        )
    return Linear(name, module, transposed=kind == "Conv1D")
