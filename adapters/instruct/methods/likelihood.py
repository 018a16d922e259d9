"""Stages that score a row by the losses of its answer under a language model: perplexity, and what is called IFD."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from ....components import NOT_IDENTITY
from ...chat.requests import sendable
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from .diversity import Limited, ranked
from .lexical import Bounded

if TYPE_CHECKING:
    from ...lm.model import LanguageModel

CHUNK = 256
"""Rows that are in memory at once: enough to find batches of like lengths."""
PLACEHOLDERS = ("instruction", "input", "prompt", "output")


def filled(template: str, row: Row) -> str:
    """A template with the row's texts in its placeholders; `{prompt}` is instruction and input, each on its line.

    What was said earlier in a conversation stands in front of the instruction, a turn a line.
    """
    texts = row.texts()
    return sendable(re.sub(r"\{(instruction|input|prompt|output)\}", lambda found: texts[found[1]], template))


def _known(template: str) -> str:
    for name in re.findall(r"\{(\w+)\}", template):
        if name not in PLACEHOLDERS:
            raise ValueError(f"unknown placeholder {{{name}}}; known: {', '.join(PLACEHOLDERS)}")
    return template


def _question(template: str) -> str:
    if "{output}" in template:
        raise ValueError("a prompt cannot contain {output}, the answer whose loss is measured")
    return _known(template)


Template = Annotated[str, AfterValidator(_known)]
"""A text with `{instruction}`, `{input}`, `{prompt}` (both) and `{output}`."""
Question = Annotated[str, AfterValidator(_question)]
"""The same, without `{output}`."""


class ModelScored(Bounded):
    """Gives each row a number by a language model, and keeps the rows whose number is inside an interval.

    Rows pass through in chunks. What is computed beside a row in a batch changes its number by rounding only.
    """

    type: str
    model: str = "scorer"
    """Role of the language model."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 8

    def roles(self) -> dict[str, str]:
        """The model."""
        return {self.model: "language_model"}

    def values(self, lm: LanguageModel, rows: Sequence[Row]) -> list[float | None]:
        """The number of each row; None where it is not defined. Raises ModelError."""
        raise NotImplementedError

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        while chunk := list(islice(rows, CHUNK)):
            values = self.values(bench.models[self.model], chunk)
            bench.progress(len(chunk))
            for row, value in zip(chunk, values, strict=True):
                yield self.judged(row, value, bench)


