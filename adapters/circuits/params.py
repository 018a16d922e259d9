"""What a task of this family can say of its protocol. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ...components import NOT_IDENTITY, Strict, TaskProtocol
from ...metrics import Metric
from ..lm.graph.params import Ablation, Target

if TYPE_CHECKING:
    from ...job import Job, Part

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0)]

MIB_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of edges at which the MIB benchmark cuts circuits (Mueller et al. 2025, arXiv 2504.13151)."""


class Stability(Strict):
    """How alike the circuits of bootstrap samples of the pairs are."""

    samples: Annotated[int, Field(ge=2)] = 20
    """Of methods that score each pair: their scores are averaged anew, which costs nothing."""
    reruns: Count = 0
    """Of methods that score all pairs together (ACDC, learned masks): whole analyses; fewer than 2 measure nothing."""


class Circuit(TaskProtocol):
    """Find a circuit on some pairs, judge it on others that share no subject with them."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "question"
    offers: ClassVar[frozenset[str]] = frozenset({"prompt_pairs"})
    accepts: ClassVar[frozenset[str]] = frozenset({"circuit"})
    type: Literal["circuit"]
    target: Target
    """The number that circuits are judged by; a method may look at another one."""
    ablation: Ablation
    """What edges outside of a circuit carry."""
    circuits: Literal["together", "by_relation"] = "together"
    """One circuit for all questions, or one for each relation, as Knowledge Circuits has them."""
    answers: Literal["first_differing", "single"] = "first_differing"
    """Of answers with several tokens: the first token in which right and wrong differ, or none such is asked."""
    discovery: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the subjects whose pairs circuits are found on; the others judge. 0: the same pairs do both."""
    pairs: Annotated[int, Field(ge=2)] | None = None
    """At most so many pairs to find a circuit on, and so many to judge it by, of each relation or of all together."""
    sizes: Annotated[tuple[Share, ...], Field(min_length=2)] = MIB_SIZES
    """Shares of all edges at which circuits are cut, rising."""
    size: Share = 0.1
    """The circuit that Hit@10, completeness, minimality, stability and the picture are about, unless a method says by
    itself what belongs to its circuit."""
    subsets: Count = 10
    """Random subsets of the circuit's edges that completeness is measured with."""
    edges: Count = 40
    """Edges of the circuit, drawn at random, that minimality is measured with."""
    stability: Stability = Stability()
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Rows in one forward pass; its effect is float noise."""

    @field_validator("sizes")
    @classmethod
    def _rising(cls, sizes: tuple[float, ...]) -> tuple[float, ...]:
        if list(sizes) != sorted(set(sizes)) or sizes[-1] != 1:
            raise ValueError("sizes must rise to 1, for example [0.01, 0.1, 1]")
        return sizes

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import circuit_metrics

        return circuit_metrics(self.sizes, self.subsets, by_relation=self.circuits == "by_relation")

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
