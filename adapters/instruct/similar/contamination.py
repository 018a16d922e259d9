"""Rows that hold what a model is later asked: n-grams shared with evaluation sets.

Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv 2005.14165, appendix C: an item is contaminated where
it shares any n-gram of words, case and punctuation aside, with the training data; n is 13, and for short items not
under 8. There items are taken out of the evaluation; here rows are taken out of the training data, so that phrases
that are merely common (in more than ten documents, say) count as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import DataError
from ....records import Record
from ..formats.records import Broken, records

SHORTEST = 8
"""Words of the shortest n-gram that is looked for; shared shorter ones tell nothing."""


@dataclass(frozen=True)
class Item:
    """An item of an evaluation set."""

    evaluation: str
    """Name of the set."""
    id: str
    """Set and the record's own id, or its number from 0: `gsm8k/17`."""
    texts: tuple[str, ...]


def read_items(file: Path, evaluation: str, fields: Sequence[str]) -> list[Item]:
    """The items of a JSON or JSONL file, with the texts in `fields`. Raises DataError for an item without any."""
    found = []
    for number, one in enumerate(records(str(file))):
        if isinstance(one, Broken):
            raise DataError(f"{file}: {one.place}: {one.reason}")
        record = Record(file, one[0], number, one[1])
        texts = tuple(text for field in fields if (text := record.optional(field)) is not None)
        if not texts:
            raise DataError(
                f"{file}: {record.place}: expected a text in {' or '.join(fields)}; name its text in `fields`"
            )
        found.append(Item(evaluation, f"{evaluation}/{record.data.get('id', record.index)}", texts))
    return found


class Grams:
    """The n-grams of evaluation items, and the items that hold each."""

    def __init__(self, items: Iterable[Sequence[Sequence[str]]], n: int) -> None:
        """`items`: words of the texts of each item. A text shorter than n words is one n-gram, if it has `SHORTEST`."""
        self._items: dict[int, dict[str, list[int]]] = {}
        for number, texts in enumerate(items):
            for words in texts:
                size = min(n, max(len(words), min(n, SHORTEST)))
                for gram in set(_grams(words, size)):
                    holders = self._items.setdefault(size, {}).setdefault(gram, [])
                    if number not in holders[-1:]:
                        holders.append(number)

    def shared(self, texts: Iterable[Sequence[str]]) -> tuple[int, int] | None:
        """The item (its number) that most n-grams of these texts are in, the first of them, and how many they are."""
        counts = Counter(
            number
            for words in texts
            for size, items in self._items.items()
            for gram in _grams(words, size)
            for number in items.get(gram, ())
        )
        return max(counts.items(), key=lambda found: (found[1], -found[0]), default=None)


def _grams(words: Sequence[str], size: int) -> Iterator[str]:
    for i in range(len(words) - size + 1):
        yield " ".join(words[i : i + size])
