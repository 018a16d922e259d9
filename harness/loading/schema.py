"""JSON Schemas for editors. Partial: a child file that `extends` another may say only what differs.

Nothing is required but `kind` and `name`; unknown fields are still underlined, values are still checked.
"""

from __future__ import annotations

from typing import Any

from ..kinds import KINDS
from ..registry import registry

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: str) -> dict[str, Any]:
    """The partial schema of one kind, its building blocks those that were discovered."""
    full = registry().kinds[kind].model_json_schema()
    partial = _partial(full)
    partial["properties"]["extends"] = {
        "type": "string",
        "description": f"The {kind} whose fields this one takes over and changes.",
    }
    if kind == "method":
        loose = {
            name: value for name, value in partial["properties"].items() if name not in ("kind", "name", "extends")
        }
        special = {"type": "object", "properties": loose, "additionalProperties": False}
        partial["properties"]["for_models"] = {
            "type": "object",
            "description": "What differs for a model, by the model's name.",
            "additionalProperties": special,
        }
    return {"$schema": _DIALECT, **partial, "required": ["kind", "name"]}


def any_schema() -> dict[str, Any]:
    """One schema for a file of any kind."""
    return {"$schema": _DIALECT, "oneOf": [schema(kind) for kind in KINDS]}


def _partial(value: Any) -> Any:
    """Drop `required`; a union of building blocks becomes `anyOf`, since a partial block may fit several."""
    if isinstance(value, list):
        return [_partial(v) for v in value]
    if not isinstance(value, dict):
        return value
    result = {k: _partial(v) for k, v in value.items() if k not in ("required", "discriminator")}
    if "discriminator" in value:
        result["anyOf"] = result.pop("oneOf")
    return result
