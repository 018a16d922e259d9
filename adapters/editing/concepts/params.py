"""What a task on concepts can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ....metrics import Metric
from ..params import AskedFacts
from ..sources.params import EditFile

if TYPE_CHECKING:
    from ....job import Job, Part
    from .cases import ConceptCase

DEMONSTRATION = (
    "Whether Vienna belongs to category city? Yes\nWhether Vienna belongs to category river? No\n"
    "Whether Mozart belongs to category artist? Yes\nWhether Mozart belongs to category building? No\n"
)


class ConceptEdit(EditFile):
    """ConceptEdit (Wang et al. 2024, arXiv 2403.06259): definitions of concepts of DBpedia.

    There is a file for each model and setting: `intra`, where the new definition is that of a concept of the same
    superclass, and `inter`, where it is of another one.
    """

    yields: ClassVar[str] = "concept_case"
    type: Literal["concept_edit"]

    def cases(self, file: Path) -> Iterator[ConceptCase]:
        """See cases.py."""
        from .cases import concept_cases

        return concept_cases(file)


class Concepts(AskedFacts):
    """Definitions of concepts: see run.py."""

    items: ClassVar[str] = "concept_case"
    type: Literal["edit_concepts"]
    demonstration: str = DEMONSTRATION
    """Put before the question whether an instance belongs to the concept, so that the answer is yes or no. The
    authors' has two lines of their own."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
