"""Answers that edited models write of themselves: many low-rank edits at once, others one model after the other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from ..lm.model import LanguageModel
from ..lm.patch import Patch, can_stack, stacked
from ..lm.scoring import single_tokens
from ..lm.writing import Answer, Question, written
from .sources.splits import normalised

_ARTICLES = frozenset({"a", "an", "the"})


Ask = tuple[str, str]
"""A form with `{question}` in it, and the question. A patch that changes prompts changes the question, not what the
form puts around it: a memory is searched with what is asked, not with worked examples."""


def answered(
    lm: LanguageModel,
    models: Sequence[tuple[Patch, Sequence[Ask]]],
    length: int,
    batch_size: int,
    until: Sequence[str] = (),
) -> list[list[str | None]]:
    """What each model, changed by its patch, writes to its questions: greedily, at most `length` tokens, up to the end
    of the text or to the first of the marks `until`. Where notes leave no room for so many tokens, the question is
    asked without them; None where it leaves none itself."""
    stop = frozenset(_stops(lm, until))
    if can_stack(lm, [patch for patch, _ in models]):
        owners = [number for number, (_, asks) in enumerate(models) for _ in asks]
        every = [(patch, ask) for patch, asks in models for ask in asks]
        with stacked(lm, [patch for patch, _ in models]):
            said = iter(_said(lm, every, owners, length, batch_size, stop))
        found = [[next(said) for _ in asks] for _, asks in models]
    else:
        found = []
        for patch, asks in models:
            with patch.applied(lm):
                found.append(_said(lm, [(patch, ask) for ask in asks], [0] * len(asks), length, batch_size, stop))
    return [[_text(answer, until) for answer in of_model] for of_model in found]


def _said(
    lm: LanguageModel,
    asks: Sequence[tuple[Patch, Ask]],
    owners: Sequence[int],
    length: int,
    batch_size: int,
    stop: frozenset[int],
) -> list[Answer]:
    told = [Question(form.replace("{question}", patch.prompt(question))) for patch, (form, question) in asks]
    found = written(lm, told, Patch(), length, batch_size, owners, stop)
    again = [i for i, (answer, (patch, _)) in enumerate(zip(found, asks, strict=True)) if answer.cut and patch.prompts]
    plain = [Question(form.replace("{question}", question)) for _, (form, question) in (asks[i] for i in again)]
    whose = [owners[i] for i in again]
    for i, answer in zip(again, written(lm, plain, Patch(), length, batch_size, whose, stop), strict=True):
        found[i] = answer
    return found


def _text(answer: Answer, until: Sequence[str]) -> str | None:
    if answer.cut:
        return None
    places = [place for mark in until if (place := answer.text.find(mark)) >= 0]
    return answer.text[: min(places, default=len(answer.text))].strip()


def _stops(lm: LanguageModel, until: Sequence[str]) -> Iterator[int]:
    """Tokens that are a mark, so that nothing is written behind it for nothing; the text is cut at the mark anyway."""
    for mark in until:
        yield from single_tokens(lm, (mark, f" {mark}", f"{mark}\n"))


def words(text: str) -> list[str]:
    """The words of an answer as they are compared: case folded, without punctuation and English articles (as SQuAD's
    exact match does; Rajpurkar et al. 2016, arXiv 1606.05250). An answer of nothing else keeps what it has.

    >>> words("The  United Kingdom."), words("A")
    (['united', 'kingdom'], ['a'])
    """
    plain = normalised(text)
    bare = "".join(" " if unicodedata.category(c).startswith("P") else c for c in plain)
    return [w for w in re.split(r"\s+", bare) if w and w not in _ARTICLES] or plain.split()


def equal(text: str, answers: Iterable[str]) -> bool:
    """Whether a text is one of the answers, word for word."""
    said = words(text)
    return bool(said) and any(words(answer) == said for answer in answers)


def begins(text: str, answers: Iterable[str]) -> bool:
    """Whether a text begins with one of the answers."""
    said = words(text)
    return any(len(w := words(answer)) > 0 and said[: len(w)] == w for answer in answers)


def ends(text: str, answers: Iterable[str]) -> bool:
    """Whether a text ends with one of the answers."""
    said = words(text)
    return any(len(w := words(answer)) > 0 and said[-len(w) :] == w for answer in answers)


def contains(text: str, answers: Iterable[str]) -> bool:
    """Whether the words of one of the answers stand together in a text."""
    said = words(text)
    return any(
        len(w := words(answer)) > 0 and any(said[i : i + len(w)] == w for i in range(len(said) - len(w) + 1))
        for answer in answers
    )
