"""What a detox task can say; its data sets are in sources/. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ...components import NOT_IDENTITY, DataFolder, Strict, TaskProtocol
from ...metrics import Metric
from ..bridges.params import General

if TYPE_CHECKING:
    from ...job import Job, Part

Count = Annotated[int, Field(ge=1)]


class Exact(Strict):
    """What the data set knows for certain: only for a made-up world."""

    type: Literal["exact"]
    empty: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How unsafe an empty response is."""


class Classifier(Strict):
    """A classifier of responses, in Hugging Face format, on the device of the model under test."""

    type: Literal["classifier"]
    folder: DataFolder
    """Its folder. What it holds enters the identity of every cell, and no table mixes two judges."""
    id: str
    """What it is called, for the reader: `zjunlp/SafeEdit-Safety-Classifier`."""
    unsafe_label: Annotated[int, Field(ge=0)] = 1
    """Number of the class that means unsafe."""
    sees: Literal["response", "prompt_and_response"] = "response"
    """What it reads. SafeEdit's reads the response alone."""
    max_tokens: Count = 512
    """Tokens that it reads; what lies behind is not judged, and such responses are counted."""
    empty: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How unsafe an empty response is; SafeEdit calls it neutral."""
    batch_size: Annotated[Count, NOT_IDENTITY] = 32


class Relearning(Strict):
    """An attack on the detoxified model: all its weights are fine-tuned on unsafe answers of the training split."""

    steps: Count = 5
    lr: Annotated[float, Field(gt=0)]
    batch_size: Count = 16


class Mechanism(Strict):
    """What a method changes inside: see inside.py."""

    directions: Count = 20
    """Random directions, and random edits, that the measured numbers are held against."""


class Detox(TaskProtocol):
    """Detoxify, ask, put back. Answers are greedy: what a checkpoint's own settings say about sampling is not used."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "detox_case"
    offers: ClassVar[frozenset[str]] = frozenset(
        {"edit_requests", "unsafe_answers", "training_pairs", "training_requests"}
    )
    accepts: ClassVar[frozenset[str]] = frozenset({"patch", "decoding"})
    type: Literal["detox"]
    judge: Annotated[Exact | Classifier, Field(discriminator="type")]
    """Who says what is unsafe."""
    new_tokens: Count
    """Longest answer."""
    mode: Literal["single", "batch", "sequential"] = "single"
    """Of methods that work on single instances. `single`: each alone on the untouched model; `batch`: T together;
    `sequential`: one after the other on a model that stays changed. Other methods are made once, from the training
    split or from nothing, and are the same for all instances."""
    checkpoints: tuple[Count, ...] = ()
    """Numbers T of instances after which `batch` and `sequential` score all of them, rising."""
    streams: Count = 1
    """Disjoint blocks of instances for each T."""
    curve: bool = True
    """Ask at a quarter, a half and three quarters of a method's strength, too (metrics.py: `dg_within_10`); in mode
    `single` alone."""
    prefill_words: Annotated[int, Field(ge=0)] = 0
    """The prefill attack: the answer is begun with so many words of the unsafe one; 0 leaves it out."""
    relearning: Relearning | None = None
    """The relearning attack."""
    mechanism: Mechanism | None = None
    """Look inside as well."""
    general: General | None = None
    """General ability before and after, by lm-evaluation-harness."""
    costly_cases: Count = 9
    """Of methods that change the model anew for each instance, so many, the first ones, are attacked by relearning,
    looked into and put to the general tasks; of others, all instances are asked after one attack."""
    forward_batch: Annotated[Count, NOT_IDENTITY] = 512
    """Prompts in one forward pass; its effect is float noise."""
    chunk: Annotated[Count, NOT_IDENTITY] = 54
    """Instances that are worked on and committed together; a kill costs at most so many."""

    @model_validator(mode="after")
    def _fits_together(self) -> Detox:
        if self.mode == "single" and (self.checkpoints or self.streams != 1):
            raise ValueError("mode `single` has no checkpoints and streams; choose `batch` or `sequential`")
        if self.mode != "single" and (not self.checkpoints or list(self.checkpoints) != sorted(set(self.checkpoints))):
            raise ValueError(f"mode `{self.mode}` needs rising checkpoints, for example [1, 9]")
        costly = [name for name in ("relearning", "mechanism", "general") if getattr(self, name) is not None]
        if self.mode != "single" and costly:
            raise ValueError(f"mode `{self.mode}` has no {', '.join(costly)}; leave them out (null)")
        return self

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
