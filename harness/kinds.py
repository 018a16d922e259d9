"""The kinds of spec. The fields `source`, `data`, `protocol` and `algorithm` are narrowed by the registry to the
building blocks that were discovered (`registry.Registry.kinds`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .components import NOT_IDENTITY, Algorithm, Data, Source, Strict, TaskProtocol

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Text = Annotated[str, NOT_IDENTITY]
DEVICE = r"cpu|cuda(:[0-9]+)?|mps"
"""Pattern of a device's name."""
Fraction = Annotated[float, Field(ge=0, le=1)]


class Citation(Strict):
    """Where something was published."""

    title: Text
    arxiv: Annotated[str | None, Field(pattern=r"^[0-9]{4}\.[0-9]{4,5}$"), NOT_IDENTITY] = None
    doi: Annotated[str | None, NOT_IDENTITY] = None
    url: Annotated[str | None, NOT_IDENTITY] = None
    year: Annotated[int | None, NOT_IDENTITY] = None

    @property
    def link(self) -> str:
        """The best address known, or an empty string."""
        if self.url:
            return self.url
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else ""


class Spec(Strict):
    """Fields of every kind."""

    name: Annotated[Name, NOT_IDENTITY]
    """Unique among the specs of its kind."""
    title: Text = ""
    """A few words for people."""
    description: Text = ""
    """What it is for."""


class ModelSpec(Spec):
    """A model that cells open."""

    kind: Annotated[Literal["model"], NOT_IDENTITY]
    source: Source
    """Where its weights come from."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of weights and activations."""
    device: Annotated[str, Field(pattern=f"^({DEVICE})$"), NOT_IDENTITY] = "cpu"
    """Where it runs; `--device` overrides it."""


class HubData(Strict):
    """A data set of the Hugging Face hub."""

    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """`owner/name`."""
    revision: str = "main"
    """Branch, tag or commit. The content of the files, not this, enters a cell's identity."""
    folder: str = ""
    """Where in it the files are."""


class TaskSpec(Spec):
    """What is measured: items, and the protocol that turns a method's work on them into records."""

    kind: Annotated[Literal["task"], NOT_IDENTITY]
    data: Data
    """Where the items come from."""
    data_root: Annotated[str | None, NOT_IDENTITY] = None
    """Folder of the data files: `builtin:NAME`, or relative to this file; `--data` overrides it."""
    data_hub: Annotated[HubData | None, NOT_IDENTITY] = None
    """Where `--data hub` fetches the files."""
    data_help: Text = ""
    """How to get the data, shown when it is missing."""
    data_sha256: Annotated[dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], NOT_IDENTITY] = Field(
        default_factory=dict
    )
    """SHA-256 of the published files, by field of `data`; a file that differs is told, and is used all the same."""
    protocol: TaskProtocol
    """How a method is run and scored."""
    metrics: Annotated[tuple[str, ...], NOT_IDENTITY] = ()
    """Metrics to show first, the headline first of all; all others follow in the protocol's order."""
    controls: Annotated[tuple[Name, ...], NOT_IDENTITY] = ()
    """Methods that always run beside the others, to expose a metric that is broken."""


class MethodSpec(Spec):
    """One competitor: an algorithm with all its parameters."""

    kind: Annotated[Literal["method"], NOT_IDENTITY]
    algorithm: Algorithm
    """What it does."""
    paper: Annotated[Citation | None, NOT_IDENTITY] = None
    """Where it was published."""
    fidelity: Annotated[Literal["faithful", "variant", "reconstruction", "control"], NOT_IDENTITY] = "faithful"
    """How close this is to what was published; shown in every table unless `faithful`."""


class Block(Strict):
    """Tasks and methods of a suite that are crossed."""

    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: tuple[Name, ...] = ()
    models: dict[str, Name] = Field(default_factory=dict)
    """Role to model name; `--model` overrides the first role."""
    limit: Annotated[int | None, Field(ge=1)] = None
    """Use only the first items of each task."""


