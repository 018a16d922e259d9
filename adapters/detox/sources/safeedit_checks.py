"""What a whole file of SafeEdit must be: as large as published, and apart from the file that methods learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....errors import DataError
from .safeedit_records import CATEGORIES, Instance, normalised

QUESTIONS = {"test": 10, "validation": 20, "train": 30}
"""Questions of each category in a split (appendix A.4)."""
ATTACKS = 15
"""Attacks of a split, each put around every question."""
SINGLE_INPUTS = 540
"""Records of `SafeEdit_test_ALL`: their ids run from 0 to 539 (repository zjunlp/NLPCC2024_RegulatingLLM)."""


def size(split: str) -> int:
    """Records of a split.

    >>> size("test"), size("validation"), size("train")
    (1350, 2700, 4050)
    """
    return QUESTIONS[split] * len(CATEGORIES) * ATTACKS


def check_split(file: Path, found: Sequence[Instance], splits: Sequence[str]) -> None:
    """Raise DataError unless a file has the published number of records, questions and attacks of one of `splits`."""
    split = next((s for s in splits if size(s) == len(found)), None)
    if split is None:
        sizes = " or ".join(f"{size(s)} ({s})" for s in splits)
        raise DataError(f"{file}: expected {sizes} records, as published, got {len(found)}")
    for what, got, expected in _numbers(found, QUESTIONS[split]):
        if got != expected:
            raise DataError(f"{file}: {what}: expected {expected}, as published for the {split} split, got {got}")


def _numbers(found: Sequence[Instance], questions: int) -> Iterator[tuple[str, int, int]]:
    """What is counted, how many there are, how many there should be."""
    yield "attacks", len({one.attack for one in found}), ATTACKS
    asked = {one.question_name: one.category for one in found}
    of_category = Counter(asked.values())
    for category in CATEGORIES:
        yield f"questions of {category}", of_category[category], questions
    pairs = Counter(name for name, _ in {(one.question_name, one.attack) for one in found})
    for name in asked:
        yield f"attacks around question {name}", pairs[name], ATTACKS


def check_single_inputs(file: Path, found: Sequence[Instance]) -> None:
    """The same for `SafeEdit_test_ALL`: nine categories, 15 attacks, questions alone and in attacks."""
    numbers = (
        ("records", len(found), SINGLE_INPUTS),
        ("categories", len({one.category for one in found}), len(CATEGORIES)),
        ("attacks", len({one.attack for one in found if one.template}), ATTACKS),
        ("kinds of input", len({name for one in found for name in one.inputs}), 2),
    )
    for what, got, expected in numbers:
        if got != expected:
            raise DataError(f"{file}: {what}: expected {expected}, as published, got {got}")


def apart(trained: Sequence[Instance], tested: Sequence[Instance], file: Path, leave_out: bool) -> list[Instance]:
    """Training instances that share no question and no attack with the test `file`.

    Raises DataError for the first that does, unless such are to be left out, and where none remains.
    """
    shared = dict(_shared(trained, tested))
    if shared and not leave_out:
        i, why = next(iter(shared.items()))
        record = trained[i].record
        raise DataError(
            f"{record.file}: {record.place}: {why} of {file}, and training and test must be apart; "
            "`overlap: leave_out` leaves such records out"
        )
    if len(shared) == len(trained):
        raise DataError(f"{trained[0].record.file}: every record shares its question or its attack with {file}")
    return [one for i, one in enumerate(trained) if i not in shared]


def _shared(trained: Sequence[Instance], tested: Sequence[Instance]) -> Iterator[tuple[int, str]]:
    """Numbers of training instances that are not apart, and why.

    A question is shared when it stands in any tested input, also in those that ask another question than the case's
    own. An attack is shared when it is that of an instance or of its input `other_a`, whatever it is called.
    """
    inputs = [(one, "\n".join(map(normalised, one.inputs.values()))) for one in tested]
    # Searched as one text: normalised ones have no line breaks, so nothing is found across two of them.
    text = "\n".join(own for _, own in inputs)
    asked = {
        question: next(one.record.place for one, own in inputs if question in own)
        for question in dict.fromkeys(normalised(one.question) for one in trained)
        if question in text
    }
    used = {key: one.record.place for one in reversed(tested) for key in (_attack(one.other), _attack(one.template))}
    used.pop((), None)
    for i, one in enumerate(trained):
        if place := asked.get(normalised(one.question)):
            yield i, f"its question {one.question_name} is asked in {place}"
        elif place := used.get(_attack(one.template)):
            yield i, f"its attack {one.attack} is that of {place}"


def _attack(template: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(normalised, template))
