"""Stages that make rows of their own: with a model that writes, or from a graph. Their prompts are in ../prompts.

Each is a function of its rows, the seed and the replies: replaying the replies gives the same rows. Ids say what a row
was made from, and every candidate that was turned away is told with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ....components import DataFile
from ..rows import Row
from ..stage import Outcome, Stage, Workbench

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Share = Annotated[float, Field(gt=0, le=1)]
Operation = Literal["constraints", "deepen", "concrete", "reasoning", "input", "breadth"]


class _Writing(Stage):
    """What generators with a model share."""

    type: str
    generates: ClassVar[bool] = True
    model: str = "writer"
    """Role of the model that writes."""
    temperature: Temperature
    top_p: Share
    max_tokens: Count
    """Of what is drawn."""
    answer_tokens: Count = 1024
    """Of an answer, which is not drawn (temperature 0). What is longer is cut off, and turned away."""

    def roles(self) -> dict[str, str]:
        """The model that writes."""
        return {self.model: "chat_model"}


class _Counted(_Writing):
    """What those share that go on until they have made enough."""

    type: str
    count: Count
    """Rows to make: exactly so many, or fewer, and the stage says how many are missing."""
    patience: Count = 20
    """Requests without a new row after which it gives up."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests of a round, which may run at the same time. Part of the result: later ones show what they wrote."""


class SelfInstruct(_Counted):
    """New instructions after the pattern of the rows that come in, and then an input and an output for each.

    Self-Instruct (Wang et al. 2023, arXiv 2212.10560): a request shows 6 of the rows and 2 written so far (8 rows
    while there are none); what is too like a known instruction, too short or long, or needs more than text is turned
    away; the model says whether a task is a classification, whose labels are written before the inputs.
    EasyInstruct never shows what was written, lower-cases it ("usa"), loses items that are not numbered as it expects,
    and overshoots the count; this stage does neither.
    """

    type: Literal["self_instruct"]
    temperature: Temperature = 0.7
    top_p: Share = 0.5
    max_tokens: Count = 3072
    """Of a list of instructions."""
    rouge: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """ROUGE-L with any known instruction above which one is turned away."""
    words: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (4, 150)
    """Fewest and most words of an instruction; of scripts without spaces, characters."""
    unanswerable: tuple[Annotated[str, Field(min_length=1)], ...] = (
        "image",
        "images",
        "picture",
        "pictures",
        "photo",
        "photos",
        "graph",
        "graphs",
        "draw",
        "plot",
        "video",
        "videos",
        "audio",
    )
    """Words and phrases of tasks that need more than text; in any case, as whole words."""

    @model_validator(mode="after")
    def _few_before_many(self) -> Self:
        if self.words[0] > self.words[1]:
            raise ValueError(f"words: the fewest, {self.words[0]}, is more than the most, {self.words[1]}")
        return self

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/self_instruct.py. Raises DataError, ModelError."""
        from ..generating.self_instruct import generated

        return generated(self, list(rows), bench)


class EvolInstruct(_Writing):
    """Harder and rarer versions of the rows that come in, each with its answer.

    Evol-Instruct (Xu et al. 2023, arXiv 2304.12244): in every round an instruction is changed by an operation drawn
    anew, five in depth and one in breadth. Turned away is what asks for no more than its parent (the model is asked),
    copies words of the prompt, or has an answer that is a short apology or only stop words; its parent is tried again.
    EasyInstruct makes one round and eliminates nothing but the copies.
    """

    type: Literal["evol_instruct"]
    temperature: Temperature = 1.0
    top_p: Share = 0.95
    max_tokens: Count = 2048
    rounds: Annotated[int, Field(ge=1, le=10)] = 4
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)] = (
        "constraints",
        "deepen",
        "concrete",
        "reasoning",
        "input",
        "breadth",
    )
    """Each drawn as often as it stands here."""
    count: Count | None = None
    """Rows to make at most, and the stage says how many are missing; all that the rounds give if empty."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/evol.py. Raises ModelError."""
        from ..generating.evol import generated

        return generated(self, rows, bench)


class Backtranslation(Stage):
    """Instructions for texts, which become their answers; kept are pairs that a judge finds good.

    Instruction backtranslation (Li et al. 2023, arXiv 2308.06259): a model writes the instruction that a text answers,
    and the pair is scored from 1 to 5 (../prompts/score.yaml). Every text is used once, so it ends; EasyInstruct draws
    texts with replacement at temperature 0 and may never end.
    """

    type: Literal["backtranslation"]
    generates: ClassVar[bool] = True
    model: str = "writer"
    """Role of the model that writes instructions."""
    judge: str = "writer"
    """Role of the model that scores; the paper's is the same."""
    column: Annotated[str, Field(min_length=1)] = "output"
    """Where a row has its text: `output`, or any field of its record."""
    threshold: Annotated[float, Field(ge=1, le=5)] = 5
    """Least score that is kept; the paper's final data has 5."""
    max_tokens: Count = 256
    """Of an instruction."""
    score_tokens: Count = 512
    """Of a judge's reply."""
    count: Count | None = None
    """Rows to make at most, and the stage says how many are missing; all if empty."""

    def roles(self) -> dict[str, str]:
        """Who writes, and who scores."""
        return {self.model: "chat_model", self.judge: "chat_model"}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/backtranslation.py. Raises DataError, ModelError."""
        from ..generating.backtranslation import generated

        return generated(self, rows, bench)


class KgToInstruct(Stage):
    """Extraction tasks with their answers, from texts and triples of one's own; no model is asked.

    After InstructIE (Gui et al. 2023, arXiv 2305.11527): names of entities are found in a text, and the triples between
    them are the answer. A text without one is turned away. That a text names both ends of a triple does not prove that
    it states it: such noise is in the method. EasyInstruct returns triples, not instructions.
    """

    type: Literal["kg_to_instruct"]
    generates: ClassVar[bool] = True
    triples: DataFile
    """JSON or JSONL with `subject`, `relation`, `object`, perhaps `aliases` (of the subject) and `object_aliases`."""
    column: Annotated[str, Field(min_length=1)] = "output"
    """Where a row has its text: `output`, or any field of its record."""
    distractors: Annotated[int, Field(ge=0)] = 2
    """Relations that are asked for though the text has none of them, so that the question does not tell the answer."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/triples.py. Raises DataError."""
        from ..generating.triples import generated

        return generated(self, rows, bench)


class Magpie(_Counted):
    """Instructions that an aligned model writes by itself when it is given the head of a user's turn; and its answers.

    Magpie (Xu et al. 2024, arXiv 2406.08464). Needs a model in this process: an endpoint puts every text into its chat
    template. Rows that come in are not looked at.
    """

    type: Literal["magpie"]
    temperature: Temperature = 1.0
    top_p: Share = 0.99
    max_tokens: Count = 512
    """Of an instruction."""
    header: Annotated[str, Field(min_length=1)] | None = None
    """What stands before a user's words; taken from the model's own chat template if empty."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/magpie.py. Raises ModelError."""
        from ..generating.magpie import generated

        return generated(self, bench)
