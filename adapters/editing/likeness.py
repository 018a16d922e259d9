"""How alike two texts are in their words: the cosine of their TF-IDF vectors, which ROME's reference score is.

Meng et al. 2022 (arXiv 2202.05262) publish the vocabulary and the weights (`tfidf_vocab.json`, `idf.npy`); they are
those of scikit-learn's `TfidfVectorizer` on all texts of `attribute_snippets.json`, from which they are made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Likeness:
    """Words weighted by how rare they are in some texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Counts the words of `texts`. Raises ValueError where they have none."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectors: Any = TfidfVectorizer().fit(texts)

    def of(self, one: str, other: str) -> float:
        """Cosine of the two, 0 to 1; 0 where a text has no known word."""
        vectors = self._vectors.transform([one, other])
        # They have length 1, or 0.
        return float(vectors[[0]].multiply(vectors[[1]]).sum())
