"""How varied a text is: the weighted n-gram entropy that papers on editing call fluency, or generation entropy."""

from __future__ import annotations

import re
from collections import Counter
from math import log2

WEIGHTS = {2: 2 / 3, 3: 4 / 3}
"""n to the weight of its entropy (Zhang et al. 2018, arXiv 1809.05972; Meng et al. 2022, arXiv 2202.05262)."""


def n_gram_entropy(text: str) -> float:
    """Mean over n = 2, 3 of the weighted entropy of the text's n-grams of words, in bits.

    0 for a text that repeats itself; an n for which it is too short counts as 0. Papers print 100 times as much.
    """
    tokens = words(text)
    return sum(weight * entropy(tokens, n) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


def entropy(tokens: list[str], n: int) -> float:
    """Of the distribution of n-grams of a list of words, in bits; 0 for fewer than n words."""
    counts = Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = counts.total()
    # Not `-sum`: that is -0.0 for a text of one n-gram.
    return sum(count / total * log2(total / count) for count in counts.values())


_NO_END = r"(?<!\b[A-Za-z])(?<!\b(?:Mr|Ms|Dr|St|Jr|Sr|Co|No|vs))(?<!\b(?:Mrs|Inc|Ltd|etc))"
"""What comes before a stop that ends no sentence."""

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Quotation marks, opening and closing ones apart.
        (r'^"', r"`` "),
        (r'([ (\[{<])("|\'{2})', r"\1 `` "),
        (r"\"|''", r" '' "),
        (r"[«“‘„»”’–—]", r" \g<0> "),
        # A comma or colon inside a number stays.
        (r"([:,])(?=\D|$)", r" \1 "),
        (r"\.{2,}|[;@#$%&?!…*]|--+|[\[\](){}<>]", r" \g<0> "),
        # A stop ends a sentence unless it follows an initial or an abbreviation; the last one always does.
        (rf"{_NO_END}(?<=[^ .])\.(?=[\])}}>\"' ]*\s)", r" . "),
        (r"(?<=[^ .])\.(?=[\])}>\"' ]*$)", r" . "),
        # Contractions: n't, 's, 're …
        (r"(?i)(?<=\w)(n't)\b", r" \1 "),
        (r"(?i)(?<=[^' ])'(s|m|d|ll|re|ve)\b", r" '\1 "),
        (r"(?<=[^' ])' ", r" ' "),
        (r"(?i)\b(can)(not)\b", r"\1 \2"),
    )
)


def words(text: str) -> list[str]:
    """Words and marks, as the Penn Treebank separates them (nltk's `word_tokenize`, without its downloads).

    Marks are words of their own, `don't` is `do n't`, hyphenated words and numbers stay whole. Where sentences end is
    decided by a rule, not by nltk's trained model: a stop at the end of a word, unless after an initial or an
    abbreviation such as `Dr`.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.split()
