"""What a task of the generator track can say, and the writer that it asks. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....canonical import digest
from ....components import Opening, Source, TaskProtocol
from ....metrics import Metric

if TYPE_CHECKING:
    from ....job import Job, Part
    from .writer import Writer

Share = Annotated[float, Field(ge=0, le=1)]


class SimulatedWriter(Source):
    """Writes replies as models write them, in many forms, and knows how many items each holds. It understands nothing:
    what it writes depends on what a reply is for, and on draws that depend on the request."""

    opens: ClassVar[str] = "chat_model"
    type: Literal["simulated_writer"]
    seed: Annotated[int, Field(ge=0)] = 0
    unusable: Share = 0.2
    """Instructions that a generator has to turn away: too short, of pictures, or as one that was shown."""
    cut: Share = 0.1
    """Lists that break off within an item."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """The parameters say it all."""
        return digest(["simulated_writer", self.version, self.model_dump(mode="json")])

    def open(self, opening: Opening) -> Writer:
        """See writer.py."""
        from .writer import Writer

        return Writer(self, opening.weights)


class GeneratorTruth(TaskProtocol):
    """A generator asks a model whose replies are known: what does it find in them, what does a row cost, and what does
    a kill cost? The pipeline's own models are used; for a truth they are of type `simulated_writer` or `scripted`."""

    items: ClassVar[str] = "instruction_rows"
    offers: ClassVar[frozenset[str]] = frozenset({"instruction_rows"})
    accepts: ClassVar[frozenset[str]] = frozenset({"generation"})
    type: Literal["generator_truth"]
    kill_after: Share = 0.5
    """Share of the replies after which the run is killed, and started again."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import generate

        return generate(self, job)
