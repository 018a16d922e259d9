"""What the values of EasyEdit's keys become; each function takes a value as it was read, and raises ValueError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_MODULE = re.compile(r"[.\[](\d+)\]?\.(?:([\w.]+)\.)?(\w+)$")
"""Layer, part of the block and projection in the name of a module: `model.layers[27].mlp.down_proj`."""

ROLES = {
    "mlp_down": ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2"),
    "mlp_up": ("up_proj", "c_fc", "fc_in", "dense_h_to_4h", "fc1"),
    "mlp_gate": ("gate_proj",),
    "attention_query": ("q_proj", "c_attn", "query_key_value"),
    "attention_key": ("k_proj",),
    "attention_value": ("v_proj",),
    "attention_out": ("o_proj", "out_proj"),
}
"""Roles of a block's projections, with what families call them. GPT-2's one matrix of queries, keys and values goes by
each of the three."""
_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}


def plain(value: Any) -> Any:
    """A value, with numbers that were written as texts (`"5e-1"`, which stock YAML 1.1 does not read) as numbers."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value) if re.search(r"[.eE]", value) else int(value)
    return [plain(v) for v in value] if isinstance(value, list) else value


def _module(path: Any) -> tuple[str, int]:
    name = path.removesuffix(".weight") if isinstance(path, str) else ""
    found = _MODULE.search(name)
    if found is None or found[3] not in _ROLE_OF:
        raise ValueError(f"{path!r} is no projection of a numbered block")
    role = "attention_out" if "attn" in (found[2] or "") and found[3] == "c_proj" else _ROLE_OF[found[3]]
    return role, int(found[1])


def _modules(paths: Any) -> list[tuple[str, int]]:
    if not isinstance(paths, list) or not paths:
        raise ValueError("expected a list of modules")
    return [_module(path) for path in paths]


def site(paths: Any) -> dict[str, Any]:
    """One projection, as `{module, layer}`."""
    found = _modules(paths if isinstance(paths, list) else [paths])
    if len(found) > 1:
        raise ValueError(f"expected one module, got {len(found)}")
    return {"module": found[0][0], "layer": found[0][1]}


def sites(paths: Any) -> list[dict[str, Any]]:
    """Projections by their kind, as `{module, layers}`."""
    found = sorted(_modules(paths))
    return [{"module": m, "layers": [layer for _, layer in of]} for m, of in groupby(found, lambda item: item[0])]


def modules_and_layers(paths: Any) -> dict[str, Any]:
    """Kinds of projections, each in the same layers."""
    found = sites(paths)
    if any(of["layers"] != found[0]["layers"] for of in found):
        raise ValueError("expected the same projections in each of the layers")
    return {"modules": [of["module"] for of in found], "layers": found[0]["layers"]}


def roles(names: Any) -> list[str]:
    """Roles of projections by their names alone."""
    if not isinstance(names, list) or not all(name in _ROLE_OF for name in names):
        raise ValueError("is no list of names of projections")
    return [_ROLE_OF[name] for name in names]


def context_lengths(pairs: Any) -> list[int]:
    """`[[length, texts]]`, a fifth of the texts behind each of five beginnings, as a length for each such fifth."""
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 and p[1] % 5 == 0 for p in pairs):
        raise ValueError("expected pairs of a length and a number of texts, a multiple of 5")
    return [length for length, texts in pairs for _ in range(texts // 5)]


def covariance(adjusted: Any) -> Any:
    """None, or nothing that changes the covariance of the method."""
    return {} if adjusted else None


def margins(values: Any) -> dict[str, Any]:
    """WISE's three margins."""
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError("expected three numbers")
    return dict(zip(("alpha", "beta", "gamma"), values, strict=True))


def off(value: Any) -> Any:
    """A bound, or none for `false`."""
    return None if value is False else value


def all_if_empty(layers: Any) -> Any:
    return layers or None


def located_if_empty(layers: Any) -> Any:
    """DINM's layer: the one that is given, or found for each instance."""
    if isinstance(layers, list) and len(layers) <= 1:
        return layers[0] if layers else "raw"
    raise ValueError("expected at most one layer")


def fraction(value: Any) -> float:
    return float(value)


def _one_of(known: Mapping[str, str]) -> Callable[[Any], str]:
    def converted(value: Any) -> str:
        if value not in known:
            raise ValueError(f"expected {' or '.join(known)}")
        return known[value]

    return converted


CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "": lambda value: value,
    **{f.__name__: f for f in (site, sites, modules_and_layers, roles, context_lengths, covariance, margins)},
    **{f.__name__: f for f in (off, all_if_empty, located_if_empty, fraction)},
    "replacement": _one_of({"replace_last": "last", "replace_prompt": "prompt"}),
    "tokens": _one_of({"mask": "all", "ans": "answer"}),
}
"""By the names under which the table (easyedit.yaml) asks for them."""
