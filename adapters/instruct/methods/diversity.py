"""Stages that choose rows by earlier scores, and rows that are unlike each other or stand for the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ....components import NOT_IDENTITY, DataFolder, Strict
from ....errors import UsageError
from ..rows import Rejected, Row
from ..stage import Outcome, Stage, Workbench

if TYPE_CHECKING:
    from ..coverage import Near
    from ..embedding import Vectors

Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Limited(Stage):
    """A stage that keeps a number of rows, or a share of those that it takes."""

    type: str
    n: Count | None = None
    """How many rows are kept."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Which part of the rows that the stage takes is kept, rounded down, at least one."""

    @model_validator(mode="after")
    def _not_both(self) -> Limited:
        if self.n is not None and self.share is not None:
            raise ValueError("give `n` or `share`, not both")
        return self

    def wanted(self, total: int) -> int:
        """How many of `total` rows are kept."""
        # 0.29 * 100 is 28.999999999999996.
        return self.n or max(1, math.floor((self.share or 1.0) * total + 1e-9))


class Selecting(Limited):
    """A stage that does nothing else."""

    type: str

    @model_validator(mode="after")
    def _one(self) -> Selecting:
        if self.n is None and self.share is None:
            raise ValueError("give `n`, how many rows are kept, or `share`, which part of them")
        return self


def ranked(values: Sequence[float | None], highest: bool = True) -> list[int]:
    """Places of the values, the highest (or lowest) first, equal ones in their order, None last."""

    def place(i: int) -> tuple[bool, float, int]:
        value = values[i]
        return value is None, 0.0 if value is None else -value if highest else value, i

    return sorted(range(len(values)), key=place)


def product(row: Row, names: Sequence[str]) -> float | None:
    """Product of scores of earlier stages; None where one of them is. Raises UsageError for a score that none gave."""
    found = 1.0
    for name in names:
        if name not in row.scores:
            raise UsageError(
                f"row {row.id!r} has no score {name!r}; known: {', '.join(sorted(row.scores)) or 'none'}. "
                "Put the stage that gives it before this one"
            )
        value = row.scores[name]
        if value is None:
            return None
        found *= value
    return found


