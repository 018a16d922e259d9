"""From suites, tasks and methods to cells: which are there, what identifies each, and why each would run.

Needs no torch: weights and data are known by the digests of their files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifacts import cache_home
from .canonical import digest
from .components import OWN
from .differences import differences
from .digests import FileDigests
from .errors import UsageError
from .job import fingerprint
from .kinds import Block, SuiteSpec, TaskSpec
from .loading.library import Library
from .loading.models import model_spec
from .loading.resolve import Resolved, data_files, data_root, identity, resolve, resolved_json
from .named import NamedSpec, named_by, names_of, weights_of
from .store import FORMAT, Cell
from .targets import sort_targets


@dataclass(frozen=True)
class Options:
    """What the command line says over the specs."""

    model: str | None = None
    """Name or path of the first role's model."""
    data: str | None = None
    device: str | None = None
    dtype: str | None = None
    seeds: tuple[int, ...] | None = None
    limit: int | None = None


@dataclass(frozen=True)
class PlannedCell:
    """One (task, method, models, seed), resolved, with everything that can change its result."""

    task: Resolved
    method: Resolved
    models: Mapping[str, Resolved]
    """Those of the task, which a table is of."""
    own: Mapping[str, Resolved]
    """Those that the method brings along: part of what it is."""
    named: Mapping[str, Mapping[str, NamedSpec]]
    """What the source of each model names."""
    weights: Mapping[str, str]
    """Fingerprint of the weights of each model."""
    fingerprints: Mapping[str, str]
    """Digest of the state of each model."""
    files: Mapping[str, Mapping[str, Path]]
    seed: int
    limit: int | None
    threads: int
    device: str
    """Where it runs: the device of the first role's model; without one, what `--device` says."""
    identity: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Digest of the identity and of the names that the cell is shown under.

        The names cannot change the result; but two specs that say the same under two names are two rows.
        """
        return digest([self.identity, *self.names.values()], 10)

    @property
    def names(self) -> dict[str, Any]:
        """Names of task and method, and of the models by role."""
        models = {role: m.name for role, m in self.models.items()}
        return {"task": self.task.name, "method": self.method.name, "models": models}

    @property
    def comparable(self) -> str:
        """Digest of the identity without method, models and seed; cells of one table share it."""
        shared = {k: v for k, v in self.identity.items() if k not in ("method", "models", "seed")}
        return digest({**shared, "data": shared["data"]["task"]}, 10)

    @property
    def group(self) -> str:
        """Cells of one group use the same models, opened once; without a model, the same task."""
        return digest([*self.fingerprints.values()] or [self.task.name])

    @property
    def label(self) -> str:
        """`task · method · model · seed 0`."""
        return " · ".join(
            [self.task.name, self.method.name, *(m.name for m in self.models.values()), f"seed {self.seed}"]
        )

    def job(self) -> dict[str, Any]:
        """What a worker needs, as JSON."""
        return {
            "id": self.id,
            "task": resolved_json(self.task.spec),
            "method": resolved_json(self.method.spec),
            "models": {role: resolved_json(m.spec) for role, m in {**self.models, **self.own}.items()},
            "fingerprints": dict(self.fingerprints),
            "files": {kind: {k: str(v) for k, v in files.items()} for kind, files in self.files.items()},
            "named": {role: {f: n.to_json() for f, n in named.items()} for role, named in self.named.items()},
            "weights": dict(self.weights),
            "seed": self.seed,
            "limit": self.limit,
            "threads": self.threads,
            "device": self.device,
        }


@dataclass(frozen=True)
class Plan:
    """Cells in the order in which they run, and what is shown beside them."""

    cells: tuple[PlannedCell, ...]
    suites: tuple[str, ...]
    references: tuple[Resolved, ...]
    workers: int = 1
    """Processes that may run side by side on a CPU."""


def plan(library: Library, targets: Sequence[str], options: Options) -> Plan:
    """Plan the named specs. Raises SpecError, DataError, ModelError, UsageError.

    A target is a suite, a task or a method, by name, by `kind:name`, or by file. Methods join the blocks of the suites
    whose tasks they fit; methods alone join `quickstart`; tasks need methods.
    """
    asked = {kind: [e.name for e in entries] for kind, entries in sort_targets(library, targets).items()}
    if asked["method"] and not asked["suite"] and not asked["task"]:
        asked["suite"] = ["quickstart"]
    suites = [resolve(library, library.get("suite", name)).spec for name in asked["suite"]]
    digests = FileDigests.load(cache_home())
    planner = _Planner(library, options, digests)
    planned = [c for suite in suites for block in suite.blocks for c in planner.block(suite, block, asked["method"])]
    if asked["task"]:
        block = Block(tasks=tuple(asked["task"]), methods=tuple(asked["method"]))
        planned += planner.block(SuiteSpec(kind="suite", name="command-line", blocks=(block,)), block, ())
    cells = {cell.id: cell for cell in planned}
    digests.save()
    for name in set(asked["method"]) - {c.method.name for c in cells.values()}:
        raise UsageError(f"method {name!r} fits no task of what was named; see `benchwright show {name} --resolved`")
    # Groups as they come, those without a model first: what a worker has imported for a model stays in its memory.
    groups = list(dict.fromkeys((bool(c.fingerprints), c.group) for c in cells.values()))
    order = {group: i for i, (_, group) in enumerate(sorted(groups, key=lambda g: g[0]))}
    references = {r: resolve(library, library.get("reference", r)) for s in suites for r in s.references}
    return Plan(
        tuple(sorted(cells.values(), key=lambda c: order[c.group])),
        tuple(s.name for s in suites),
        tuple(references.values()),
        min((s.workers for s in suites), default=1),
    )


def own_models(library: Library, method: Resolved, asked: Mapping[str, str], device: str | None) -> dict[str, Resolved]:
    """The models that a method brings along, by role; `asked`: names that go before those of its spec.

    Raises UsageError for one that is not named, or is of the wrong kind.
    """
    found = {}
    for role, own in method.spec.algorithm.own_models().items():
        name = asked.get(role, own.name)
        if name is None:
            raise UsageError(f"method {method.name!r} needs a model for its role {role!r}; name one in its `models`")
        found[role] = model_spec(library, name, device)
        if (opens := found[role].spec.source.opens) not in own.opens:
            kinds = " or ".join(sorted(own.opens))
            raise UsageError(f"method {method.name!r} needs a {kinds} for its role {role!r}; {name} is a {opens}")
    return found


def mismatch(task: TaskSpec, method: Any) -> str:
    """Why a method cannot be run on a task, or an empty string."""
    algorithm, protocol = method.algorithm, task.protocol
    offers = protocol.offers | task.data.offers()
    if missing := algorithm.consumes - offers:
        return f"it consumes {', '.join(sorted(missing))}, the task offers {', '.join(sorted(offers)) or 'nothing'}"
    if algorithm.yields not in protocol.accepts:
        return f"it yields {algorithm.yields}, the task accepts {', '.join(sorted(protocol.accepts))}"
    return ""


@dataclass(frozen=True)
class _Models:
    """The models of a task's cells, by role: the same for every method and seed, so known once."""

    specs: Mapping[str, Resolved]
    named: Mapping[str, Mapping[str, NamedSpec]]
    weights: Mapping[str, str]


