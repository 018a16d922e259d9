"""What a set of rows is like. Each function gives a column of values, one for each row, None where it has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from ..lexical import mtld
from ..rows import Row
from ..similar.contamination import Grams
from ..texts import unicode_words

if TYPE_CHECKING:
    from ...lm.model import LanguageModel

Values = Sequence[float | None]
BLOCK = 512
"""Rows that are compared with all others at once."""
FUNCTION_WORDS = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "following",
        "for",
        "from",
        "given",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "our",
        "please",
        "should",
        "so",
        "some",
        "than",
        "that",
        "the",
        "then",
        "these",
        "this",
        "those",
        "to",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
"""Words that tell nothing of a task; left out of openings."""


def qualities(rows: Sequence[Row], evaluation: Sequence[Row], alike: float, overlap: int) -> dict[str, Values]:
    """All columns that need no model."""
    instructions = [unicode_words(row.instruction) for row in rows]
    outputs = [unicode_words(row.output) for row in rows]
    nearest = nearest_rouge(instructions)
    found: dict[str, Values] = {
        "nearest_rouge": nearest,
        "near_duplicates": [float(value > alike) for value in nearest],
        "mtld": [mtld(words) for words in outputs],
        "opening_entropy": opening_surprises(instructions),
        "valid": [float(bool(a and b)) for a, b in zip(instructions, outputs, strict=True)],
        "instruction_words": [float(len(words)) for words in instructions],
        "output_words": [float(len(words)) for words in outputs],
    }
    for n in (1, 2, 3):
        found[f"new_{n}"], found[f"all_{n}"] = grams(list(zip(instructions, outputs, strict=True)), n)
    if evaluation:
        items = [[unicode_words(text) for text in (item.instruction, item.input, item.output)] for item in evaluation]
        known = Grams(items, overlap)
        texts = zip(rows, instructions, outputs, strict=True)
        found["contaminated"] = [
            float(known.shared((asked, unicode_words(row.input), said)) is not None) for row, asked, said in texts
        ]
    return found


def nearest_rouge(texts: Sequence[Sequence[str]]) -> list[float]:
    """For each text the highest ROUGE-L F with another one: 2 LCS / (m + n); 0 for the only one, or without words."""
    codes: dict[str, int] = {}
    coded: Any = [[codes.setdefault(word, len(codes)) for word in words] for words in texts]
    found: list[float] = []
    for start in range(0, len(coded), BLOCK):
        block = coded[start : start + BLOCK]
        # Two empty texts are equal to rapidfuzz, but have no subsequence in common.
        alike = cdist(block, coded, scorer=Indel.normalized_similarity, workers=1)
        alike[np.arange(len(block)), start + np.arange(len(block))] = 0.0
        alike[[not words for words in block], :] = 0.0
        found += alike.max(axis=1, initial=0.0).tolist()
    return found


def opening_surprises(instructions: Sequence[Sequence[str]]) -> list[float]:
    """For each instruction −ln of the share of all that begin with its first two content words; their mean is the
    entropy of openings, in nats."""
    found = [tuple([word for word in words if word not in FUNCTION_WORDS][:2]) for words in instructions]
    counts = Counter(found)
    return [log(len(found) / counts[opening]) for opening in found]


def grams(rows: Sequence[tuple[Sequence[str], Sequence[str]]], n: int) -> tuple[list[float], list[float]]:
    """For each row how many n-grams no row before it has, and how many it has; n-grams do not cross from the
    instruction into the answer. The sum of the first over that of the second is distinct-n."""
    seen: set[tuple[str, ...]] = set()
    new, all_ = [], []
    for texts in rows:
        own = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
        new.append(float(len(set(own) - seen)))
        all_.append(float(len(own)))
        seen.update(own)
    return new, all_


def likelihoods(rows: Sequence[Row], lm: LanguageModel) -> dict[str, Values]:
    """Columns that a language model tells: mean loss of the answer alone in nats, and IFD as two papers define it, with
    the prompts of the stages of the same names. Raises ModelError."""
    from ..methods.likelihood import IfdCherry, IfdSuperfiltering, Perplexity

    perplexities = Perplexity(type="perplexity").values(lm, rows)
    ratios = IfdSuperfiltering(type="ifd-superfiltering").values(lm, rows)
    return {
        "nll_output": [None if value is None else log(value) for value in perplexities],
        "ifd_loss_ratio": IfdCherry(type="ifd-cherry").values(lm, rows),
        "log_ifd_perplexity_ratio": [log(value) if value else None for value in ratios],
    }