class Top(Selecting):
    """Keeps the rows with the highest or lowest score of an earlier stage, or product of scores.

    Of equal rows the earlier ones are kept; rows without a score come last. Rows stay in their order. Holds all rows.
    """

    type: Literal["top"]
    by: Names
    """Names of earlier stages."""
    take: Literal["highest", "lowest"] = "highest"

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`. Raises UsageError for a score that no earlier stage gave."""
        held: list[Row] = []
        values: list[float | None] = []
        for row in rows:  # the first one tells whether a score is missing
            held.append(row)
            values.append(product(row, self.by))
        chosen = set(ranked(values, self.take == "highest")[: self.wanted(len(held))])
        for i, row in enumerate(held):
            yield row if i in chosen else Rejected(row, f"not among the {self.take}", values[i])


class Tfidf(Strict):
    """Words weighted by how rare they are among the rows of the stage (Salton and Buckley 1988), by scikit-learn.

    Without a model. Where a script puts no spaces between words, each character is one. A text without words (of
    emoji only) is like none.
    """

    type: Literal["tfidf"] = "tfidf"


class MeanPool(Strict):
    """Mean over a text's tokens of what a language model's last norm puts out; text beyond its context is not read."""

    type: Literal["mean_pool"]
    model: str = "embedder"
    """Role of the language model."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16


class SentenceTransformers(Strict):
    """Sentence embeddings (Reimers and Gurevych 2019, arXiv 1908.10084); needs the extra `embed`."""

    type: Literal["sentence_transformers"]
    path: DataFolder
    """The model's folder."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 32


Embedding = Annotated[Tfidf | MeanPool | SentenceTransformers, Field(discriminator="type")]


class Embedded(Stage):
    """A stage that sees rows as vectors of unit length.

    Holds all rows and their vectors: with `tfidf` about 12 bytes for each unlike word of a text, else 4 bytes for each
    dimension (820 MB for 50,000 rows of 4,096; twice that where kept rows are compared with new ones), and the
    similarities of 128 rows to all others (200 MB for 50,000 rows).
    """

    type: str
    embedding: Embedding = Tfidf()
    of: Literal["prompt", "output", "both"] = "prompt"
    """Which text of a row: instruction with input, the answer, or both; with what a conversation said earlier."""

    def roles(self) -> dict[str, str]:
        """The model that embeds, if one does."""
        return {self.embedding.model: "language_model"} if isinstance(self.embedding, MeanPool) else {}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..embedding import embedded, text_of

        if held := list(rows):
            vectors = embedded(self.embedding, [text_of(row, self.of) for row in held], bench)
            yield from self.choose(held, vectors, bench)

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """Each row, kept or rejected, in its order."""
        raise NotImplementedError


class EmbeddingDiversity(Embedded):
    """Drops a row whose cosine to a row kept before it is above a threshold.

    Its score is the highest cosine to the rows kept before; null for the first.
    """

    type: Literal["embedding_diversity"]
    scores_are: ClassVar[str] = "worse"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """See `apart` in ../coverage.py."""
        from ..coverage import apart

        kept, near = apart(vectors, range(len(rows)), self.threshold)
        scored = [row.scored(**{bench.name: near[i].value}) for i, row in enumerate(rows)]
        return _chosen(scored, kept, near, "too like a kept row")


class KMeans(Embedded):
    """Some rows of each cluster (k-means++, Arthur and Vassilvitskii 2007; Lloyd 1982; by scikit-learn, seeded).

    The first step of Cherry LLM (arXiv 2308.12032): 100 clusters, 10 rows of each.
    """

    type: Literal["k_means"]
    clusters: Count = 100
    """As many as there are rows, if these are fewer."""
    per_cluster: Count = 10
    """Rows that are kept of each; all of a smaller one."""
    by: str | None = None
    """An earlier stage: of each cluster, rows evenly spread, in their order, over those whose score is in the `band` of
    the cluster's (as Cherry LLM does by perplexity); the nearest to the centre if empty."""
    band: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (25.0, 75.0)
    """Percentiles, with `by`. A cluster with fewer than `per_cluster` rows in it gives those."""

    @model_validator(mode="after")
    def _rising(self) -> KMeans:
        if self.band[0] >= self.band[1]:
            raise ValueError("`band` must be two rising percentiles, such as [25, 75]")
        return self

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """See `clusters`, `spread` in ../coverage.py. Raises UsageError for a score that no earlier stage gave."""
        from ..coverage import clusters, spread

        values = [product(row, [self.by]) for row in rows] if self.by else None
        seed = int(bench.rng().integers(2**31))
        kept: set[int] = set()
        for members in clusters(vectors, min(self.clusters, len(rows)), seed):
            few = members if values is None else spread(members, values, self.per_cluster, self.band)
            kept |= set(few[: self.per_cluster])
        return [row if i in kept else Rejected(row, "not chosen of its cluster") for i, row in enumerate(rows)]


class FacilityLocation(Embedded, Selecting):
    """Rows S that maximise Σᵢ max_{j∈S} similarity(i, j) over all rows i, one after the other (lazy greedy).

    At least 1 - 1/e of the best choice (Nemhauser et al. 1978; Minoux 1978). With `ifd-superfiltering`, `top` and this
    a pipeline is Superfiltering.D. Similarities are computed in blocks, never all; time grows with the square of the
    rows (200 of 10,000 by `tfidf`: 12 CPU seconds; of 50,000: 300).
    """

    type: Literal["facility_location"]
    similarity: Literal["euclidean", "cosine"] = "euclidean"
    """`euclidean`: 1 / (1 + distance of the unit vectors), as submodlib has it; `cosine`: negative ones count as 0."""
    of: Literal["prompt", "output", "both"] = "both"
    """Which text of a row: instruction with input, the answer, or both; with what a conversation said earlier."""
    most_rows: Count = 50_000
    """More rows than that are refused: choose some with `top` first, or raise it."""

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """See `facility_location` in ../coverage.py. Raises UsageError for too many rows."""
        from ..coverage import facility_location

        if len(rows) > self.most_rows:
            raise UsageError(
                f"facility_location: {len(rows)} rows are more than `most_rows` ({self.most_rows}); it compares all "
                "with all. Choose some with `top` before it, or raise `most_rows`"
            )
        kept, near = facility_location(vectors, self.wanted(len(rows)), self.similarity)
        return _chosen(rows, kept, near, "not chosen; another one stands for it")


class KCenter(Embedded, Selecting):
    """Always the row that is farthest from all rows chosen before it (Gonzalez 1985; core-sets: arXiv 1708.00489).

    The largest distance of a row to the nearest chosen one is at most twice the smallest possible. It begins with the
    row that is most like the mean of all. Distances are Euclidean, of unit vectors.
    """

    type: Literal["k_center"]

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """See `k_center` in ../coverage.py."""
        from ..coverage import k_center

        kept, near = k_center(vectors, self.wanted(len(rows)))
        return _chosen(rows, kept, near, "not chosen; another one is near")


def _chosen(rows: Sequence[Row], kept: Sequence[int], near: Sequence[Near], reason: str) -> list[Outcome]:
    """Kept rows, and the others with their neighbours."""
    inside = set(kept)
    found: list[Outcome] = []
    for i, row in enumerate(rows):
        to = near[i].to
        left = Rejected(row, reason, near[i].value, None if to is None else rows[to].id)
        found.append(row if i in inside else left)
    return found
