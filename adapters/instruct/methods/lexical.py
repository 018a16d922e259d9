"""Stages that look at the words of one row: how many, how varied, and whether the answer is spoiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ....components import Strict
from ..rows import Rejected, Row
from ..stage import Outcome, Stage, Workbench
from ..texts import TOKENISERS, Part, Tokeniser, part

Words = Annotated[int, Field(ge=0)]
Ttr = Annotated[float, Field(gt=0, lt=1)]


class Span(Strict):
    """From how many words to how many, both included."""

    least: Words = 0
    most: Words | None = None
    """No limit if empty."""

    @model_validator(mode="after")
    def _in_order(self) -> Span:
        if self.most is not None and self.most < self.least:
            raise ValueError("`most` is below `least`")
        return self

    def judged(self, row: Row, what: str, count: int) -> Rejected | None:
        """The rejection of a row with too few words or too many; None for one inside."""
        if count < self.least:
            return Rejected(row, f"{what} too short", float(count))
        return Rejected(row, f"{what} too long", float(count)) if self.most is not None and count > self.most else None


class Length(Stage):
    """Keeps rows whose texts have so many words, in any script (texts.py)."""

    type: Literal["length"]
    instruction: Span = Span(least=1)
    input: Span = Span()
    output: Span = Span(least=1)
    tokeniser: Tokeniser = "unicode"
    """See `rouge`."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        words = TOKENISERS[self.tokeniser]
        for row in rows:
            spans = {"instruction": self.instruction, "input": self.input, "output": self.output}
            judged = (span.judged(row, name, len(words(getattr(row, name)))) for name, span in spans.items())
            yield next((rejected for rejected in judged if rejected), row)


class LengthEasyinstruct(Stage):
    """EasyInstruct's `LengthSelector`: words are what white space divides, so that a Chinese sentence is one word."""

    type: Literal["length-easyinstruct"]
    instruction: Span = Span(least=3, most=150)
    response: Span = Span(least=1, most=350)

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        for row in rows:
            asked = self.instruction.judged(row, "instruction", len(row.instruction.split()))
            yield asked or self.response.judged(row, "output", len(row.output.split())) or row


class Bounded(Stage):
    """A stage that gives each row a number and keeps the rows whose number is inside an interval."""

    type: str
    minimum: float | None = None
    """Rows below it are turned away."""
    maximum: float | None = None
    """Rows above it are turned away."""
    undefined: Literal["keep", "reject"] = "keep"
    """What becomes of rows that have no such number; their score is null."""

    def judged(self, row: Row, value: float | None, bench: Workbench) -> Outcome:
        """The row with its score, kept or rejected."""
        row = row.scored(**{bench.name: value})
        if value is None:
            return row if self.undefined == "keep" else Rejected(row, "has no score")
        if self.minimum is not None and value < self.minimum:
            return Rejected(row, "below the minimum", value)
        if self.maximum is not None and value > self.maximum:
            return Rejected(row, "above the maximum", value)
        return row


class Mtld(Bounded):
    """Lexical diversity, MTLD (McCarthy & Jarvis 2010, doi 10.3758/BRM.42.2.381; see lexical.py).

    Not defined for a text in which no word comes twice, as in most short instructions; no interval is set unless given.
    """

    type: Literal["mtld"]
    field: Part = "output"
    """What is measured; `prompt` is instruction and input."""
    ttr: Ttr = 0.72
    """Type-token ratio at which a factor is full."""
    tokeniser: Tokeniser = "unicode"
    """See `rouge`."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..lexical import mtld

        words = TOKENISERS[self.tokeniser]
        for row in rows:
            yield self.judged(row, mtld(words(part(row, self.field)), self.ttr), bench)


class MtldEasyinstruct(Bounded):
    """EasyInstruct's `MTLDSelector`: MTLD of the instruction by LexicalRichness's rules, from 8 to 22, which keeps
    half of Alpaca. A text of different words has its length as MTLD.

    An instruction without words (empty, digits, punctuation) ends EasyInstruct's run; here that row is turned away.
    """

    type: Literal["mtld-easyinstruct"]
    minimum: float | None = 8.0
    maximum: float | None = 22.0
    undefined: Literal["keep", "reject"] = "reject"
    ttr: Ttr = 0.72
    """See `mtld`."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..lexical import mtld_easyinstruct

        for row in rows:
            yield self.judged(row, mtld_easyinstruct(row.instruction, self.ttr), bench)


class Rules(Stage):
    """Turns away rows with a spoiled answer, by rules that need no model (rules.py says what each is and why).

    The reason is the name of the first rule that the row breaks.
    """

    type: Literal["rules"]
    empty: bool = True
    """Nothing, or a word for nothing (`N/A`)."""
    echo: bool = True
    """The instruction said again."""
    refusal: bool = True
    """An assistant that does not answer."""
    repetition: bool = True
    """A phrase over and over."""
    truncated: bool = True
    """Cut off in the middle."""
    web: bool = True
    """Markup, or the fixed phrases of web pages."""
    noise: bool = True
    """Damaged characters."""
    salad: bool = True
    """English words in no order."""
    wrong_script: bool = True
    """Another script than the question's."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..rules import RULES, broken

        switches: Mapping[str, bool] = self.model_dump()
        wanted = [rule for rule in RULES if switches[rule]]
        for row in rows:
            reason = broken(row, wanted)
            yield row if reason is None else Rejected(row, reason)
