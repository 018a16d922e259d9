"""Questions as pairs of token sequences for one model.

A prompt and what follows it are tokenised as one text (lm/scoring.py), so that an answer's tokens are those that the
model would have to produce. Source and destination of a patch meet position by position, so both prompts of a pair
have as many tokens; nothing is padded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...canonical import place
from ...errors import DataError
from ..lm.graph.pairs import Pair
from ..lm.model import LanguageModel
from ..lm.scoring import Row, Unusable, encode, encode_prompt
from .items import Answer, Question, Text

Tokens: TypeAlias = tuple[int, ...]
Answers: TypeAlias = Literal["first_differing", "single"]

LENGTHS = "clean and corrupt prompt have different numbers of tokens"
SAME = "clean and corrupt prompt are the same tokens"
ALONE = "no question of its group has as many tokens and another answer"
ALIKE = "no token tells right from wrong answers"
SEVERAL = "an answer has several tokens"


@dataclass(frozen=True)
class Paired:
    """What questions became."""

    pairs: list[Pair]
    """In the order of the questions."""
    questions: list[Question]
    """Those of the pairs, in the same order."""
    skipped: dict[str, str]
    """Id of each other question -> why it could not be put to this model."""


@dataclass(frozen=True)
class Told:
    """Where right and wrong answers part."""

    shared: Tokens
    """What those that are told apart have in common before that; it is put behind both prompts."""
    right: Tokens
    """The next token of right answers, each once."""
    wrong: Tokens


@dataclass(frozen=True)
class _Encoded:
    """A question as tokens."""

    question: Question
    prompt: Tokens
    answers: tuple[Tokens, ...]


class _Unpaired(Unusable):
    """No pair: the reason that is counted, and what else helps somebody to mend the question."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(reason)
        self.details = details


def paired(lm: LanguageModel, questions: Sequence[Question], *, strict: bool, answers: Answers) -> Paired:
    """A pair for each question that has one.

    A question without a corrupt prompt takes that of another question of its group: one with as many tokens, whose
    answers are none of its own and begin with another token, or, where none is, share as few tokens as possible. All
    of them stand on a circle in an order that looks random, and the next one is taken, so that a question which is
    added or left out changes only the counterparts that it is or was.

    Answers of several tokens are not asked with `single`; with `first_differing` see `told_apart`. With
    `strict` a question that has no pair raises DataError, which shows the tokens.
    """
    encoded: dict[str, _Encoded] = {}
    found: dict[str, Pair] = {}
    skipped: dict[str, str] = {}
    for question in questions:
        try:
            encoded[question.id] = _encoded(lm, question, answers)
        except Unusable as error:
            _skip(question, error, skipped, strict)
    circles = _circles(encoded.values())
    for one in encoded.values():
        try:
            found[one.question.id] = _pair(lm, one, circles, answers)
        except Unusable as error:
            _skip(one.question, error, skipped, strict)
    asked = [q for q in questions if q.id in found]
    return Paired([found[q.id] for q in asked], asked, skipped)


def told_apart(right: Sequence[Tokens], wrong: Sequence[Tokens]) -> Told | None:
    """The place where most answers are told apart by their next token; None where no token does it.

    A right and a wrong answer part at the first token in which they differ. Of several answers some may part earlier:
    while more of them have a beginning in common, right ones with wrong ones, than part here, that beginning is
    followed. A token that begins right and wrong answers alike (the 3 of 1733 and 1731, digit by digit, when 1732 is
    the limit), and an answer that is the beginning of another, are left out.
    """
    shared: Tokens = ()
    while True:
        at = len(shared)
        rights = Counter(answer[at] for answer in right if len(answer) > at)
        wrongs = Counter(answer[at] for answer in wrong if len(answer) > at)
        both = rights.keys() & wrongs.keys()
        only_right = tuple(token for token in rights if token not in both)
        only_wrong = tuple(token for token in wrongs if token not in both)
        apart = sum(rights[token] for token in only_right) + sum(wrongs[token] for token in only_wrong)
        most = max(both, key=lambda token: (rights[token] + wrongs[token], -token), default=None)
        if only_right and only_wrong and (most is None or apart >= rights[most] + wrongs[most]):
            return Told(shared, only_right, only_wrong)
        if most is None:
            return None
        shared = (*shared, most)
        right = [answer for answer in right if answer[: at + 1] == shared]
        wrong = [answer for answer in wrong if answer[: at + 1] == shared]


def _skip(question: Question, error: Unusable, skipped: dict[str, str], strict: bool) -> None:
    if strict:
        where = f"{question.place}: " if question.place else ""
        details = f": {error.details}" if isinstance(error, _Unpaired) else ""
        raise DataError(f"{where}question {question.id!r}: {error}{details}") from error
    skipped[question.id] = str(error)


def _encoded(lm: LanguageModel, question: Question, answers: Answers) -> _Encoded:
    prompt = _prompt(lm, question.clean, question.answers)
    return _Encoded(question, prompt, _answers(lm, question.clean, prompt, question.answers, answers))


