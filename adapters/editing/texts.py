"""Texts that an edited model reads: how likely it finds them, where nothing is asked and nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp, log

from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Forced, Row, Unusable, tokenised
from .cases import EditCase

SURE = 0.8
"""Probability above which a token counts as predicted (Wang et al. 2024, arXiv 2405.14768)."""
ESSENCE_TOKENS = 100
"""Tokens of a text about the subject that are read (Meng et al. 2022, arXiv 2202.05262)."""
LARGEST_PERPLEXITY = 1e9
"""What a broken model gets, whose perplexity has no bound; guessing gives the size of the vocabulary."""


@dataclass(frozen=True)
class Text:
    """A text that is read for a metric."""

    metric: str
    row: Row

    def value(self, said: Forced) -> float:
        """What the metric says of it."""
        return predicted(said.nlls) if self.metric == "ood" else perplexity(said.nll)


def perplexity(nll: float) -> float:
    """Of a mean negative log-likelihood in nats; at most `LARGEST_PERPLEXITY`.

    >>> perplexity(0.0), perplexity(float("inf"))
    (1.0, 1000000000.0)
    """
    return exp(nll) if nll < log(LARGEST_PERPLEXITY) else LARGEST_PERPLEXITY


def predicted(nlls: Iterable[float]) -> float:
    """Share of tokens that the model gives a probability above `SURE`, from their negative log-likelihoods in nats.

    >>> predicted([0.0, 0.3, 0.2, 5.0])
    0.5
    """
    found = [float(nll < -log(SURE)) for nll in nlls]
    return sum(found) / len(found)


def texts(lm: LanguageModel, case: EditCase, patch: Patch) -> Iterator[Text | str]:
    """The texts of a case as the patched model reads them, and the reasons of those that it cannot read."""
    read: list[tuple[str, str, int | None]] = [("ood", text, None) for text in case.articles]
    if case.essence:
        read.append(("essence", " ".join(case.essence), ESSENCE_TOKENS))
    for metric, text, longest in read:
        try:
            yield Text(metric, encode_text(lm, patch, text, longest))
        except Unusable as error:
            yield f"{metric}: {error}"


def encode_text(lm: LanguageModel, patch: Patch, text: str, longest: int | None = None) -> Row:
    """Tokenise a text that is read, after whatever the patch puts before it; its first `longest` tokens at most.

    The target is all of the text's own tokens that something stands before. No chat template is put around it: it is
    nobody's turn. Raises Unusable for less than two tokens, or more than fit.
    """
    whole = patch.prompt(text)
    if text not in whole or len(tokenised(lm, whole)[0]) > lm.context:
        whole = text
    ids, spans = tokenised(lm, whole)
    begin = whole.rfind(text)
    own = [i for i, (start, end) in enumerate(spans) if end > begin and start < begin + len(text) and end > start]
    own = own[:longest]
    start = max(own[0], 1) if own else len(ids)
    ids = ids[: own[-1] + 1] if own else ids
    if len(ids) <= start:
        raise Unusable("a text of less than two tokens")
    if len(ids) > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return Row(ids, start)
