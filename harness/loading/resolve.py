"""From a name to a checked spec: `extends`, `for_models`, strict validation, checks across specs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ..components import DATA_FILE, DATA_FOLDER, LEARNED_FROM, NOT_IDENTITY, SPEC_NAMES, FieldMark, marked
from ..errors import DataError, Problem, SpecError, closest, unknown
from ..kinds import AnySpec, MethodSpec, ModelSpec, ReferenceSpec, SuiteSpec, TaskSpec
from ..registry import registry
from . import references
from .library import SHIPPED, Entry, Library
from .problems import problems
from .tree import Path_, Tree, dotted

BUILTIN_DATA, HUB_DATA = "builtin:", "hub"


@dataclass(frozen=True)
class Resolved:
    """A checked spec and the places where its values were written."""

    spec: AnySpec
    tree: Tree
    entry: Entry
    lineage: tuple[str, ...]
    """Its name and the names that it extends, nearest first."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def source(self) -> dict[str, Any]:
        """File and line where it was read: a shipped spec below `specs/`, another relative to the working folder."""
        mark = self.tree.mark(())
        file = Path(mark.file).resolve()
        for base, prefix in ((SHIPPED.resolve(), Path("specs")), (Path.cwd(), Path())):
            if file.is_relative_to(base):
                return {"file": str(prefix / file.relative_to(base)), "line": mark.line}
        return {"file": mark.file, "line": mark.line}

    def problem(self, path: Path_, wrong: str, expected: str = "", suggestion: str = "") -> Problem:
        """A problem at one of its fields."""
        return Problem(self.tree.mark(path), dotted(path), wrong, expected, suggestion)


def resolve(library: Library, entry: Entry, model_names: Sequence[str] = ()) -> Resolved:
    """The spec as it is for a model (`model_names`: its name and those it extends). Raises SpecError."""
    lineage = tuple(e.name for e in library.lineage(entry))
    tree = library.resolved_tree(entry, model_names)
    spec, found = _validated(entry.kind, tree)
    if spec is None or tree.problems:
        raise SpecError([*tree.problems, *found])
    resolved = Resolved(spec, tree, entry, lineage)
    found = list(_cross_checks(resolved, library))
    if found:
        raise SpecError(found)
    return resolved


def check(library: Library, entry: Entry) -> None:
    """Validate a spec in all its forms: plain, and for each model of `for_models`. Raises SpecError with all problems.

    A spec with `for_models` may leave to them what differs from model to model, so its plain form may lack fields.
    """
    library.resolved_tree(entry)
    models = [(name,) for name in library.full_tree(entry).data.get("for_models", {})]
    found: list[Problem] = []
    for names in [(), *models]:
        try:
            resolve(library, entry, names)
        except SpecError as error:
            found.extend(p for p in error.problems if names or not models or p.wrong != "missing")
    if found:
        raise SpecError(found)


def _validated(kind: str, tree: Tree) -> tuple[AnySpec | None, list[Problem]]:
    adapter = registry().adapters[kind]
    try:
        return adapter.validate_json(json.dumps(tree.data)), []
    except ValidationError as error:
        found = problems(error, tree, registry().kinds[kind])
        return None, [_with_broken_plugins(p) for p in found]


def _with_broken_plugins(problem: Problem) -> Problem:
    """An unknown type may belong to a plug-in that failed to load: say so where it matters."""
    broken = registry().broken
    if not broken or not problem.wrong.startswith("unknown type"):
        return problem
    names = "; ".join(f"plug-in {name} cannot be loaded ({why})" for name, why in broken.items())
    return Problem(problem.mark, problem.field, f"{problem.wrong} ({names})", problem.expected, problem.suggestion)


