"""What a task of this track can say, and where its cases come from. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import Data, DataFile
from ....errors import DataError
from ....metrics import Metric
from ..protocol import Count, Editing
from ..sources.params import OfWorld

if TYPE_CHECKING:
    from ....job import Job, Part
    from .cases import LongCase


class LongCases(Data):
    """What the sources of cases with long targets share."""

    yields: ClassVar[str] = "long_case"


class LongFile(LongCases):
    """What the formats of files share."""

    file: DataFile
    """The records."""
    split: Literal["all", "validation", "test"] = "all"
    """`validation` is a fifth of the subjects (of the prompts, where a file names no subjects), to tune methods on;
    `test` is the others."""

    def cases(self, file: Path) -> Iterator[LongCase]:
        """All cases of a file, in its order. Raises DataError naming record and field."""
        raise NotImplementedError

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[LongCase]:
        """The first `limit` cases of the split. Raises DataError naming record and field."""
        from ..sources.splits import in_validation

        def wanted(case: LongCase) -> bool:
            mark = case.request.subject or case.request.prompt
            return self.split == "all" or in_validation(mark) == (self.split == "validation")

        file = files["file"]
        found = list(islice(filter(wanted, self.cases(file)), limit))
        if not found:
            raise DataError(f"{file}: no record is in the split {self.split!r}")
        return found


class UnKE(LongFile):
    """UnKEBench (Deng et al. 2024, arXiv 2405.15349): 1,000 questions with answers of some sentences.

    The file names no subjects: a method that reads at the subject (ROME, MEMIT) cannot carry out a request.
    """

    type: Literal["unke"]

    def cases(self, file: Path) -> Iterator[LongCase]:
        """See files.py."""
        from .files import unke_cases

        return unke_cases(file)


class AKEW(LongFile):
    """AKEW (Wu et al. 2024, arXiv 2402.18909): CounterFact, MQuAKE-CF and WikiUpdate with texts that state the edits.

    Each rewrite of MQuAKE-CF is a case of its own; peers edit the first of each record alone.
    """

    type: Literal["akew"]
    knowledge: Literal["unstructured", "structured"] = "unstructured"
    """What a request's target is: the text that states the fact, or its object alone."""

    def cases(self, file: Path) -> Iterator[LongCase]:
        """See files.py."""
        from .files import akew_cases

        return akew_cases(file, self.knowledge)


class LEME(LongFile):
    """LEME (Rosati et al. 2024, arXiv 2402.09394): edits of zsRE or CounterFact with what passages are asked for."""

    type: Literal["leme"]

    def cases(self, file: Path) -> Iterator[LongCase]:
        """See leme.py."""
        from .leme import leme_cases

        return leme_cases(file)


class WorldLives(OfWorld, LongCases):
    """Lives of the people of a world, several facts of each changed in one text."""

    version: ClassVar[int] = 1
    type: Literal["world_lives"]
    split: Literal["validation", "test"] = "test"
    """Of the same subjects as those of `world_edits`."""
    facts: Annotated[int, Field(ge=2)] = 3
    """Facts in a text; who has fewer that change is left out."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[LongCase]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .world import lives

        return lives(self._read(), self.split, self.facts)[: self.requests][:limit]


class LongForm(Editing):
    """Long targets: see run.py."""

    items: ClassVar[str] = "long_case"
    type: Literal["long_form"]
    new_tokens: Count = 512
    """Longest text that is written, greedily, up to the token that ends a text."""
    held_tokens: Count = 16
    """Longest text of a prompt that the edit does not concern."""
    embedding: DataFile | None = None
    """For `similarity`: the weights in the folder of a sentence-transformers model, as
    `all-MiniLM-L6-v2/model.safetensors`; needs the extra `embed`."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
