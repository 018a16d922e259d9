"""What a task of multi-hop editing can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import Data, DataFile, Strict
from ....errors import DataError
from ....metrics import Metric
from ...lm.wording import Form
from ..protocol import Count, Editing
from ..sources.params import EditFile, OfLearnedWorld

if TYPE_CHECKING:
    from ....job import Job, Part
    from ..cases import EditCase
    from .cases import ChainCase

Split = Literal["all", "validation", "test"]


class Chains(Data):
    """What the sources of chains share."""

    yields: ClassVar[str] = "edit_chain"


class MQuAKE(Chains):
    """MQuAKE's files (Zhong et al. 2023, arXiv 2305.14795): CF, CF-3k, CF-3k-v2, T, and those in their form."""

    type: Literal["mquake"]
    file: DataFile
    """The records."""
    split: Split = "all"
    """`validation`: all edited subjects of a case are among a fifth of the subjects (sources/splits.py); `test`: none
    is; a case with subjects of both is in neither."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[ChainCase]:
        """The first `limit` cases of the split. Raises DataError naming record and field."""
        from .mquake import mquake_cases

        file = files["file"]
        found = list(islice(mquake_cases(file, self.split), limit))
        if not found:
            raise DataError(f"{file}: no record is in the split {self.split!r}")
        return found


class WorldChains(OfLearnedWorld, Chains):
    """Chains of two facts of a world, one or both of them changed; see world.py."""

    version: ClassVar[int] = 1
    type: Literal["world_chains"]
    split: Literal["validation", "test"] = "test"
    """`validation` is a fifth of the subjects of each type, `test` the others; no edited subject is in both."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[ChainCase]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .world import chain_cases

        return chain_cases(self._read(), self.split)[: self.requests][:limit]


class RippleEdits(EditFile):
    """RippleEdits' files (Cohen et al. 2023, arXiv 2307.12976): recent, random and popular."""

    type: Literal["ripple_edits"]
    labels: DataFile = "ent_label2id.json"
    """Labels of Wikidata ids: the records name subject and target by these."""

    def read(self, files: Mapping[str, Path]) -> Iterator[EditCase]:
        """See ripple.py."""
        from .ripple import ripple_cases

        return ripple_cases(files["file"], files["labels"])


class Asking(Strict):
    """How questions are put to a model, and where in what it writes the answer stands."""

    examples: Literal["own", "none"] = "own"
    """`own`: six worked examples of ours stand before each question, so that the form of an answer is known, in place
    of MQuAKE's (its appendix); `none`: the question alone."""
    question: Form = "Question: {question}\nAnswer:"
    thoughts: Form | None = "Question: {question}\nAnswer, step by step:"
    """The same where the model reasons aloud before it answers (chain of thought); not asked, if null."""
    conclusion: str = "So the answer is"
    """Behind the last of these words stands what reasoning aloud comes to. Empty: the text must end with the answer."""
    end: Annotated[str, Field(min_length=1)] = "\n"
    """Where an answer ends."""
    tokens: Count = 24
    """Longest answer."""
    thought_tokens: Count = 128
    """Longest answer with its reasons."""


class MultiHop(Editing):
    """Questions whose answer follows from a chain of facts, some of them edited; answers are written (run.py)."""

    items: ClassVar[str] = "edit_chain"
    offers: ClassVar[frozenset[str]] = Editing.offers | {"chain_questions"}
    """`chain_questions`: who has a way of its own to answer them is asked the bare question."""
    type: Literal["multi_hop"]
    asking: Asking = Asking()

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
