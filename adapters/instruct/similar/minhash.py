"""Search for near-duplicates among millions of texts by MinHash (Broder 1997) and locality-sensitive hashing.

Two texts are alike by the Jaccard index of their sets of word n-grams. It is fast where the exact search is not, at
long texts and many rows, and misses some pairs: `nearest.recall` tells how many on a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from .nearest import Near

_WEIGHTS = (0.1, 0.9)
"""What false candidates and missed ones cost when bands are chosen: candidates are looked at again, missed ones not."""


class Signature(NamedTuple):
    """A text as the index reads it."""

    minhash: MinHash
    grams: NDArray[np.uint64]
    """Hashes of its n-grams, each once."""


class MinHashIndex:
    """Texts that can be asked which of them is nearest, as long as its Jaccard index is at least the threshold."""

    def __init__(self, threshold: float, ngram: int = 1, permutations: int = 128, verify: bool = True) -> None:
        """`verify`: Jaccard indexes of candidates are computed, which keeps 8 bytes for each n-gram; otherwise they are
        estimated from signatures of 4 bytes for each permutation (standard error at most 0.5 / √permutations)."""
        self._threshold, self._ngram, self._verify = threshold, ngram, verify
        self._empty = MinHash(num_perm=permutations, hashfunc=_low)
        self._bands = MinHashLSH(threshold=threshold, num_perm=permutations, weights=_WEIGHTS)
        self._kept: list[NDArray[np.uint64]] = []
        self._ids: list[str] = []

    def code(self, words: Sequence[str]) -> Signature:
        """Signature and n-grams; a text of fewer than n words is one n-gram."""
        last = max(len(words) - self._ngram, 0) if words else -1
        texts = {" ".join(words[i : i + self._ngram]) for i in range(last + 1)}
        grams = sorted(int.from_bytes(blake2b(t.encode(), digest_size=8).digest(), "little") for t in texts)
        minhash = self._empty.copy()
        if grams:
            minhash.update_batch(grams)
        return Signature(minhash, np.array(grams, np.uint64))

    def nearest(self, row: Signature) -> Near | None:
        """The candidate with the highest Jaccard index, the first of them; None for a text without words."""
        if not row.grams.size:
            return None
        likes = ((self._like(row, k), -k) for k in self._bands.query(row.minhash))
        value, k = max(likes, default=(0.0, 0))
        return Near(value, self._ids[-k]) if value >= self._threshold else None

    def add(self, row: Signature, id: str) -> None:
        """Keep a text; one without words is like no other."""
        if row.grams.size:
            self._bands.insert(len(self._ids), row.minhash)
            self._kept.append(row.grams if self._verify else row.minhash.hashvalues)
            self._ids.append(id)

    def _like(self, row: Signature, k: int) -> float:
        kept = self._kept[k]
        if not self._verify:
            return float(np.mean(kept == row.minhash.hashvalues))
        common = np.intersect1d(kept, row.grams, assume_unique=True).size
        return float(common / (kept.size + row.grams.size - common))


def _low(gram: int) -> int:
    """The 32 bits that MinHash works with."""
    return gram & 0xFFFFFFFF