class Perplexity(ModelScored):
    """exp of the mean negative log-likelihood of the output's tokens (Jelinek et al. 1977).

    Each token counts once and equally, read in overlapping windows when the text is longer than the model's context.
    A text's first token has a probability only where the tokenizer puts a token before it; a text with nothing that
    can be scored has no perplexity.
    """

    type: Literal["perplexity"]
    scores_are: ClassVar[str] = "worse"
    of: Literal["output", "output_given_prompt"] = "output"
    """The output alone, or as the answer to `prompt`."""
    prompt: Question = "{prompt}\n"
    """What stands before the output with `output_given_prompt`; a user's turn for a model with a chat template."""
    window: Annotated[int, Field(ge=2)] | None = None
    """Tokens that are read at once; the model's context if empty."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens from one window to the next, below `window`; half a window if empty."""

    @model_validator(mode="after")
    def _overlap(self) -> Perplexity:
        if self.window is not None and self.stride is not None and self.stride >= self.window:
            raise ValueError("`stride` must be below `window`, or tokens between windows are scored by none")
        return self

    def values(self, lm: LanguageModel, rows: Sequence[Row]) -> list[float | None]:
        """See `perplexity`, `losses` in ../likelihood.py."""
        from ....errors import ModelError
        from ...lm.scoring import as_asked
        from ..likelihood import losses, mean_loss, perplexity, read, reading_length

        window = reading_length(lm, self.window, "window")
        stride = self.stride or max(1, window // 2)
        if stride >= window:
            raise ModelError(f"stride: {stride} is not below the window, the model's context of {window} tokens")
        texts = []
        for row in rows:
            before = as_asked(lm, filled(self.prompt, row)) if self.of == "output_given_prompt" else ""
            ids, start = read(lm, before, row.output)
            texts.append((ids, max(start, 1)))
        return [perplexity(mean_loss(parts)) for parts in losses(lm, texts, window, stride, self.batch_size)]


class PerplexityEasyInstruct(ModelScored):
    """EasyInstruct's `PPLSelector`: exp of the mean over windows of each window's mean loss, at most 200.

    Windows of the model's context begin every 512 tokens; each counts alike, so the few tokens of the last one weigh as
    much as the thousand of the first. In a model with a context of 512 or less, tokens between windows are not scored.
    An output with a single token has no number (the original gets nan there, and drops the row); so has an empty one
    (on which the original stops).
    """

    type: Literal["perplexity-easyinstruct"]
    scores_are: ClassVar[str] = "worse"
    maximum: float | None = 200.0
    """Rows above it are turned away."""
    undefined: Literal["keep", "reject"] = "reject"
    """What becomes of rows that have no such number; their score is null."""

    def values(self, lm: LanguageModel, rows: Sequence[Row]) -> list[float | None]:
        """See `losses` in ../likelihood.py."""
        from ..likelihood import losses, mean_of_windows, perplexity, read

        texts = [(read(lm, "", row.output)[0], 1) for row in rows]
        return [perplexity(mean_of_windows(parts)) for parts in losses(lm, texts, lm.context, 512, self.batch_size)]


class InstructionFollowingDifficulty(ModelScored, Limited):
    """What three published codes call IFD: the loss of the answer A given the question Q against that of A alone.

    The first token of A has no loss in the pass without a question where nothing stands before it (no `direct`, and a
    tokenizer that puts no token in front), as published. An answer without a scored token has no number.
    """

    type: str
    scores_are: ClassVar[str] = "better"
    prompt: Question
    """What stands before the answer in the pass with a question."""
    prompt_without_input: Question | None = None
    """The same for rows without an input; `prompt` if empty."""
    direct: str = ""
    """What stands before the answer in the pass without a question."""
    max_tokens: Annotated[int, Field(ge=2)] | None = None
    """Tokens of prompt and answer that are read; the end of a longer answer is left out in both passes. The model's
    context if empty."""
    undefined: Literal["keep", "reject"] = "reject"
    """What becomes of rows that have no such number; their score is null."""

    def ratio(self, given: float, alone: float) -> float:
        """The number, from the mean losses in nats of A given Q, and of A. Raises ZeroDivisionError, OverflowError."""
        return given / alone

    def values(self, lm: LanguageModel, rows: Sequence[Row]) -> list[float | None]:
        """See `answer_losses` in ../likelihood.py."""
        from ..likelihood import answer_losses, finite, reading_length

        most = reading_length(lm, self.max_tokens, "max_tokens")
        cases = []
        for row in rows:
            no_input = not row.input and self.prompt_without_input is not None
            template = self.prompt_without_input if no_input else self.prompt
            cases.append((filled(template or "", row), self.direct, row.output))
        found: list[float | None] = []
        for pair in answer_losses(lm, cases, most, self.batch_size):
            try:
                found.append(None if pair is None else finite(self.ratio(*pair)))
            except (ZeroDivisionError, OverflowError):
                found.append(None)
        return found

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """With `n` or `share` all rows are held: of those inside the interval, the highest are kept."""
        judged = super().run(rows, bench)
        if self.n is None and self.share is None:
            yield from judged
            return
        outcomes = list(judged)
        inside = [outcome for outcome in outcomes if isinstance(outcome, Row)]
        order = ranked([row.scores[bench.name] for row in inside])
        lower = {inside[i].id for i in order[self.wanted(len(outcomes)) :]}
        for outcome in outcomes:
            if isinstance(outcome, Row) and outcome.id in lower:
                yield Rejected(outcome, "not among the highest", outcome.scores[bench.name])
            else:
                yield outcome


class IfdCherry(InstructionFollowingDifficulty):
    """Mean loss of A given Q divided by mean loss of A (Li et al. 2024, arXiv 2308.12032; the code of Cherry LLM).

    Both passes have the response marker before A. Above 1 the question is of no help to the answer: such rows are
    dropped, and of the others the highest are taken. The layout is Alpaca's without its opening sentences; give these
    in the two prompts for the published numbers.
    """

    type: Literal["ifd-cherry"]
    maximum: float | None = 1.0
    """Rows above it are turned away."""
    prompt: Question = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
    """What stands before the answer in the pass with a question."""
    prompt_without_input: Question | None = "### Instruction:\n{instruction}\n\n### Response:"
    """The same for rows without an input; `prompt` if empty."""
    direct: str = "### Response:"
    """What stands before the answer in the pass without a question."""


class IfdSuperfiltering(InstructionFollowingDifficulty):
    """Perplexity of A given Q divided by perplexity of A, by a small model (Li et al. 2024, arXiv 2402.00530).

    Another quantity than `ifd-cherry`: exp of the difference of the losses, not their ratio. A share is one of the rows
    that the stage takes (the published code counts 52,002, whatever the data); it keeps what is below 1, here a ratio
    of exactly 1 is kept as well.
    """

    type: Literal["ifd-superfiltering"]
    maximum: float | None = 1.0
    """Rows above it are turned away."""
    prompt: Question = "{prompt}\n"
    """What stands before the answer in the pass with a question."""

    def ratio(self, given: float, alone: float) -> float:
        """Of perplexities."""
        return math.exp(given - alone)


class IfdDataJuicer(InstructionFollowingDifficulty):
    """Mean loss of A given Q divided by mean loss of A, as data-juicer's filter of this name has it.

    It keeps 1 to 100 by default, the other side of what `ifd-cherry` keeps; question and answer are joined by a
    space, and nothing marks the answer. (The original reads the answer without white space around it.)
    """

    type: Literal["ifd-data-juicer"]
    minimum: float | None = 1.0
    """Rows below it are turned away."""
    maximum: float | None = 100.0
    """Rows above it are turned away."""
    prompt: Question = "{prompt} "
    """What stands before the answer in the pass with a question."""
