"""One method on one model, or on one task, outside of a run: what the commands of families work with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .artifacts import ArtifactStore, artifact_root, cache_home
from .canonical import digest
from .components import Named, Opening, Resource
from .digests import FileDigests
from .errors import UsageError, unknown
from .job import Job, by_block, fingerprint
from .kinds import MethodSpec, TaskSpec
from .loading.library import Library, within_reach
from .loading.models import model_spec
from .loading.resolve import Resolved, data_files, data_root, identity, resolve
from .named import NamedSpec, named_by, names_of, weights_of
from .plan import mismatch, own_models
from .store import write_atomically
from .targets import find


@dataclass(frozen=True)
class Wanted:
    """What the command line says of model and method."""

    model: str
    """A spec's name, a folder, or a hub id."""
    method: str
    """A spec's name, or a file."""
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    specs: Sequence[Path] = ()
    data: Path | None = None
    """Folder of the method's data files."""
    threads: int = 1
    """As suites do by default: more may change last digits."""
    settings: str | None = None
    """The model whose settings of the method (`for_models`) are taken; by default those for the model's own name."""


def job_for(wanted: Wanted, task: TaskSpec, files: Mapping[str, Mapping[str, Path]]) -> tuple[Job, Resolved, Resolved]:
    """Open the model and give the cell that a run would make of it, with the resolved specs of model and method.

    `task`: what the command does; `files`: its files, by building block and field, `{"data": {"file": …}}`. Raises
    SpecError, UsageError, DataError, ModelError.
    """
    library = within_reach(wanted.specs)
    model = model_spec(library, wanted.model, wanted.device, wanted.dtype)
    digests = FileDigests.load(cache_home())
    named = named_by(library, model, digests.of)
    method, own = _method(library, wanted, task, names_of(model, named))
    role, needed = next(iter(task.protocol.roles.items()))
    if model.spec.source.opens != needed:
        raise UsageError(f"{wanted.model} is a {model.spec.source.opens}; a {needed} is needed")
    subject, state = _opened(model, named, wanted.threads, digests)
    digests.save()
    return _job(wanted, task, method, {**files, **own}, {role: subject}, {role: state}), model, method


def job_on(
    subject: Resource,
    state: str,
    names: Sequence[str],
    wanted: Wanted,
    task: TaskSpec,
    files: Mapping[str, Mapping[str, Path]],
) -> tuple[Job, Resolved]:
    """The same on a model that is open already, and the method's resolved spec.

    `state`: fingerprint of the model's state; `names`: those under which a method may have settings for it.
    """
    method, own = _method(within_reach(wanted.specs), wanted, task, names)
    role = next(iter(task.protocol.roles))
    return _job(wanted, task, method, {**files, **own}, {role: subject}, {role: state}), method


def _method(
    library: Library, wanted: Wanted, task: TaskSpec, names: Sequence[str]
) -> tuple[Resolved, dict[str, dict[str, Path]]]:
    """The method as it is for a model of these names, with its files by building block and field."""
    entry = find(library, wanted.method, ("method",))
    known = {name for e in library.lineage(entry) for name in e.tree.data.get("for_models", {})}
    if wanted.settings is not None:
        if wanted.settings not in known:
            raise UsageError(unknown(f"model in the settings of {entry.name}", wanted.settings, known))
        names = (wanted.settings,)
    elif known and known.isdisjoint(names):
        # What fits one model may ruin another, or take hours: nobody should find out by the result.
        some = ", ".join(sorted(known))
        warnings.warn(f"{entry.name} has settings for {some}, none for {names[0]}: its general ones hold", stacklevel=3)
    method = resolve(library, entry, names)
    if problem := mismatch(task, method.spec):
        raise UsageError(f"method {method.name!r} cannot be used here: {problem}")
    if wanted.data is not None and not wanted.data.is_dir():
        raise UsageError(f"--data {wanted.data}: no such folder")
    return method, by_block({"method": data_files(method, wanted.data, "")})


def _job(
    wanted: Wanted,
    task: TaskSpec,
    method: Resolved,
    files: Mapping[str, Mapping[str, Path]],
    models: Mapping[str, Resource],
    fingerprints: Mapping[str, str],
) -> Job:
    return Job(
        task=task,
        method=method.spec,
        seed=wanted.seed,
        limit=None,
        models=models,
        fingerprints=fingerprints,
        files=files,
        artifacts=ArtifactStore(artifact_root()),
    )