@dataclass
class _Planner:
    library: Library
    options: Options
    digests: FileDigests

    def block(self, suite: SuiteSpec, block: Block, joining: Sequence[str]) -> Iterator[PlannedCell]:
        for name in block.tasks:
            task = resolve(self.library, self.library.get("task", name))
            models = self.models(task, block)
            root = data_root(task, self.options.data)
            # Files first: a missing data set is the commonest trouble, and the cheapest to tell.
            task_files = data_files(task, root, task.spec.data_help, learns=False)
            self.compare(task.spec, task_files)
            opened = self.opened(models)
            names = next((names_of(m, opened.named[role]) for role, m in models.items()), ())
            wanted = dict.fromkeys([*task.spec.controls, *block.methods, *joining])
            if not block.methods and not joining:
                raise UsageError(f"task {name!r} needs at least one method beside its controls; name it as well")
            for method_name in wanted:
                method = resolve(self.library, self.library.get("method", method_name), names)
                if problem := mismatch(task.spec, method.spec):
                    if method_name in joining and method_name not in block.methods:
                        continue
                    raise UsageError(f"method {method_name!r} cannot be run on task {name!r}: {problem}")
                files = {"task": task_files, "method": data_files(method, root, task.spec.data_help)}
                if method.spec.algorithm.consumes & task.spec.data.offers():
                    every = data_files(task, root, task.spec.data_help)
                    if learned := {name: file for name, file in every.items() if name not in task_files}:
                        files["learned"] = learned
                brought = own_models(self.library, method, {}, self.options.device)
                own = self.opened({f"{OWN}{role}": model for role, model in brought.items()})
                for seed in self.options.seeds or suite.seeds:
                    yield self.cell(
                        task, method, opened, own, files, seed, self.options.limit or block.limit, suite.threads
                    )

    def compare(self, task: TaskSpec, files: Mapping[str, Path]) -> None:
        """Tell of files that are not the published ones."""
        for field, expected in task.data_sha256.items():
            file = files.get(f"data.{field}")
            if file and (found := self.digests.of(file)) != expected:
                warnings.warn(
                    f"{file}: not the published file of {task.name}: SHA-256 {found[:16]}…, expected "
                    f"{expected[:16]}…; published numbers do not compare",
                    stacklevel=2,
                )

    def opened(self, models: Mapping[str, Resolved]) -> _Models:
        named = {role: named_by(self.library, m, self.digests.of) for role, m in models.items()}
        return _Models(models, named, {role: weights_of(m, named[role], self.digests.of) for role, m in models.items()})

    def models(self, task: Resolved, block: Block) -> dict[str, Resolved]:
        roles = task.spec.protocol.roles
        if extra := set(block.models) - roles.keys():
            raise UsageError(
                f"task {task.name!r} has no model role {sorted(extra)[0]!r}; roles: {', '.join(roles) or 'none'}"
            )
        found: dict[str, Resolved] = {}
        # The command line speaks of the model under test, which is the first; a judge stays as its spec says.
        asked = self.options
        for role, needed in roles.items():
            first = not found
            name = asked.model if first and asked.model else block.models.get(role)
            if name is None:
                raise UsageError(f"task {task.name!r} needs a model for the role {role!r}; give one with --model")
            over = (asked.device, asked.dtype) if first else (None, None)
            found[role] = model_spec(self.library, name, *over)
            opens = found[role].spec.source.opens
            if opens != needed:
                raise UsageError(f"task {task.name!r} needs a {needed} for the role {role!r}; {name} is a {opens}")
        return found

    def cell(
        self,
        task: Resolved,
        method: Resolved,
        opened: _Models,
        own: _Models,
        files: Mapping[str, Mapping[str, Path]],
        seed: int,
        limit: int | None,
        threads: int,
    ) -> PlannedCell:
        models = opened.specs
        every, weights = {**models, **own.specs}, {**opened.weights, **own.weights}
        # Without a model, the method itself may compute on a device.
        device = next((str(m.spec.device) for m in every.values()), self.options.device or "cpu")
        classes = {role: str(m.spec.device).partition(":")[0] for role, m in every.items()}
        devices = {role: classes[role] for role in models}
        if not every and not device.startswith("cpu"):
            devices = {"method": device.partition(":")[0]}
        data = {kind: {k: self.digests.of(f) for k, f in fs.items()} for kind, fs in files.items()}
        described = {role: {**identity(m.spec), "weights": weights[role]} for role, m in every.items()}
        brought = {
            role: {**described[role], "dtype": m.spec.dtype, "device": classes[role]} for role, m in own.specs.items()
        }
        who: dict[str, Any] = {
            "format": FORMAT,
            "task": identity(task.spec),
            "method": {**identity(method.spec), **({"models": brought} if brought else {})},
            "models": {role: described[role] for role in models},
            "data": data,
            "versions": {"metrics": {m.id: m.version for m in task.spec.protocol.metrics()}},
            "seed": seed,
            "limit": limit,
            "dtype": {role: m.spec.dtype for role, m in models.items()},
            "device": devices,
            "threads": threads,
        }
        states = {
            role: fingerprint(weights[role], identity(m.spec.source), m.spec.dtype, classes[role], threads)
            for role, m in every.items()
        }
        named = {**opened.named, **own.named}
        return PlannedCell(
            task, method, models, own.specs, named, weights, states, files, seed, limit, threads, device, who
        )


