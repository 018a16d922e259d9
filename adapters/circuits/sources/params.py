"""What a spec can say of questions. Nothing heavy is imported here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ....components import Data, DataFile, DataFolder
from ....errors import unknown
from ...worlds.compiled.design import VERSION, Design

if TYPE_CHECKING:
    from ..items import Question

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


class Questions(Data):
    """What the sources share."""

    yields: ClassVar[str] = "question"

    def offers(self) -> frozenset[str]:
        """Questions that can be made pairs of."""
        return frozenset({"prompt_pairs"})

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """All of them. Raises DataError."""
        raise NotImplementedError

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[Question]:
        """At most `limit`: the first ones of each relation, as many of each as can be. Raises DataError."""
        questions = list(self.questions(files))
        return questions if limit is None else _spread(questions, limit)


def _spread(questions: Sequence[Question], limit: int) -> list[Question]:
    """Relations give a question in turn; those that were given stand in their old order."""
    seen: Counter[str] = Counter()
    turns = []
    for question in questions:
        turns.append(seen[question.relation])
        seen[question.relation] += 1
    chosen = sorted(range(len(questions)), key=lambda i: turns[i])[:limit]
    return [questions[i] for i in sorted(chosen)]


class PromptPairs(Questions):
    """Pairs of one's own: a JSON list or JSONL of maps with `clean`, `corrupt`, `answer` and `wrong`, as text or as
    token ids; see files.py."""

    type: Literal["prompt_pairs"]
    file: DataFile
    """The records."""
    examples: str | None = None
    """Which of them, where the file has several lists under `examples`."""

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See files.py."""
        from .files import read_questions

        return read_questions(files["file"], self.examples)


class Lre(Questions):
    """Relations of Hernandez et al. 2023 (arXiv 2308.09124), which Knowledge Circuits uses too: a JSON file each."""

    type: Literal["lre"]
    folder: DataFolder = "."
    """Holds their files, in folders or not."""
    relations: tuple[str, ...] = ()
    """Names of files without `.json`, `country_capital_city`; all when empty."""
    templates: Literal["zero_shot", "few_shot"] = "zero_shot"
    """Which list of templates: `prompt_templates_zs`, or `prompt_templates`, meant to stand behind demonstrations."""
    template: Index = 0
    """Which of them."""

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See lre.py."""
        from .lre import relation_questions

        return relation_questions(self, files["folder"])


class KnownFacts(Questions):
    """Facts that GPT-2 XL knows (Meng et al. 2022, arXiv 2202.05262), `known_1000.json`."""

    type: Literal["known_facts"]
    file: DataFile

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See known.py."""
        from .known import known_facts

        return known_facts(files["file"])


class WorldRelations(Questions):
    """Facts of a world that comes with the package; see adapters/worlds."""

    version: ClassVar[int] = 1
    """Raise it whenever the world.json of a shipped world changes too, since no data file of a spec carries its content
    into a cell's identity. A test compares digests."""
    type: Literal["world_relations"]
    world: str = "atlas"
    """Name of the model that comes with its world."""
    relations: tuple[str, ...] = ()
    """Which ones, `born_in`; all when empty."""
    template: Index = 0
    """Which of the relation's trained sentences; the first is never held out of training."""
    per_relation: Count | None = None
    """At most so many of each."""

    @field_validator("world")
    @classmethod
    def _known(cls, name: str) -> str:
        from ...worlds.knowledge.folder import shipped_names

        if name not in shipped_names():
            raise ValueError(unknown("world", name, shipped_names()))
        return name

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See world.py. Raises ModelError when the world cannot be read."""
        from ...worlds.knowledge.folder import read_world, shipped
        from .world import world_questions

        return world_questions(self, read_world(shipped(self.world)))


class CompiledQuestions(Questions, Design):
    """What a compiled model (`source: {type: compiled}` with the same fields) is asked; its counterparts exchange
    relation and subject."""

    version: ClassVar[int] = VERSION
    type: Literal["compiled_questions"]
    seed: Index = 0
    """The model's."""

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See compiled.py."""
        from .compiled import compiled_questions

        return compiled_questions(self)


class Made(Questions):
    """Questions from templates and word lists of our own; see tasks.py."""

    size: Count = 200
    """How many."""
    seed: Index = 0
    """Of what is drawn. Question 7 is the same whatever the size."""


class Ioi(Made):
    """Indirect object identification (Wang et al. 2022, arXiv 2211.00593): who is given something?

    Corrupt: the giver's second mention becomes a third name.
    """

    type: Literal["ioi"]

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See tasks.py."""
        from .tasks import indirect_objects

        return indirect_objects(self)


class GreaterThan(Made):
    """An end year after a start year (Hanna et al. 2023, arXiv 2305.00586); right are all later ones of the century.

    Corrupt: the start year is the century's first.
    """

    type: Literal["greater_than"]

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See tasks.py."""
        from .tasks import later_years

        return later_years(self)


class Induction(Made):
    """A row of words begins anew (Olsson et al. 2022, arXiv 2209.11895): what came after this word before?

    Corrupt: another word stood there.
    """

    type: Literal["induction"]
    words: Annotated[int, Field(ge=3, le=40)] = 10
    """Words in the row before it begins anew."""

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See tasks.py."""
        from .tasks import repeated_words

        return repeated_words(self)


class Mcqa(Made):
    """A fact is stated and asked for, with lettered choices (after Wiegreffe et al. 2024, arXiv 2407.15018).

    Corrupt: the fact is another one of the choices.
    """

    type: Literal["mcqa"]

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See tasks.py."""
        from .tasks import lettered_choices

        return lettered_choices(self)


class Arithmetic(Made):
    """`37 + 15 =`. Corrupt: two other numbers, with as many digits, and so has the result."""

    type: Literal["arithmetic"]
    operations: Annotated[tuple[Literal["+", "-"], ...], Field(min_length=1)] = ("+", "-")
    digits: Literal[1, 2] = 2
    """Of each of the two numbers."""

    def questions(self, files: Mapping[str, Path]) -> Iterable[Question]:
        """See tasks.py."""
        from .tasks import sums

        return sums(self)
