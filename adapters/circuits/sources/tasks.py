"""Questions from templates and word lists of our own (words.yaml), after the papers that params.py names.

Clean and corrupt differ in one word or number, chosen to be as many tokens for most tokenizers; where it is not, the
pairing leaves the question out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ....errors import DataError
from ....job import rng
from ..items import Question

if TYPE_CHECKING:
    from .params import Arithmetic, GreaterThan, Induction, Ioi, Made, Mcqa

Draw: TypeAlias = Callable[[np.random.Generator, str], Question]

CENTURIES = range(11, 18)
LETTERS = "ABCD"


@cache
def _words() -> Mapping[str, Sequence[str]]:
    """Templates and words of words.yaml, by name."""
    import yaml

    data = yaml.safe_load((files(__package__) / "words.yaml").read_text(encoding="utf-8"))
    return {name: text.split() if isinstance(text, str) else text for name, text in data.items()}


def _one(random: np.random.Generator, name: str) -> str:
    return str(random.choice(_words()[name]))


def _some(random: np.random.Generator, name: str, count: int) -> list[str]:
    """So many different ones."""
    return [str(word) for word in random.choice(_words()[name], count, replace=False)]


def indirect_objects(spec: Ioi) -> Iterator[Question]:
    """Two names, one of which comes again; the other one is right, and the one that came again is wrong."""

    def draw(random: np.random.Generator, number: str) -> Question:
        receiver, giver, third = _some(random, "names", 3)
        first = bool(random.integers(2))
        words = {
            "a": receiver if first else giver,
            "b": giver if first else receiver,
            "place": _one(random, "places"),
            "thing": _one(random, "things"),
        }
        template = _one(random, "giving")
        return Question(
            id=number,
            clean=template.format(s=giver, **words),
            answers=(receiver,),
            corrupt=template.format(s=third, **words),
            wrongs=(giver,),
            attributes={"order": "receiver first" if first else "giver first"},
        )

    return _drawn("ioi", spec, draw)


def later_years(spec: GreaterThan) -> Iterator[Question]:
    """Right are the later years of the century, wrong are the start year and those before.

    Years ending in 00 are left out: many tokenizers have one token for each, which parts from the others too early.
    """

    def draw(random: np.random.Generator, number: str) -> Question:
        century, year = int(random.choice(CENTURIES)), int(random.integers(2, 99))
        template, event = _one(random, "lasting"), _one(random, "events")
        years = [f"{century}{n:02d}" for n in range(1, 100)]
        return Question(
            id=number,
            clean=template.format(event=event, start=years[year - 1]),
            answers=tuple(years[year:]),
            corrupt=template.format(event=event, start=years[0]),
            wrongs=tuple(years[:year]),
        )

    return _drawn("greater-than", spec, draw)


def repeated_words(spec: Induction) -> Iterator[Question]:
    """The row stops where a word of its middle has come again; right is the word that followed it before."""

    def draw(random: np.random.Generator, number: str) -> Question:
        *row, other = _some(random, "words", spec.words + 1)
        after = int(random.integers(2, spec.words))
        changed = [*row[:after], other, *row[after + 1 :]]
        return Question(
            id=number,
            clean=" ".join(row + row[:after]),
            answers=(row[after],),
            corrupt=" ".join(changed + row[:after]),
            wrongs=(other,),
        )

    return _drawn("induction", spec, draw)


def lettered_choices(spec: Mcqa) -> Iterator[Question]:
    """Right is the letter of the colour that was stated, wrong that of the one that the corrupt prompt states."""

    def draw(random: np.random.Generator, number: str) -> Question:
        what = _one(random, "objects")
        colours = _some(random, "colours", len(LETTERS))
        right, wrong = (int(i) for i in random.choice(len(LETTERS), 2, replace=False))
        choices = "\n".join(f"{letter}. {colour}" for letter, colour in zip(LETTERS, colours, strict=True))
        asked = f"The {what} is {{}}. What is the colour of the {what}?\n{choices}\nAnswer:"
        return Question(
            id=number,
            clean=asked.format(colours[right]),
            answers=(LETTERS[right],),
            corrupt=asked.format(colours[wrong]),
            wrongs=(LETTERS[wrong],),
            attributes={"letter": LETTERS[right]},
        )

    return _drawn("mcqa", spec, draw)


def sums(spec: Arithmetic) -> Iterator[Question]:
    """Right is the result, wrong that of the corrupt prompt; no result is negative."""
    least, most = (0, 9) if spec.digits == 1 else (10, 99)

    def calculation(random: np.random.Generator, operation: str) -> tuple[str, str]:
        first, second = (int(n) for n in random.integers(least, most + 1, size=2))
        if operation == "-":
            first, second = max(first, second), min(first, second)
        return f"{first} {operation} {second} =", str(first + second if operation == "+" else first - second)

    def draw(random: np.random.Generator, number: str) -> Question:
        operation = str(random.choice(spec.operations))
        clean, right = calculation(random, operation)
        while True:
            corrupt, wrong = calculation(random, operation)
            if wrong != right and len(wrong) == len(right):
                break
        name = "addition" if operation == "+" else "subtraction"
        return Question(
            id=number, clean=clean, answers=(right,), corrupt=corrupt, wrongs=(wrong,), group=name, relation=name
        )

    return _drawn("arithmetic", spec, draw)


TRIES = 20
"""Draws for each question, before it is said that there are no more."""


def _drawn(stream: str, spec: Made, draw: Draw) -> Iterator[Question]:
    """`spec.size` questions with prompts of their own. Raises DataError when the templates have not as many."""
    seen: set[object] = set()
    for attempt in range(TRIES * spec.size):
        question = draw(rng(spec.seed, stream, str(attempt)), f"{stream}-{len(seen)}")
        if question.clean not in seen:
            seen.add(question.clean)
            yield question
        if len(seen) == spec.size:
            return
    raise DataError(f"there are no {spec.size} different {stream} questions; choose a smaller `size`")