def explain(cells: Sequence[PlannedCell], existing: Sequence[Cell], retry_failed: bool = False) -> dict[str, str]:
    """Why each cell would run, or an empty string when it would not. Keys are cell ids."""
    by_id = {c.id: c for c in existing}
    reasons = {}
    for cell in cells:
        done = by_id.get(cell.id)
        if done is not None:
            again = done.meta["status"] != "failed" or retry_failed
            reasons[cell.id] = "" if done.ok or not again else f"ended {done.meta['status']} before"
            continue
        models = tuple(sorted((role, m.name) for role, m in cell.models.items()))
        near = [c for c in existing if c.place == (cell.task.name, cell.method.name, models, cell.seed)]
        changes: list[list[str]] = [differences(c.meta["identity"], dict(cell.identity)) for c in near]
        nearest = sorted(changes, key=len)[:1]
        reasons[cell.id] = "; ".join(nearest[0]) if nearest else "new"
    return reasons


def shard(cells: Sequence[PlannedCell], text: str) -> tuple[PlannedCell, ...]:
    """The cells of shard `i/n`, i from 1: whole groups, by a stable hash. Raises UsageError."""
    try:
        part, total = (int(x) for x in text.split("/"))
    except ValueError as error:
        raise UsageError(f"--shard {text}: expected i/n, for example 1/4") from error
    if not 1 <= part <= total:
        raise UsageError(f"--shard {text}: i must be between 1 and n")
    return tuple(c for c in cells if int(c.group[:8], 16) % total == part - 1)
