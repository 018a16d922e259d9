"""Metrics of long targets: what each number means, and the pure functions that give its value for one edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from ....metrics import Metric
from ...bridges.ability import GENERAL_METRICS
from .overlap import bleu, rouge_l, rouge_n

UNKE = "Deng et al. 2024, arXiv 2405.15349, section 4.1 and released code"
LEME = "Rosati et al. 2024, arXiv 2402.09394; the measures themselves are Benchwright's"

ASKED: Mapping[str, str] = {
    "original": "the edited prompt; wanted is the new target",
    "paraphrase": "paraphrases of it; wanted is the new target",
    "parts": "questions on parts of the target, each with its own answer (UnKE's sub-questions)",
}

SIMILARITY = "similarity"

COMPARED: Mapping[str, str] = {
    "bleu": "BLEU of characters, orders 1 to 4, without smoothing, as UnKE's code calls it",
    "rouge_1": "share of the wanted text's distinct words that the written one has (ROUGE-1 recall)",
    "rouge_2": "share of the wanted text's distinct pairs of words that the written one has (ROUGE-2 recall)",
    "rouge_l": "share of the wanted text's distinct words that are in a longest common subsequence of sentences "
    "(ROUGE-L recall, summary level)",
    SIMILARITY: "cosine of the sentence embeddings of both texts (papers: BERTScore, all-MiniLM-L6-v2)",
}

TEXTS = tuple(
    Metric(f"{asked}.{how}", f"{asked} {how.replace('_', '-')}", "higher", f"{what}; {where}", UNKE, unit="score")
    for asked, where in ASKED.items()
    for how, what in COMPARED.items()
)

FORCED = tuple(
    Metric(
        f"original.{how}",
        f"original ({how})",
        "higher",
        f"the edited prompt under teacher forcing; {what}",
        "Benchwright",
    )
    for how, what in {
        "token": "share of the new target's tokens that are the most probable one",
        "exact": "1 where all of them are, so that greedy decoding writes the target word for word",
    }.items()
)

HELD = (
    Metric(
        "held.exact",
        "held",
        "higher",
        "share of prompts that the edit does not concern to which the edited model writes, greedily, the text that the "
        "untouched one does",
        "Benchwright",
    ),
)

PASSAGES = (
    Metric(
        "passage.new_target",
        "new target said",
        "higher",
        "passages on the subject that have the new target in them",
        LEME,
    ),
    Metric(
        "passage.old_target",
        "old target said",
        "lower",
        "passages on the subject that have the old target in them",
        LEME,
    ),
    Metric(
        "passage.known",
        "known facts said",
        "higher",
        "share of the subject's other known properties of which a passage on it mentions a value",
        LEME,
    ),
    Metric(
        "passage.related_known",
        "known facts said (related)",
        "higher",
        "the same of an entity that the subject has to do with, in a passage on that one",
        LEME,
    ),
)

METRICS = (*FORCED, *TEXTS, *HELD, *PASSAGES, *GENERAL_METRICS)


def compared(written: str, wanted: str) -> dict[str, float]:
    """Values of `COMPARED` that need no model.

    UnKE's code appends a space to a written text without any, and so is done here for BLEU.
    """
    return {
        "bleu": bleu(written if " " in written else f"{written} ", wanted),
        "rouge_1": rouge_n(written, wanted, 1),
        "rouge_2": rouge_n(written, wanted, 2),
        "rouge_l": rouge_l(written, wanted),
    }


def averaged(asked: str, values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the questions of a kind, under the names of metrics; empty without questions.

    >>> averaged("parts", [{"bleu": 1.0}, {"bleu": 0.0}])
    {'parts.bleu': 0.5}
    """
    return {f"{asked}.{how}": fmean(v[how] for v in values) for how in (values[0] if values else ())}