def _cross_checks(resolved: Resolved, library: Library) -> Iterator[Problem]:
    """What a single field cannot know: names of other specs, metrics of the protocol, items that fit."""
    spec = resolved.spec
    if isinstance(spec, TaskSpec):
        if spec.data.yields != spec.protocol.items:
            wrong = f"{spec.data.type!r} yields {spec.data.yields}"
            yield resolved.problem(
                ("data", "type"), wrong, f"protocol {spec.protocol.type!r} needs {spec.protocol.items}"
            )
        known = [m.id for m in spec.protocol.metrics()]
        for i, metric in enumerate(spec.metrics):
            if metric not in known:
                near = closest(metric, known)
                expected = "" if near else f"known: {', '.join(known)}"
                yield resolved.problem(("metrics", i), f"unknown metric {metric!r}", expected, near)
        yield from _names(resolved, library, "method", ("controls",), spec.controls)
    elif isinstance(spec, ModelSpec):
        for kind, mark in SPEC_NAMES.items():
            for field in marked(type(spec.source), mark):
                name = getattr(spec.source, field)
                if kind != "model" or not _elsewhere(name):
                    yield from _names(resolved, library, kind, ("source", field), (name,))
    elif isinstance(spec, MethodSpec):
        for role, own in spec.algorithm.own_models().items():
            if own.name is not None and not _elsewhere(own.name):
                yield from _names(resolved, library, "model", ("algorithm", "models", role), (own.name,))
    elif isinstance(spec, ReferenceSpec):
        yield from _names(resolved, library, "task", ("task",), (spec.task,))
        if ("task", spec.task) in library.entries:
            yield from references.metrics(resolved, resolve(library, library.get("task", spec.task)).spec)
        yield from references.arithmetic(resolved)
        yield from references.withdrawn(resolved, library)
    elif isinstance(spec, SuiteSpec):
        yield from _names(resolved, library, "reference", ("references",), spec.references)
        for i, block in enumerate(spec.blocks):
            yield from _names(resolved, library, "task", ("blocks", i, "tasks"), block.tasks)
            yield from _names(resolved, library, "method", ("blocks", i, "methods"), block.methods)
            for role, model in block.models.items():
                yield from _names(resolved, library, "model", ("blocks", i, "models", role), (model,))


def _elsewhere(model: str) -> bool:
    """Whether a model's name is a folder, a file, or an id of the hub."""
    return "/" in model or Path(model).exists()


def _names(resolved: Resolved, library: Library, kind: str, path: Path_, names: Sequence[str]) -> Iterator[Problem]:
    for i, name in enumerate(names):
        if (kind, name) not in library.entries:
            near = closest(name, library.names(kind))
            expected = "" if near else f"known: {', '.join(library.names(kind)) or 'none'}"
            here = (*path, i) if (*path, i) in resolved.tree.marks else path
            yield resolved.problem(here, f"unknown {kind} {name!r}", expected, near)


def identity(model: BaseModel) -> dict[str, Any]:
    """The fields that can change a result, building blocks with their version; names of files and specs left out.

    A field that has its default is left out too, so that a new field with a default changes no identity; in return,
    who changes a default or what it does raises the block's `version`.
    """
    kind = type(model)
    hidden = {name for mark in (NOT_IDENTITY, DATA_FILE, *SPEC_NAMES.values()) for name in marked(kind, mark)}
    shown = {
        name: _identity_value(getattr(model, name))
        for name, info in kind.model_fields.items()
        if name not in hidden and (name == "type" or getattr(model, name) != _default(info))
    }
    version = getattr(model, "version", None)
    return shown if version is None else {**shown, "version": version}


def _default(info: FieldInfo) -> Any:
    """A field's default; nothing equals that of a field without one."""
    return object() if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _identity_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return identity(value)
    if isinstance(value, tuple | list):
        return [_identity_value(v) for v in value]
    if isinstance(value, dict):
        return {k: _identity_value(v) for k, v in value.items()}
    return value


def data_fields(resolved: Resolved) -> dict[Path_, str]:
    """The data files that a spec names, by the place of the field."""
    return dict(_marked_fields(resolved.spec, (), DATA_FILE))


