"""What a spec can say of detox cases. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ....components import Data, DataFile
from ....errors import unknown

if TYPE_CHECKING:
    from ...lm.requests import EditRequest
    from ...worlds.forbidden.world import World
    from ..cases import DetoxCase, Truth


class DetoxCases(Data):
    """What the sources of detox cases share."""

    yields: ClassVar[str] = "detox_case"
    gated: ClassVar[bool] = False
    """Whether its texts are harmful or may not be passed on: reports then show ids and rates, never texts."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[DetoxCase]:
        """The first `limit` cases of the split. Raises DataError naming record and field."""
        raise NotImplementedError

    def training(self, files: Mapping[str, Path]) -> list[EditRequest]:
        """The training split: adversarial and plain prompts with a safe and an unsafe answer each, and in `keep`
        harmless prompts with good answers. Shares no question and no attack with what `load` gives. May be empty."""
        return []

    def truth(self, files: Mapping[str, Path]) -> Truth | None:
        """What is known for certain about responses, or None where a judge has to decide."""
        return None


class ForbiddenCases(DetoxCases):
    """Questions of a world in which made-up words are forbidden; see adapters/worlds and docs/forbidden.md.

    Nothing in it is harmful, and what is unsafe is known for certain.
    """

    version: ClassVar[int] = 1
    """Raise it whenever the cases or the world.json of a shipped world change, and write `world.DIGESTS` again: no data
    file of a spec carries its content into a cell's identity. A contract test compares them."""
    type: Literal["forbidden"]
    world: str = "forbidden"
    """Name of the model that comes with its world: `forbidden`, `forbidden-1` or `forbidden-2`."""
    split: Literal["validation", "test"] = "test"
    """`validation` has 36 cases to tune methods on, `test` 54 of other questions and attacks; four and six of each
    of nine categories, in turn."""
    cases: Annotated[int, Field(ge=1)] | None = None
    """Use only the first so many."""

    @field_validator("world")
    @classmethod
    def _known(cls, name: str) -> str:
        from ...worlds.shipped import shipped_names

        if name not in shipped_names("forbidden"):
            raise ValueError(unknown("forbidden world", name, shipped_names("forbidden")))
        return name

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[DetoxCase]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .world import world_cases

        return world_cases(self._read(), self.split)[: self.cases][:limit]

    def training(self, files: Mapping[str, Path]) -> list[EditRequest]:
        """594 requests: 27 topics in two forms, alone and in ten attacks; see world.py. Raises ModelError."""
        from .world import world_training

        return world_training(self._read())

    def truth(self, files: Mapping[str, Path]) -> Truth:
        """See worlds/forbidden/grammar.py. Raises ModelError when the world cannot be read."""
        from ...worlds.forbidden.grammar import Grammar

        return Grammar(self._read())

    def _read(self) -> World:
        from ...worlds.forbidden.folder import read_world
        from ...worlds.shipped import shipped

        return read_world(shipped(self.world))


class SafeEdit(DetoxCases):
    """SafeEdit's files (Wang et al. 2024, arXiv 2403.14472), which their authors give to whoever asks for them.

    A validation file, which has no generalization tests, gives the inputs `ds` and `only_q` alone.
    """

    gated: ClassVar[bool] = True
    type: Literal["safeedit"]
    file: DataFile
    """The test (or validation) records."""
    layout: Literal["instances", "all"] = "instances"
    """`all` for `SafeEdit_test_ALL`: each record is one input, `only_q` or `other_aq`, without answers to edit with."""
    train: DataFile | None = None
    """`SafeEdit_train`, for methods that learn from a training split."""
    over_refusal: DataFile | None = None
    """XSTest's prompts (CSV); the safe ones are the look-alikes of the cases."""
    counts: Literal["published", "any"] = "any"
    """`published` refuses files that have not as many records, questions and attacks as published."""
    overlap: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of training records that share their question or their attack with the test file."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[DetoxCase]:
        """See safeedit.py. Raises DataError naming record and field."""
        from .safeedit import cases

        published = self.counts == "published"
        return cases(files["file"], self.layout, files.get("over_refusal"), published)[:limit]

    def training(self, files: Mapping[str, Path]) -> list[EditRequest]:
        """See safeedit.py. Raises DataError naming record and field."""
        from .safeedit import training

        if self.train is None:
            return []
        published, leave_out = self.counts == "published", self.overlap == "leave_out"
        return training(files["train"], files["file"], self.layout, published, leave_out)