class SuiteSpec(Spec):
    """What is run together."""

    kind: Literal["suite"]
    blocks: Annotated[tuple[Block, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of a worker; part of every cell's identity, since it can change the last digits."""
    workers: Annotated[int, Field(ge=1, le=64), NOT_IDENTITY] = 1
    """Processes side by side on a CPU, as far as it has cores; each opens models of its own, so for small ones only."""
    references: tuple[Name, ...] = ()
    """Published numbers to show beside the measured ones."""


class Aggregate(Strict):
    """A published number that is a mean of others in its row."""

    of: Annotated[tuple[str, ...], Field(min_length=2)]
    digits: Annotated[int, Field(ge=0, le=10)] = 4
    """Digits after the point, as printed."""


class Misprint(Strict):
    """A mean that was printed though its parts give another number; the row holds the one that they give."""

    printed: float
    mean_of: tuple[str, ...] = ()
    """Values of the row that it is the mean of instead, where that is known; recomputed when the spec is read."""
    note: Annotated[str, Field(min_length=1)]
    """What went wrong, as far as one can tell."""


class Disagreement(Strict):
    """Another number that the same publication prints for the same thing."""

    printed: float
    where: Annotated[str, Field(min_length=1)]
    """Table or section that prints it."""
    mean_of: tuple[float, ...] = ()
    """Numbers printed there that it is the mean of, if any; recomputed when the spec is read."""
    digits: Annotated[int, Field(ge=0, le=10)] = 4
    """Digits after the point, as printed."""


class ReferenceRow(Strict):
    """Published numbers of one method. Whether they add up is checked when the spec is read (loading/references.py)."""

    method: str
    values: Annotated[dict[str, float], Field(min_length=1)]
    """Metric id to number, in the metric's unit (fractions, not percent); of a misprint, what its parts give."""
    source: Citation
    note: str = ""
    """Averaging, split, model: what a reader must know before comparing."""
    aggregates: dict[str, Aggregate] = Field(default_factory=dict)
    """Which values are means of which; recomputed when the spec is read."""
    misprints: dict[str, Misprint] = Field(default_factory=dict)
    """Aggregates that were printed otherwise than their parts give; shown with the row."""
    disagreements: dict[str, Disagreement] = Field(default_factory=dict)
    """Values that the publication also prints otherwise; shown with the row."""


class Withdrawn(Strict):
    """A number that was published and taken back."""

    method: str
    metric: str
    value: float
    note: Annotated[str, Field(min_length=1)]
    """Who says so, and what holds instead."""


class ReferenceSpec(Spec):
    """Published numbers for a task."""

    kind: Literal["reference"]
    task: Name
    rows: Annotated[tuple[ReferenceRow, ...], Field(min_length=1)]
    withdrawn: tuple[Withdrawn, ...] = ()
    """Numbers that no reference of this task may repeat."""


Verdict = Literal["regressed", "inconclusive", "incomparable"]


class GateSpec(Spec):
    """What must not get worse."""

    kind: Literal["gate"]
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """One-sided level over all gated metrics together (Holm)."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Loss that is accepted, in the metric's unit."""
    tolerances: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """The same for single metrics."""
    metrics: tuple[str, ...] = ()
    """Patterns of metric ids (`reliability.*`); the headline of each task when empty."""
    tasks: tuple[str, ...] = ()
    """Patterns of task names; all when empty."""
    methods: tuple[str, ...] = ()
    """Patterns of method names; all when empty."""
    mode: Literal["paired", "equal"] = "paired"
    """`paired` tests statistically; `equal` fails on any change of a record."""
    fail_on: tuple[Verdict, ...] = ("regressed", "incomparable")
    """Verdicts that fail the gate."""


KINDS: dict[str, type[Spec]] = {
    "model": ModelSpec,
    "task": TaskSpec,
    "method": MethodSpec,
    "suite": SuiteSpec,
    "reference": ReferenceSpec,
    "gate": GateSpec,
}

FOLDERS = {kind: f"{kind}s" for kind in KINDS}
"""Where `benchwright new` and the shipped specs put each kind."""


def component_fields(kind: str) -> dict[str, str]:
    """The fields of a kind that hold a building block, with the group they take it from."""
    return {n: n for n in KINDS[kind].model_fields if n in ("source", "data", "protocol", "algorithm")}


AnySpec = Any
"""A spec of any kind, where the narrowed class is only known at run time."""
