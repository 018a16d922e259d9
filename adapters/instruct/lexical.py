"""Lexical diversity of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from string import punctuation

_DROPPED = re.compile(r"[0-9–—-]+")
_SPACED = str.maketrans(dict.fromkeys(punctuation, " "))


def mtld(words: Sequence[str], threshold: float = 0.72) -> float | None:
    """Measure of textual lexical diversity: the mean number of words over which the type-token ratio stays above the
    threshold (McCarthy & Jarvis 2010, doi 10.3758/BRM.42.2.381), the mean of a pass forward and one backward.

    What is left at the end counts as a part of a factor. None where no word comes twice, and so no factor even begins.
    It was shown to be independent of length for texts of 100 words and more; that of a short one means little.
    """
    if len(set(words)) == len(words):
        return None
    return (len(words) / _factors(words, threshold) + len(words) / _factors(reversed(words), threshold)) / 2


def _factors(words: Iterable[str], threshold: float) -> float:
    factors, seen, count, ratio = 0.0, set[str](), 0, 1.0
    for word in words:
        count += 1
        seen.add(word)
        ratio = len(seen) / count
        if ratio <= threshold:
            factors, seen, count, ratio = factors + 1, set(), 0, 1.0
    return factors + (1 - ratio) / (1 - threshold)


def mtld_easyinstruct(text: str, threshold: float = 0.72) -> float | None:
    """MTLD as EasyInstruct has it, by the rules of LexicalRichness 0.5: digits and hyphens are dropped, ASCII
    punctuation becomes space, and a text in which no word comes twice counts as one factor: its MTLD is its length.

    None for a text without words, for which EasyInstruct crashes (ZeroDivisionError).
    """
    words = _DROPPED.sub("", text.lower()).translate(_SPACED).split()
    return mtld(words, threshold) or (float(len(words)) if words else None)
