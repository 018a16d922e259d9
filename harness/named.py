"""Specs that a model's source names: the base of an edited model, the method that edited it, the task of its requests.

They are resolved with the plan, their content (never their names) enters the identity of every cell that opens the
model, and the source finds them in `Opening.named` under the field that named them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .canonical import digest
from .components import SPEC_NAMES, marked
from .errors import SpecError
from .loading.library import Library
from .loading.models import model_spec
from .loading.resolve import Resolved, data_files, data_root, identity, resolve, resolved_json

DigestOf = Callable[[Path], str]


@dataclass(frozen=True)
class NamedSpec:
    """A named spec, resolved, with what it needs in turn."""

    resolved: Resolved
    weights: str
    """Fingerprint of a model, with what its source names; empty for other kinds."""
    files: Mapping[str, Path]
    named: Mapping[str, NamedSpec]

    def identity(self, digest_of: DigestOf) -> dict[str, Any]:
        """What can change a result: the spec, its weights, its data, and those of what it names."""
        data = {field: digest_of(file) for field, file in self.files.items()}
        return {**identity(self.resolved.spec), "weights": self.weights, "data": data}

    def to_json(self) -> dict[str, Any]:
        """For a worker."""
        return {
            "kind": self.resolved.entry.kind,
            "spec": resolved_json(self.resolved.spec),
            "weights": self.weights,
            "files": {field: str(file) for field, file in self.files.items()},
            "named": {field: n.to_json() for field, n in self.named.items()},
        }


def named_by(library: Library, model: Resolved, digest_of: DigestOf, above: Sequence[str] = ()) -> dict[str, NamedSpec]:
    """The specs that a model's source names, by field. Raises SpecError for an unknown name or a cycle."""
    source = model.spec.source
    fields = {f: kind for kind, mark in SPEC_NAMES.items() for f in marked(type(source), mark)}
    found: dict[str, NamedSpec] = {}
    lineage: tuple[str, ...] = model.lineage
    root: Path | None = None
    # Models first, since a method is resolved as it is for the base model; then tasks, whose data it may read.
    order = ("model", "task", "method")
    for field, kind in sorted(fields.items(), key=lambda item: order.index(item[1])):
        name = getattr(source, field)
        path = ("source", field)
        if kind == "model":
            if name in (*above, model.name):
                cycle = " -> ".join([*above, model.name, name])
                raise SpecError([model.problem(path, f"cycle {cycle}", "expected a model that ends the chain")])
            inner = model_spec(library, name)
            deeper = named_by(library, inner, digest_of, (*above, model.name))
            lineage = names_of(inner, deeper)
            found[field] = NamedSpec(inner, weights_of(inner, deeper, digest_of), {}, deeper)
        else:
            entry = library.get(kind, name, (model.tree.mark(path), ".".join(path)))
            inner = resolve(library, entry, lineage if kind == "method" else ())
            if kind == "task":
                root = data_root(inner, None)
            remedy = inner.spec.data_help if kind == "task" else ""
            found[field] = NamedSpec(inner, "", data_files(inner, root, remedy), {})
    return found


def names_of(model: Resolved, named: Mapping[str, NamedSpec]) -> tuple[str, ...]:
    """Names under which a method may have settings for a model (`for_models`), nearest first: its own, those it
    extends, and those of the models that its source names; an edited model is edited as its base is."""
    below = (n for n in named.values() if n.resolved.entry.kind == "model")
    return (*model.lineage, *(name for n in below for name in names_of(n.resolved, n.named)))


def weights_of(model: Resolved, named: Mapping[str, NamedSpec], digest_of: DigestOf) -> str:
    """The fingerprint of a model's weights, what its source names included. Raises ModelError."""
    own: str = model.spec.source.fingerprint(digest_of)
    if not named:
        return own
    return digest([own, identity(model.spec.source), {f: n.identity(digest_of) for f, n in named.items()}])
