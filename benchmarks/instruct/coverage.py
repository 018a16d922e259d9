"""CPU seconds and memory of choosing rows by what they cover: `python benchmarks/instruct/coverage.py [ROWS ...]`.

Made-up texts of 40 words, drawn as words of real texts are (Zipf), as TF-IDF vectors. One thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Mapping

import numpy as np

from benchwright.adapters.instruct.coverage import apart, clusters, facility_location, k_center
from benchwright.adapters.instruct.embedding import Vectors, tfidf

CHOOSERS: Mapping[str, Callable[[Vectors], object]] = {
    "apart, cosine 0.9": lambda vectors: apart(vectors, range(vectors.shape[0]), 0.9),
    "100 clusters": lambda vectors: clusters(vectors, 100, 0),
    "k_center, 200": lambda vectors: k_center(vectors, 200),
    "facility_location, 200": lambda vectors: facility_location(vectors, 200, "euclidean"),
}


def texts(rows: int) -> list[str]:
    """Rows of 40 words from 20,000."""
    drawn = np.random.default_rng(0).zipf(1.3, size=(rows, 40)) % 20_000
    return [" ".join(f"w{word}" for word in row) for row in drawn]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", default=[1000, 5000, 10_000])
    for rows in parser.parse_args().rows:
        vectors = tfidf(texts(rows))
        for name, choose in CHOOSERS.items():
            start = time.process_time()
            choose(vectors)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{rows:>7} rows  {name:<24} {time.process_time() - start:8.2f} CPU s  {peak:6.0f} MB so far")


if __name__ == "__main__":
    main()