def _opened(
    model: Resolved, named: Mapping[str, NamedSpec], threads: int, digests: FileDigests
) -> tuple[Resource, str]:
    """The opened model, and the fingerprint of its state. Raises ModelError."""
    spec, weights = model.spec, weights_of(model, named, digests.of)
    inner = {field: _named(n) for field, n in named.items()}
    opening = Opening(spec.device, spec.dtype, threads, weights, ArtifactStore(artifact_root()), inner)
    state = fingerprint(weights, identity(spec.source), spec.dtype, spec.device, threads)
    return spec.source.open(opening), state


@dataclass(frozen=True)
class OpenedMethod:
    """A method without a task, with the models that it brings along."""

    spec: MethodSpec
    models: Mapping[str, Resource]
    fingerprints: Mapping[str, str]
    """State of each model, by role."""
    names: Mapping[str, str]
    """Name of each model, by role."""
    files: Mapping[str, Path]
    """Its data files, by field."""
    identity: str
    """Digest of all that its work depends on: the spec, its files, the state of its models."""

    def close(self) -> None:
        """Close the models."""
        for model in self.models.values():
            model.close()


def method_alone(
    name: str,
    *,
    models: Mapping[str, str],
    device: str | None = None,
    specs: Sequence[Path] = (),
    data: Path | None = None,
    threads: int = 1,
) -> OpenedMethod:
    """Open a method by name or file. `models`: names by role, before those of its spec; `device`: for all of them.

    Raises SpecError, UsageError, DataError, ModelError.
    """
    library = within_reach(specs)
    method = resolve(library, find(library, name, ("method",)))
    own = own_models(library, method, models, device)
    if extra := sorted(set(models) - own.keys()):
        raise UsageError(f"{unknown('role', extra[0], own)}, of the models of method {method.name!r}")
    files = by_block({"method": data_files(method, data, "")}).get("algorithm", {})
    digests = FileDigests.load(cache_home())
    opened = {role: _opened(m, named_by(library, m, digests.of), threads, digests) for role, m in own.items()}
    known = {field: digests.of(file) for field, file in files.items()}
    digests.save()
    resources = {role: resource for role, (resource, _) in opened.items()}
    states = {role: state for role, (_, state) in opened.items()}
    names = {role: m.name for role, m in own.items()}
    return OpenedMethod(method.spec, resources, states, names, files, digest([identity(method.spec), known, states]))


def task_of(
    name: str, specs: Sequence[Path] = (), data: str | None = None
) -> tuple[TaskSpec, dict[str, dict[str, Path]]]:
    """A task by name or file, with its files as `job_for` takes them. Raises SpecError, UsageError, DataError."""
    library = within_reach(specs)
    task = resolve(library, find(library, name, ("task",)))
    return task.spec, by_block({"task": data_files(task, data_root(task, data), task.spec.data_help)})


def job_of_task(
    task: str,
    method: str,
    *,
    specs: Sequence[Path] = (),
    data: str | None = None,
    device: str = "cpu",
    seed: int = 0,
    threads: int = 1,
) -> tuple[Job, Resolved, Resolved]:
    """The cell of a task that needs no model, with the resolved specs of task and method (names or files).

    Raises SpecError, UsageError, DataError.
    """
    library = within_reach(specs)
    of_task = resolve(library, find(library, task, ("task",)))
    of_method = resolve(library, find(library, method, ("method",)))
    if problem := mismatch(of_task.spec, of_method.spec):
        raise UsageError(f"method {of_method.name!r} cannot be run on task {of_task.name!r}: {problem}")
    root, remedy = data_root(of_task, data), of_task.spec.data_help
    files = {"task": data_files(of_task, root, remedy), "method": data_files(of_method, root, remedy)}
    job = Job(
        task=of_task.spec,
        method=of_method.spec,
        seed=seed,
        limit=None,
        models={},
        fingerprints={},
        files=by_block(files),
        artifacts=ArtifactStore(artifact_root()),
        device=device,
        threads=threads,
    )
    return job, of_task, of_method


def check_writable(option: str, file: Path | None) -> None:
    """Say before the work, not after it, that a file which an option names cannot be written. Raises UsageError."""
    if file is not None and not file.absolute().parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}")
    if file is not None and file.is_dir():
        raise UsageError(f"{option} {file}: is a folder; name a file in it")


def write_page(file: Path, title: str, lead: str, exhibits: Sequence[Mapping[str, Any]]) -> None:
    """Write exhibits as one HTML file that opens without a network. Raises UsageError when it cannot be written."""
    # Imported by name at run time: the engine does not depend on how results are shown.
    shown = import_module(".reports.page", __package__).page(title, lead, exhibits)
    try:
        write_atomically(file, shown)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror})") from error


def _named(spec: NamedSpec) -> Named:
    files = by_block({spec.resolved.entry.kind: spec.files})
    return Named(spec.resolved.spec, spec.weights, files, {f: _named(n) for f, n in spec.named.items()})