def _marked_fields(value: Any, path: Path_, mark: FieldMark, is_marked: bool = False) -> Iterator[tuple[Path_, str]]:
    if isinstance(value, BaseModel):
        fields = marked(type(value), mark)
        for name in type(value).model_fields:
            yield from _marked_fields(getattr(value, name), (*path, name), mark, name in fields)
    elif isinstance(value, tuple | list | dict):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _marked_fields(child, (*path, key), mark, is_marked)
    elif is_marked and isinstance(value, str):
        yield path, value


def data_root(task: Resolved, override: str | None) -> Path | None:
    """The folder (or, from `--data`, perhaps the file) of a task's data. Raises DataError for an unknown name.

    `--data hub` fetches what the task's `data_hub` says, but for files that are elsewhere by their name.
    """
    if override == HUB_DATA and task.spec.data_hub:
        from .hub import fetched

        try:
            return fetched(task.spec.data_hub, [n for n in data_fields(task).values() if not _placed(n)])
        except DataError as error:
            raise DataError(f"{error}\n{task.spec.data_help}".rstrip()) from error
    if override is not None:
        if Path(override).exists():
            return Path(override)
        shipped = sorted(p.name for p in (SHIPPED / "data").iterdir() if p.is_dir())
        if override in shipped:
            return SHIPPED / "data" / override
        raise DataError(f"--data {override}: no such file or folder, and {unknown('shipped data', override, shipped)}")
    root = task.spec.data_root
    if root is None:
        return None
    return builtin(root) or Path(task.tree.mark(("data_root",)).file).parent / root


def builtin(name: str) -> Path | None:
    """Where `builtin:NAME` is, a file or folder that is shipped; None for any other name."""
    return SHIPPED / "data" / name.removeprefix(BUILTIN_DATA) if name.startswith(BUILTIN_DATA) else None


def _placed(name: str) -> bool:
    """Whether a file's name says where it is, whatever the data folder."""
    return Path(name).is_absolute() or name.startswith(("./", BUILTIN_DATA))


def data_files(resolved: Resolved, root: Path | None, remedy: str, *, learns: bool = True) -> Mapping[str, Path]:
    """The resolved files by dotted field, all existing. Raises DataError naming field, file and `remedy`.

    `learns`: whether those are among them that only methods need that learn beforehand.
    """
    fields = data_fields(resolved)
    for path, _ in () if learns else _marked_fields(resolved.spec, (), LEARNED_FROM):
        del fields[path]
    folders = dict(_marked_fields(resolved.spec, (), DATA_FOLDER))
    found: dict[str, Path] = {}
    inside = [name for name in fields.values() if not _placed(name)]
    for path, name in fields.items():
        mark = resolved.tree.mark(path)
        where = f"{mark}: {dotted(path)}: "
        help_ = f"\n{remedy}" if remedy else ""
        if Path(name).is_absolute():
            file = Path(name)
        elif name.startswith("./"):
            file = Path(mark.file).parent / name
        elif shipped := builtin(name):
            file = shipped
        elif root is None:
            beside = f" (a file beside the spec is written ./{name})"
            what = "folder" if path in folders else "file"
            raise DataError(f"{where}needs the data {what} {name}; give its folder with --data DIR{beside}{help_}")
        elif root.is_file():
            if len(inside) > 1:
                raise DataError(f"{where}this spec reads {len(inside)} files; give their folder with --data DIR{help_}")
            file = root
        else:
            file = root / name
        if not (file.is_dir() if path in folders else file.is_file()):
            raise DataError(f"{where}no {'folder' if path in folders else 'file'} {file}{help_}")
        found[dotted(path)] = file
    return found


def resolved_json(spec: AnySpec) -> dict[str, Any]:
    """A resolved spec as plain JSON data."""
    data: dict[str, Any] = spec.model_dump(mode="json")
    return data
