"""What flows through a pipeline: rows of instruction data, and rows that a stage has turned away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Turn:
    """What one side says in a conversation."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    text: str


@dataclass(frozen=True)
class Row:
    """One example: an instruction, perhaps with an input, and the answer to it. Never changed: stages make new ones."""

    id: str
    """Unique in its file: the record's own `id`, or its number from 0."""
    instruction: str
    input: str = ""
    output: str = ""
    earlier: tuple[Turn, ...] = ()
    """Of a conversation, what was said before the last question (`instruction`) and its answer (`output`)."""
    record: Mapping[str, Any] | None = None
    """As it was read, and as it is written again; None for a row that a stage has made or changed."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """What stages have measured, by the stage's name; None where a measure is not defined for this row."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What else stages tell of it: of a generated row, what it was made from."""

    @property
    def prompt(self) -> str:
        """Instruction and input, as one text."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction

    def texts(self, history: bool = False) -> dict[str, str]:
        """What fills a template in: `instruction`, `input`, `prompt` and `output`. Unless the template has a place for
        the `history`, what was said earlier in a conversation stands in front of the question, a turn a line."""
        earlier = "" if history else "".join(f"{turn.text}\n" for turn in self.earlier)
        asked = {"instruction": earlier + self.instruction, "input": self.input, "prompt": earlier + self.prompt}
        return {**asked, "output": self.output}

    def scored(self, **scores: float | None) -> Row:
        """The same row with more scores."""
        return replace(self, scores={**self.scores, **scores})

    def noted(self, **notes: Any) -> Row:
        """The same row with more notes."""
        return replace(self, notes={**self.notes, **notes})

    def changed(self, **fields: Any) -> Row:
        """A row with other content, which is written from its fields and no longer as it was read."""
        return replace(self, record=None, **fields)


@dataclass(frozen=True)
class Rejected:
    """A row that a stage has turned away, and why."""

    row: Row
    reason: str
    """A few words, the same for all rows that are turned away for this reason: they are counted by it."""
    value: float | None = None
    """The number that decided, if one did."""
    neighbour: str | None = None
    """Id of the row that it is too like."""
    stage: str = ""
    """Which stage; filled in by the pipeline."""
    failed: bool = False
    """Not judged at all, since a model gave no reply: the row is asked again by a run that goes on."""

    def noted(self, **notes: Any) -> Rejected:
        """The same with more notes at the row."""
        return replace(self, row=self.row.noted(**notes))
