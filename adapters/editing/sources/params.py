"""What a spec can say of edit cases. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ....components import LEARNED_FROM, Data, DataFile
from ....errors import DataError, unknown

if TYPE_CHECKING:
    from ...lm.requests import EditRequest
    from ...worlds.knowledge.world import World
    from ..cases import EditCase, Probe
    from ..likeness import Likeness
    from .training import TrainingSplit


TRAINING: frozenset[str] = frozenset({"training_requests"})
"""What a source with a training split offers."""


class Learnable(Data):
    """Data that may have a training split: requests of subjects that are not asked about."""

    def training_split(self, files: Mapping[str, Path]) -> TrainingSplit:
        """What may be learned from, and how much was left out. Raises DataError, ModelError."""
        from .training import TrainingSplit

        return TrainingSplit(())

    def training(self, files: Mapping[str, Path]) -> Sequence[EditRequest]:
        """See `training_split`."""
        return self.training_split(files).requests


class OfWorld(Data):
    """What the sources share whose cases are those of a world that comes with the package; see adapters/worlds.

    Raise `version` of each whenever the world.json of a shipped world changes too, and write `world.DIGESTS` again: no
    data file of a spec carries its content into a cell's identity. A contract test compares them.
    """

    world: str = "atlas"
    """Name of the model that comes with its world."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """Use only the first so many cases."""

    @field_validator("world")
    @classmethod
    def _known(cls, name: str) -> str:
        from ...worlds.knowledge.folder import shipped_names

        if name not in shipped_names():
            raise ValueError(unknown("world", name, shipped_names()))
        return name

    def _read(self) -> World:
        """Raises ModelError when the world cannot be read."""
        from ...worlds.knowledge.folder import read_world, shipped

        return read_world(shipped(self.world))


class OfLearnedWorld(OfWorld, Learnable):
    """A world's cases of a split, with the single edits of another split's subjects to learn from."""

    split: Literal["validation", "test", "tuning"] = "test"
    """`validation` is a fifth of the subjects of each type, to tune methods on; `test` is the others, and who learns
    from a training split learns from `validation`. `tuning` is a half of `validation`, to tune those who learn: from
    its other half."""

    def offers(self) -> frozenset[str]:
        """A training split, but for `validation`, all of which is scored."""
        return super().offers() | (frozenset() if self.split == "validation" else TRAINING)

    def training_split(self, files: Mapping[str, Path]) -> TrainingSplit:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .training import TrainingSplit
        from .world import world_training

        return TrainingSplit(tuple(world_training(self._read(), self.split)))


class EditCases(Learnable):
    """What the sources of edit cases share."""

    yields: ClassVar[str] = "edit_case"

    def controls(self, files: Mapping[str, Path]) -> tuple[Probe, ...]:
        """Facts that have nothing to do with any request, to see what editing wears down; may be none.

        Raises DataError.
        """
        return ()

    def likeness(self, files: Mapping[str, Path]) -> Likeness | None:
        """What weighs the words of texts that are compared (consistency); None where the data compares none.

        Raises DataError.
        """
        return None


class EditFile(EditCases):
    """What the formats of files share."""

    file: DataFile
    """The records."""
    split: Literal["all", "validation", "test"] = "all"
    """`validation` is a fifth of the subjects, to tune methods on; `test` is the others (splits.py)."""
    training_file: Annotated[DataFile, LEARNED_FROM] | None = None
    """Records of the same format for methods that learn before they edit. Those of a scored subject are left out."""

    def offers(self) -> frozenset[str]:
        """A training split, where there is a file of it."""
        return super().offers() | (TRAINING if self.training_file else frozenset())

    def training_split(self, files: Mapping[str, Path]) -> TrainingSplit:
        """See training.py. Raises DataError naming record and field, or when no record is left."""
        from .training import TrainingSplit, training_split

        if self.training_file is None:
            return TrainingSplit(())
        file = files["training_file"]
        found = training_split(self.read({**files, "file": file}), self.load(files, None))
        if not found.requests:
            raise DataError(f"{file}: no record to learn from; {found.left_out} have a subject that is scored too")
        return found

    def cases(self, file: Path) -> Iterator[EditCase]:
        """All cases of a file, in its order. Raises DataError naming record and field."""
        raise NotImplementedError

    def read(self, files: Mapping[str, Path]) -> Iterator[EditCase]:
        """`cases`, for formats that have more than one file. Raises DataError naming record and field."""
        return self.cases(files["file"])

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[EditCase]:
        """The first `limit` cases of the split. Raises DataError naming record and field."""
        from .splits import of_split

        file = files["file"]
        found = list(islice(of_split(self.read(files), self.split), limit))
        if not found:
            raise DataError(f"{file}: no record is in the split {self.split!r}")
        return found


class KnowEdit(EditFile):
    """KnowEdit's files (Zhang et al. 2024, arXiv 2401.01286), all but ConvSent."""

    type: Literal["knowedit"]

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See knowedit.py."""
        from .knowedit import knowedit_cases

        return knowedit_cases(file)


class CounterFact(EditFile):
    """CounterFact (Meng et al. 2022, arXiv 2202.05262), in its original form or in EasyEdit's."""

    type: Literal["counterfact"]
    snippets: DataFile | None = None
    """ROME's `attribute_snippets.json`, of which consistency and essence are made."""

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See counterfact.py."""
        from .counterfact import counterfact_cases

        return counterfact_cases(file)

    def read(self, files: Mapping[str, Path]) -> Iterator[EditCase]:
        """The cases, with the texts that belong to them."""
        from .counterfact import counterfact_cases
        from .snippets import Snippets

        given = files.get("snippets")
        return counterfact_cases(files["file"], Snippets(given) if given else None)

    def likeness(self, files: Mapping[str, Path]) -> Likeness | None:
        """Words weighted as ROME does: by all of its attribute snippets. Raises DataError."""
        from ..likeness import Likeness
        from .snippets import Snippets

        given = files.get("snippets")
        if not given:
            return None
        try:
            return Likeness(Snippets(given).texts())
        except ValueError as error:
            raise DataError(f"{given}: no text has a word of two letters") from error


class ZsRE(EditFile):
    """zsRE in MEND's form (Mitchell et al. 2021, arXiv 2110.11309)."""

    type: Literal["zsre"]
    style: Literal["mend", "rome"] = "mend"
    """`mend` (and EasyEdit) edits towards the wrong answer `alt`; `rome` (MEMIT, AlphaEdit) towards the right one."""

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See zsre.py."""
        from .zsre import zsre_cases

        return zsre_cases(file, self.style)


class EditRequests(EditFile):
    """Requests of one's own: a JSON list or JSONL of maps with `prompt`, `subject` and `target_new`."""

    type: Literal["edit_requests"]

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See requests.py."""
        from .requests import request_cases

        return request_cases(file)


class WorldEdits(OfLearnedWorld, EditCases):
    """Counterfactual edits of a world."""

    version: ClassVar[int] = 1
    type: Literal["world_edits"]

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[EditCase]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .world import world_cases

        return world_cases(self._read(), self.split)[: self.requests][:limit]

    def controls(self, files: Mapping[str, Path]) -> tuple[Probe, ...]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from .world import world_controls

        return world_controls(self._read(), self.split)
