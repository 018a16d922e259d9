"""All specs within reach: the shipped ones, those of `--specs` folders, of `./specs`, and files named outright."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import Mark, Problem, SpecError, UsageError, closest, unknown
from ..kinds import KINDS
from .merge import INHERITED_NEVER, merged, subtree, without
from .tree import Tree, read_tree

SUFFIXES = (".yaml", ".yml", ".json")
SHIPPED = Path(str(files("benchwright.specs")))
"""Folder of the specs that ship with Benchwright."""
_NOT_SPECS = ("schema", "data")
"""Folders below a specs folder that hold something else."""


@dataclass(frozen=True)
class Entry:
    """A spec as written, before `extends` and `for_models`."""

    kind: str
    name: str
    file: Path
    tree: Tree
    shipped: bool

    @property
    def title(self) -> str:
        return str(self.tree.data.get("title", ""))


class Library:
    """Specs by kind and name. A file that cannot be read is kept in `broken` and fails only what needs it."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """`folders` are searched beside the shipped specs. Raises UsageError when one does not exist."""
        self.entries: dict[tuple[str, str], Entry] = {}
        self.broken: list[SpecError] = []
        read: set[Path] = set()
        for folder in (SHIPPED, *folders):
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder of specs")
            for file in spec_files(folder):
                if file.resolve() not in read:
                    read.add(file.resolve())
                    self._try_add(file, shipped=folder is SHIPPED)

    def _try_add(self, file: Path, shipped: bool) -> None:
        try:
            self.add(file, shipped)
        except SpecError as error:
            self.broken.append(error)

    def add(self, file: Path, shipped: bool = False) -> Entry:
        """Read a spec file into the library. Raises SpecError."""
        entry = self.entry_of(read_tree(file), file, shipped)
        tree = entry.tree
        taken = self.entries.setdefault((entry.kind, entry.name), entry)
        if taken is not entry:
            origin = "a built-in" if taken.shipped else "a"
            problem = Problem(
                tree.mark(("name",)), "name", f"{entry.name!r} is the name of {origin} {entry.kind} ({taken.file})",
                "expected a name of its own (to change a spec, write a new one that `extends` it)",
            )  # fmt: skip
            raise SpecError([problem])
        return entry

    @staticmethod
    def entry_of(tree: Tree, file: Path, shipped: bool = False) -> Entry:
        """An entry that is not in a library yet. Raises SpecError when it has no kind or name."""
        return Entry(*_head(tree, file), file, tree, shipped)

    def names(self, kind: str) -> list[str]:
        """Sorted names of a kind."""
        return sorted(name for k, name in self.entries if k == kind)

    def get(self, kind: str, name: str, wanted_at: tuple[Mark, str] | None = None) -> Entry:
        """The spec called `name`. Raises SpecError at the place that wants it, or UsageError without one."""
        if (kind, name) in self.entries:
            return self.entries[kind, name]
        also = "".join(f"\n(a file that could not be read: {e})" for e in self.broken)
        if wanted_at is None:
            raise UsageError(unknown(kind, name, self.names(kind)) + also)
        mark, field = wanted_at
        near = closest(name, self.names(kind))
        expected = "" if near else f"known: {', '.join(self.names(kind)) or 'none'}"
        raise SpecError([Problem(mark, field, f"unknown {kind} {name!r}", expected + also, near)])

    def lineage(self, entry: Entry) -> list[Entry]:
        """The spec and those that it extends, nearest first. Raises SpecError for a cycle or an unknown parent."""
        chain = [entry]
        while (parent := chain[-1].tree.data.get("extends")) is not None:
            at = (chain[-1].tree.mark(("extends",)), "extends")
            if not isinstance(parent, str):
                raise SpecError([Problem(*at, f"got {parent!r}", f"expected the name of a {entry.kind}")])
            known = self.get(entry.kind, parent, at)
            if known in chain:
                names = " -> ".join(e.name for e in [*chain, known])
                raise SpecError([Problem(*at, f"cycle {names}", "expected a spec that ends the chain")])
            chain.append(known)
        return chain

    def full_tree(self, entry: Entry) -> Tree:
        """The spec with `extends` carried out, `for_models` still in it."""
        chain = self.lineage(entry)
        tree = chain[-1].tree
        for child in reversed(chain[:-1]):
            tree = merged(without(tree, *INHERITED_NEVER), child.tree)
        return without(tree, "extends")

    def resolved_tree(self, entry: Entry, model_names: Sequence[str] = ()) -> Tree:
        """The spec with `extends` and `for_models` carried out.

        Each spec of the chain comes with its own `for_models` laid on it, so that what a child says outright is not
        undone by what its parent says for a model. `model_names`: the model's name and the names it extends, nearest
        first; the entries of all of them are laid on, the nearest last.
        """
        chain = self.lineage(entry)[::-1]
        result = self._for_models(chain[0], chain[0].tree, model_names)
        for child in chain[1:]:
            result = merged(without(result, *INHERITED_NEVER), self._for_models(child, child.tree, model_names))
        return without(result, "extends")

    def _for_models(self, entry: Entry, tree: Tree, model_names: Sequence[str]) -> Tree:
        """One spec of a chain with its own `for_models` carried out, and so gone."""
        special = tree.data.get("for_models", {})
        if special and entry.kind != "method":
            wrong = Problem(
                tree.keys[("for_models",)], "for_models", "only methods differ by model", f"a {entry.kind} cannot"
            )
            raise SpecError([wrong])
        if not isinstance(special, dict) or not all(isinstance(v, dict) for v in special.values()):
            wrong = Problem(
                tree.mark(("for_models",)), "for_models", "not a map of maps", "expected `MODEL: {field: …}`"
            )
            raise SpecError([wrong])
        result = without(tree, "for_models")
        for name in reversed(model_names):
            if name in special:
                result = merged(result, subtree(tree, ("for_models", name)))
                result.marks[()] = tree.marks[()]
        return result


def within_reach(specs: Sequence[str | Path] = ()) -> Library:
    """The shipped specs, those of the folders `specs`, and those of `./specs` unless it is the shipped one."""
    folders = [Path(f) for f in specs]
    here = Path("specs")
    if not specs and here.is_dir() and here.resolve() != SHIPPED.resolve() and not (here / "__init__.py").exists():
        folders.append(here)
    found = Library(folders)
    for error in found.broken:
        warnings.warn(f"cannot be used:\n{error}", stacklevel=2)
    return found


def spec_files(folder: Path) -> list[Path]:
    """Files below `folder` that are specs by their name, in a stable order."""
    found = (f for f in folder.rglob("*") if f.suffix in SUFFIXES and f.is_file())
    return sorted(f for f in found if f.relative_to(folder).parts[0] not in _NOT_SPECS)


def _head(tree: Tree, file: Path) -> tuple[str, str]:
    """Kind and name of a spec. Raises SpecError when there are none."""
    if not isinstance(tree.data, dict):
        raise SpecError([Problem(Mark(str(file)), "", "not a map", "expected `kind:`, `name:` and the spec's fields")])
    kind, name = tree.data.get("kind"), tree.data.get("name")
    found = []
    if kind not in KINDS:
        wrong = "missing" if kind is None else f"unknown kind {kind!r}"
        expected = f"expected one of {', '.join(KINDS)}"
        found.append(Problem(tree.mark(("kind",)), "kind", wrong, expected, closest(kind, KINDS) if kind else ""))
    if not isinstance(name, str) or not name:
        wrong = "missing" if name is None else f"got {name!r}"
        found.append(Problem(tree.mark(("name",)), "name", wrong, "expected lower-case letters, digits, . _ -"))
    if found:
        raise SpecError(found)
    return str(kind), str(name)
