"""The four kinds of building block that a family provides, and the marks that their fields can carry.

A component is a strict pydantic model with a `type`: its fields are what a spec may say, its methods do the work.
Heavy libraries are imported inside the methods, so that specs are checked without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from .artifacts import ArtifactStore
from .metrics import Metric

if TYPE_CHECKING:
    from .job import Job, Part


class Strict(BaseModel):
    """Base of everything that a spec can say: no unknown field, no coercion, no change after reading."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class FieldMark:
    """Metadata of a field that the engine, not pydantic, reads."""

    meaning: str


NOT_IDENTITY = FieldMark("cannot change a result")
"""`Annotated[str, NOT_IDENTITY]`: the field is left out of a cell's identity."""

DATA_FILE = FieldMark("data file")
"""The field names a data file: resolved by the engine, and its *content* enters the identity, not its name."""

DataFile = Annotated[str, Field(min_length=1), DATA_FILE]
"""A data file: below the task's data folder, or beside the spec when it starts with `./`, or absolute."""

DATA_FOLDER = FieldMark("data folder")
"""The same for a folder: the names and contents of all its files enter the identity, hidden ones aside."""

DataFolder = Annotated[str, Field(min_length=1), DATA_FILE, DATA_FOLDER]
"""A folder of data files, found like a `DataFile`."""

LEARNED_FROM = FieldMark("data file to learn from")
"""`Annotated[DataFile, LEARNED_FROM]`: only methods need it that consume what the data offers beside the task. It is no
part of what makes cells comparable: rivals that learn nothing stand in the same table."""


SPEC_NAMES = {kind: FieldMark(f"name of a {kind}") for kind in ("model", "method", "task")}
"""Marks of fields of a source that name another spec; see `ModelName`."""

ModelName = Annotated[str, Field(min_length=1), SPEC_NAMES["model"]]
"""A field of a model's source that names another model: resolved by the engine, found in `Opening.named`."""
MethodName = Annotated[str, Field(min_length=1), SPEC_NAMES["method"]]
"""The same for a method, resolved as it is for the model that the source names."""
TaskName = Annotated[str, Field(min_length=1), SPEC_NAMES["task"]]
"""The same for a task."""


def marked(model: type[BaseModel], mark: FieldMark) -> list[str]:
    """Names of the fields of `model` that carry `mark`, also where it is inside (`tuple[DataFile, ...]`)."""
    return [n for n, info in model.model_fields.items() if mark in info.metadata or _inside(info.annotation, mark)]


def _inside(annotation: Any, mark: FieldMark) -> bool:
    if mark in getattr(annotation, "__metadata__", ()):
        return True
    return any(_inside(argument, mark) for argument in get_args(annotation))


class Component(Strict):
    """What every building block has. Subclasses declare `type: Literal["…"]`."""

    version: ClassVar[int] = 1
    """Raised when the same fields give another result; part of the identity of every cell that uses it."""
    group: ClassVar[str] = ""
    """Where specs name it: `source`, `data`, `protocol`, `algorithm`."""

    type: str
    """Which building block this is."""


@runtime_checkable
class Resource(Protocol):
    """An opened model: what it is, and proof that a cell left it as it was."""

    def verify(self) -> list[str]:
        """What differs from the state in which it was opened, each a sentence; empty when nothing does."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


@dataclass(frozen=True)
class Named:
    """A spec that a source names."""

    spec: Any
    weights: str
    files: Mapping[str, Mapping[str, Path]]
    """Its data files by building block and field."""
    named: Mapping[str, Named]


@dataclass(frozen=True)
class Opening:
    """How a model is to be opened."""

    device: str
    """`cpu`, `cuda:1` …"""
    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    threads: int
    weights: str
    """The fingerprint under which the cell was planned: what is opened must be that."""
    artifacts: ArtifactStore
    """For models that are made, not read."""
    named: Mapping[str, Named] = field(default_factory=dict)
    """The specs that the source names, by field."""

    def open(self, name: str) -> Resource:
        """Open the model that the source names in its field `name`, on the same device."""
        inner = self.named[name]
        resource: Resource = inner.spec.source.open(replace(self, weights=inner.weights, named=inner.named))
        return resource


class Source(Component):
    """Where a model comes from (`kind: model`)."""

    group: ClassVar[str] = "source"
    opens: ClassVar[str] = ""
    """What it gives: `language_model` …"""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the weights, without loading them; `digest_of` digests a file. Raises ModelError."""
        raise NotImplementedError

    def open(self, opening: Opening) -> Resource:
        """Load the model. Raises ModelError."""
        raise NotImplementedError


class Data(Component):
    """Where a task's items come from."""

    group: ClassVar[str] = "data"
    yields: ClassVar[str] = ""
    """What its items are: `edit_request`, `graded_image` …"""

    def offers(self) -> frozenset[str]:
        """What a method may consume from these items, beside what the protocol offers."""
        return frozenset()

    def training(self, files: Mapping[str, Path]) -> Sequence[Any]:
        """What methods may learn from: nothing that is asked later. Empty where the data has no such split."""
        return ()

    def load(self, files: Mapping[str, Path], limit: int | None) -> Any:
        """The items, in a stable order. `files` maps field names to resolved paths. Raises DataError."""
        raise NotImplementedError


class TaskProtocol(Component):
    """How a task is run: from items, a method and models to records."""

    group: ClassVar[str] = "protocol"
    roles: ClassVar[Mapping[str, str]] = {}
    """Models that it needs, the one under test first: role to what the model must be (`Source.opens`)."""
    items: ClassVar[str] = ""
    """What items it works on (`Data.yields`)."""
    offers: ClassVar[frozenset[str]] = frozenset()
    """What a method may consume from it."""
    accepts: ClassVar[frozenset[str]] = frozenset()
    """What a method may yield to it."""

    def metrics(self) -> tuple[Metric, ...]:
        """Every metric that it records, in the order of a table's columns."""
        raise NotImplementedError

    def run(self, job: Job) -> Iterator[Part]:
        """Yield the cell's records in parts; parts that `job` has already are not run again."""
        raise NotImplementedError


OWN = "method."
"""Before the role of a method's own model in `Job.models`: a task may have a role of the same name."""


@dataclass(frozen=True)
class OwnModel:
    """A model that an algorithm brings along, beside those of the task."""

    name: str | None
    """Name of a model spec; None where the method leaves it open."""
    opens: frozenset[str]
    """What it may be (`Source.opens`)."""


class Algorithm(Component):
    """What a method does. Its further methods depend on what it yields; each adapter package documents them."""

    group: ClassVar[str] = "algorithm"
    consumes: ClassVar[frozenset[str]] = frozenset()
    yields: ClassVar[str] = ""

    def own_models(self) -> Mapping[str, OwnModel]:
        """Models of its own by role: opened with those of the task, in `Job.models` under `OWN` and their role."""
        return {}


GROUPS: Mapping[str, type[Component]] = {c.group: c for c in (Source, Data, TaskProtocol, Algorithm)}