def _prompt(lm: LanguageModel, text: Text, answers: Sequence[Answer]) -> Tokens:
    if isinstance(text, str):
        follow = next((answer for answer in answers if isinstance(answer, str)), None)
        return encode_prompt(lm, text) if follow is None else _row(lm, text, follow).prompt
    if not text:
        raise Unusable("the prompt has no token")
    return _known(lm, text)


def _answers(
    lm: LanguageModel, text: Text, prompt: Tokens, answers: Sequence[Answer], kind: Answers
) -> tuple[Tokens, ...]:
    """Their tokens behind a prompt, each of which begins where the prompt ends."""
    found = []
    for answer in answers:
        if isinstance(answer, int):
            found.append(_known(lm, (answer,)))
        elif isinstance(text, str):
            row = _row(lm, text, answer)
            if row.prompt != prompt:
                raise _Unpaired("the tokens of the prompt depend on the answer", f"answer {answer!r}")
            found.append(row.target)
        else:
            raise _Unpaired("a prompt of token ids needs answers that are token ids", f"answer {answer!r}")
        if kind == "single" and len(found[-1]) > 1:
            raise _Unpaired(SEVERAL, f"{answer!r} is {_shown(lm, found[-1])}; `answers: first_differing` asks it")
    if not found:
        raise Unusable("it has no answer to be told from another")
    return tuple(found)


def _row(lm: LanguageModel, text: str, answer: str) -> Row:
    try:
        return encode(lm, text, answer)
    except Unusable as error:
        raise _Unpaired(str(error), f"{answer!r} behind {text!r}") from error


def _known(lm: LanguageModel, ids: Tokens) -> Tokens:
    size = len(lm.model.get_input_embeddings().weight)
    if odd := [i for i in ids if not 0 <= i < size]:
        raise _Unpaired("a token id is not in the vocabulary", f"{odd[0]} is not one of 0 to {size - 1}")
    return ids


def _circles(encoded: Iterable[_Encoded]) -> dict[tuple[str, int], list[_Encoded]]:
    """Those that could be each other's counterpart, by group and number of tokens."""
    circles: dict[tuple[str, int], list[_Encoded]] = defaultdict(list)
    for one in sorted(encoded, key=lambda one: place("counterpart", one.question.id)):
        if one.question.corrupt is None:
            circles[one.question.group, len(one.prompt)].append(one)
    return circles


def _pair(lm: LanguageModel, one: _Encoded, circles: dict[tuple[str, int], list[_Encoded]], kind: Answers) -> Pair:
    question = one.question
    if question.corrupt is None:
        corrupt, told = _counterpart(one, circles[question.group, len(one.prompt)])
    else:
        corrupt = _prompt(lm, question.corrupt, question.answers)
        wrong = _answers(lm, question.clean, one.prompt, question.wrongs, kind)
        if len(corrupt) != len(one.prompt):
            raise _Unpaired(LENGTHS, _out_of_step(lm, one.prompt, corrupt))
        if corrupt == one.prompt:
            raise _Unpaired(SAME, str(_shown(lm, corrupt)))
        parted = told_apart(one.answers, wrong)
        if parted is None:
            raise _Unpaired(ALIKE, f"right {question.answers}, wrong {question.wrongs}")
        told = parted
    length = len(one.prompt) + len(told.shared)
    if length > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return Pair(question.id, one.prompt + told.shared, corrupt + told.shared, told.right, told.wrong)


def _counterpart(one: _Encoded, circle: Sequence[_Encoded]) -> tuple[Tokens, Told]:
    start = next(i for i, other in enumerate(circle) if other is one)
    best: tuple[Tokens, Told] | None = None
    for i in range(start + 1, start + len(circle)):
        other = circle[i % len(circle)]
        if other.prompt == one.prompt or set(other.answers) & set(one.answers):
            continue
        told = told_apart(one.answers, other.answers)
        if told is not None and (best is None or len(told.shared) < len(best[1].shared)):
            best = other.prompt, told
            if not told.shared:
                break
    if best is None:
        raise Unusable(ALONE)
    return best


def _out_of_step(lm: LanguageModel, clean: Tokens, corrupt: Tokens) -> str:
    """Both as tokens, and what stands against what where they differ."""
    least = min(len(clean), len(corrupt))
    before = next((i for i in range(least) if clean[i] != corrupt[i]), least)
    after = next((i for i in range(least - before) if clean[-1 - i] != corrupt[-1 - i]), least - before)
    ours, theirs = clean[before : len(clean) - after], corrupt[before : len(corrupt) - after]
    return (
        f"clean {_shown(lm, clean)} has {len(clean)}, corrupt {_shown(lm, corrupt)} has {len(corrupt)}; out of step at "
        f"position {before} (from 0): {_shown(lm, ours)} against {_shown(lm, theirs)}"
    )


def _shown(lm: LanguageModel, ids: Tokens) -> list[str]:
    return [lm.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids]
