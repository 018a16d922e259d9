"""How much of one text is found in another; pure functions, as the works that print these numbers compute them.

UnKE's code calls `nltk` and the package `rouge` in particular ways, which the definitions here say out loud: BLEU is
that of characters, ROUGE counts each n-gram once. Both were checked against these packages (nltk 3.10, rouge 1.0.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, fsum, log

ORDERS = 4
"""BLEU's longest n-gram."""


def bleu(written: str, wanted: str) -> float:
    """BLEU (Papineni et al. 2002) of characters: geometric mean of the clipped precisions of 1- to 4-grams, times
    exp(1 − |wanted| / |written|) where that is shorter; 0 where a precision is 0. No smoothing.

    >>> bleu("abcdef", "abcdef"), bleu("xyz", "abc")
    (1.0, 0.0)
    """
    precisions = []
    for n in range(1, ORDERS + 1):
        ours, theirs = Counter(_grams(written, n)), Counter(_grams(wanted, n))
        common = sum(min(count, theirs[gram]) for gram, count in ours.items())
        if not common:
            return 0.0
        precisions.append(common / max(1, len(written) - n + 1))
    short = 0.0 if len(written) > len(wanted) else 1 - len(wanted) / len(written)
    return exp(fsum(log(p) for p in precisions) / ORDERS + short)


def rouge_n(written: str, wanted: str, n: int) -> float:
    """ROUGE-N recall (Lin 2004) over distinct n-grams: which share of the wanted text's the written one has.

    Words are what stands between spaces, full stops left out.

    >>> rouge_n("the cat sat", "the cat and the cat", 1), rouge_n("a b", "a b c", 2)
    (0.6666666666666666, 0.5)
    """
    ours, theirs = (set(_grams([w for s in _sentences(text) for w in s], n)) for text in (written, wanted))
    return len(ours & theirs) / len(theirs) if theirs else 0.0


def rouge_l(written: str, wanted: str) -> float:
    """Summary-level ROUGE-L recall over distinct words: the words that belong to a longest common subsequence of a
    written and a wanted sentence, as a share of the wanted text's words. Sentences end with full stops.

    >>> rouge_l("a cat sat. it ran", "a dog sat")
    0.6666666666666666
    """
    wanted_sentences = _sentences(wanted)
    words = {word for sentence in wanted_sentences for word in sentence}
    found = {w for ours in _sentences(written) for theirs in wanted_sentences for w in _common(theirs, ours)}
    return len(found) / len(words) if words else 0.0


def mentioned(text: str, names: Sequence[str]) -> bool:
    """Whether a text has one of the names in it, in whatever case."""
    return any(name.casefold() in text.casefold() for name in names)


def _sentences(text: str) -> list[list[str]]:
    return [words for part in text.split(".") if (words := part.split())]


def _grams(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]


def _common(x: Sequence[str], y: Sequence[str]) -> list[str]:
    """A longest common subsequence of `x` and `y`; of several the one that `rouge` finds."""
    table = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i, a in enumerate(x, 1):
        for j, b in enumerate(y, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    found, i, j = [], len(x), len(y)
    while i and j:
        if x[i - 1] == y[j - 1]:
            found.append(x[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found[::-1]
