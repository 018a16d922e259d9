"""What the intrinsic track measures: each of the pipeline's rows, of as many random ones, and of the longest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ....metrics import Metric

LIN = "Lin 2004, ROUGE, aclanthology.org/W04-1013"
LI = "Li et al. 2016, arXiv 1510.03055"
SETS = {
    "": "",
    ".random": "; of as many random rows of those that were given (Self-Instruct's seeds, for a generator)",
    ".longest": "; of as many of those that were given, with the longest answers",
}
"""Suffix of an id to what it is of."""


def _of_a_set() -> Iterator[Metric]:
    yield Metric(
        "nearest_rouge",
        "nearest ROUGE-L",
        "lower",
        "mean over the rows of the highest ROUGE-L F of the instruction with that of another row",
        LIN,
    )
    yield Metric("near_duplicates", "near duplicates", "lower", "share of rows whose nearest ROUGE-L is above 0.7", LIN)
    for n in (1, 2, 3):
        yield Metric(
            f"distinct_{n}",
            f"distinct-{n}",
            "higher",
            f"different {n}-grams of words over all {n}-grams, in the instructions and answers of all rows. It falls "
            "with the number of rows: compare sets of one size. Intervals resample rows; an n-gram is counted for the "
            "first row that has it",
            LI,
            columns=(f"new_{n}", f"all_{n}"),
            reduce="ratio_of_sums",
        )
    yield Metric(
        "mtld",
        "MTLD",
        "none",
        "mean over the rows of the lexical diversity of the answer, where it is defined",
        "McCarthy and Jarvis 2010, doi 10.3758/BRM.42.2.381",
        unit="score",
    )
    yield Metric(
        "opening_entropy",
        "entropy of openings",
        "higher",
        "entropy, in nats, of the first two content words of the instructions: the mean over the rows of −ln of the "
        "share of rows that open alike. Takes the place of the verb-noun pairs of Self-Instruct (arXiv 2212.10560, "
        "figure 2), for which a parser would be needed",
        "Benchwright, docs/instruct.md",
        unit="nats",
    )
    yield Metric("valid", "valid", "higher", "share of rows with an instruction and an answer that say something", "")
    yield Metric(
        "contaminated",
        "contaminated",
        "lower",
        "share of rows that share so many words in a row with an item of the evaluation set",
        "Brown et al. 2020, arXiv 2005.14165, appendix C",
    )
    for field in ("instruction", "output"):
        title = f"words of the {field}"
        yield Metric(f"{field}_words", title, "none", f"mean number of {title}", "", unit="count")


def _in_all_sets(metrics: Iterator[Metric]) -> tuple[Metric, ...]:
    return tuple(
        replace(
            metric,
            id=metric.id + suffix,
            title=metric.title + suffix.replace(".", ", "),
            definition=metric.definition + more,
            columns=tuple(column + suffix for column in metric.inputs),
            better="none" if suffix else metric.better,
        )
        for metric in metrics
        for suffix, more in SETS.items()
    )


METRICS = (
    Metric(
        "rows", "rows", "none", "rows that the pipeline let through, over those that it was given", "", unit="score"
    ),
    *_in_all_sets(_of_a_set()),
)


def _likelihoods() -> Iterator[Metric]:
    yield Metric(
        "perplexity_output",
        "perplexity of the answer",
        "none",
        "geometric mean over the rows of the perplexity of the answer alone, each token scored once",
        "Jelinek et al. 1977; transformers documentation, Perplexity of fixed-length models",
        columns=("nll_output",),
        reduce="exp_of_mean",
        unit="score",
    )
    yield Metric(
        "ifd_loss_ratio",
        "IFD (loss ratio)",
        "none",
        "mean over the rows of the mean loss of the answer given the prompt over its mean loss alone",
        "Li et al. 2023, arXiv 2308.12032",
        unit="score",
    )
    yield Metric(
        "ifd_perplexity_ratio",
        "IFD (perplexity ratio)",
        "none",
        "geometric mean over the rows of the perplexity of the answer given the prompt over its perplexity alone",
        "Li et al. 2024, Superfiltering, arXiv 2402.00530",
        columns=("log_ifd_perplexity_ratio",),
        reduce="exp_of_mean",
        unit="score",
    )


LIKELIHOOD = _in_all_sets(_likelihoods())
