"""Exact search for the nearest text by ROUGE-L, without comparing each with all.

ROUGE-L (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries") is F = 2PR / (P + R), P and R the longest
common subsequence over the lengths of the two texts in words; so F = 2·LCS / (m + n). It exceeds t only where the
texts share more than t(m + n)/2 words, counted with their repetitions. Who shares so many is found as in AllPairs and
PPJoin (Bayardo et al. 2007, doi 10.1145/1242572.1242591; Xiao et al. 2008, doi 10.1145/1367497.1367516): when the
words of all texts are put in one order, rarest first, two such texts share one of their first few. LCS is computed
for those alone; no other pair can exceed t.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from .nearest import Near

BLOCK = 2048
"""Rows whose words tell which are rare; the order of words is fixed after them. It changes speed, never a result."""
_SLACK = 1 - 1e-9
"""Bounds are taken a little too wide, since F is rounded: with 7 of 7 and 13 words it is 0.7000000000000001."""


def f_measure(common: int, m: int, n: int) -> float:
    """F of texts of m and n words with an LCS of `common`, in rouge_score's order of operations, bit for bit."""
    if not common:
        return 0.0
    precision, recall = common / n, common / m
    return 2 * precision * recall / (precision + recall)


class Coded(NamedTuple):
    """A text as the index reads it."""

    text: str | list[int]
    """A character for each word; their numbers, which rapidfuzz reads alike, where there are more than characters."""
    order: list[int]
    """Numbers of its words, rarest first; a repetition has a number of its own."""


class _Numbers(dict[Hashable, int]):
    """A number for every word, the higher the rarer; words that turn up late count as rarest."""

    def __missing__(self, word: Hashable) -> int:
        self[word] = number = len(self)
        return number


class RougeIndex:
    """Texts that can be asked which of them is nearest, as long as its F is above the threshold."""

    def __init__(self, threshold: float, first: Iterable[Sequence[str]] = ()) -> None:
        """`threshold` in (0, 1); `first`: words of some texts like those to come."""
        counts = Counter(word for words in first for word in _numbered(words))
        self._numbers = _Numbers((word, i) for i, (word, _) in enumerate(counts.most_common()))
        self._threshold = threshold
        self._share = threshold / 2 * _SLACK
        self._texts: list[str | list[int]] = []
        self._ids: list[str] = []
        self._postings: dict[int, dict[tuple[float, float], list[int]]] = {}
        self._places: dict[int, list[tuple[float, float]]] = {}
        self.compared = 0
        """Pairs of which the LCS was computed."""

    def code(self, words: Sequence[str]) -> Coded:
        """A text to ask about or to add."""
        number = self._numbers.__getitem__
        numbers = list(map(number, words))
        told = _numbered(words)
        order = sorted(numbers if told is words else map(number, told), reverse=True)
        small = not order or order[0] <= sys.maxunicode
        return Coded("".join(map(chr, numbers)) if small else numbers, order)

    def nearest(self, row: Coded) -> Near | None:
        """The text with the highest F, the first of them, if that is above the threshold."""
        m = len(row.text)
        needs = self._share * m
        found: set[int] = set()
        for i, word in enumerate(row.order[: self._prefix(m)]):
            if entry := self._postings.get(word):
                spare = m - i - needs
                for (their_needs, their_spare), numbers in entry.items():
                    # Both needs together must fit into what is left of either text from this word on.
                    if their_needs <= spare and needs <= their_spare:
                        found.update(numbers)
        if not found:
            return None
        self.compared += len(found)
        texts, least = self._texts, self._least(m)
        values = [
            (f_measure(common, m, len(texts[k])), -k)
            for k in found
            if (common := LCSseq.similarity(row.text, texts[k], score_cutoff=least))
        ]
        value, k = max(values, default=(0.0, 0))
        return Near(value, self._ids[-k]) if value > self._threshold else None

    def add(self, row: Coded, id: str) -> None:
        """Keep a text; its id is what `nearest` tells."""
        n, k = len(row.text), len(self._texts)
        self._texts.append(row.text)
        self._ids.append(id)
        if n not in self._places:  # shared among texts of a length, since there may be millions
            needs = self._share * n
            self._places[n] = [(needs, n - i - needs) for i in range(self._prefix(n))]
        for word, place in zip(row.order, self._places[n], strict=False):
            self._postings.setdefault(word, {}).setdefault(place, []).append(k)

    def _least(self, m: int) -> int:
        """How many words a text of m shares at least with any text that is near."""
        t = self._threshold
        return max(1, ceil(m * t / (2 - t) * _SLACK))

    def _prefix(self, m: int) -> int:
        """Words from the front of the order, one of which every near text has among its own."""
        return m - self._least(m) + 1


def _numbered(words: Sequence[str]) -> Sequence[Hashable]:
    """The words, a repetition told from the first by its number, so that sets count what bags do."""
    if len(set(words)) == len(words):
        return words
    seen: Counter[str] = Counter()
    found: list[Hashable] = []
    for word in words:
        seen[word] += 1
        found.append(word if seen[word] == 1 else (word, seen[word]))
    return found


def f_measures(text: Coded, others: Sequence[Coded]) -> NDArray[np.float64]:
    """F of a text with each of the others, of shape (others,); what `f_measure` says of each, bit for bit."""
    common = cdist([text.text], [o.text for o in others], scorer=LCSseq.similarity, dtype=np.int32)[0]
    lengths = np.array([len(o.text) for o in others])
    found = np.zeros(len(others))
    some = common > 0
    precision, recall = common[some] / lengths[some], common[some] / len(text.text)
    found[some] = 2 * precision * recall / (precision + recall)
    return found
