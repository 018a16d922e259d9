"""Metrics of knowledge editing: what each number means, and the pure functions that give its value for one edit.

Questions with a right answer, and locality, come in two strengths. `token`: share of the target's tokens that are the
most probable one under teacher forcing, what EasyEdit and KnowEdit call accuracy. `exact`: all of them are, which is
the same as greedy decoding producing the target (lm/scoring.py). An edit's value is the mean over its kinds of probe of
the mean over the probes of a kind; edits without probes have no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp
from statistics import fmean

from ...metrics import Metric
from ..bridges.ability import GENERAL_METRICS

KNOWEDIT = "Zhang et al. 2024, arXiv 2401.01286, section 5"
WISE = "Wang et al. 2024 (WISE), arXiv 2405.14768"
COUNTERFACT = "Meng et al. 2022, arXiv 2202.05262; Meng et al. 2023, arXiv 2210.07229"

KINDS: Mapping[str, Mapping[str, str]] = {
    "locality": {
        "neighbourhood": "the same relation of other subjects",
        "same_last_token": "the same relation of other subjects whose name ends alike",
        "same_subject": "other relations of the edited subject",
        "forgetfulness": "other right answers to the edited question",
        "distracting": "the same relation of other subjects, after a sentence that states the edit",
        "other": "other unrelated questions",
    },
    "portability": {
        "alias": "another name of the subject",
        "two_hop": "a question that leads through the edited fact to another one",
        "two_hop_to": "a question that leads through another fact to the edited one",
        "logical": "facts that the edit implies",
        "persona": "the edited question in the words of somebody",
        "inverse": "the subject, asked for by the new object",
        "chain_of_thought": "a question through the edited fact, answered by reasoning aloud",
        "other": "other questions that follow from the edit",
    },
}
"""The kinds of probe, whatever a data set calls them."""

APART = frozenset({"inverse", "chain_of_thought", "persona"})
"""Kinds that have numbers of their own and do not enter the mean over kinds: no editor of weights reverses a fact,
reasoning aloud is another way of asking the two-hop questions, and what somebody asks in other words follows from
nothing."""

_HOW = {
    "exact": "all tokens, i.e. greedy decoding gives the answer",
    "token": "share of tokens, teacher forcing",
}
_WHAT = {
    "reliability": "the edited prompt is answered with the new target",
    "generalization": "the rephrased prompt is answered with the new target",
    "locality": "unrelated prompts are answered as before the edit, by the untouched model",
    "portability": "prompts that follow from the edit are answered rightly (best of the accepted answers); "
    "mean over kinds, without inverse, chain_of_thought and persona",
}

OVERALL = tuple(
    Metric(f"{what}.{how}", f"{what} ({how})", "higher", f"{meaning}; {_HOW[how]}", KNOWEDIT)
    for how in _HOW
    for what, meaning in _WHAT.items()
)

AVERAGED = ("reliability", "generalization", "locality")
AVERAGE = tuple(
    Metric(
        f"average.{how}",
        f"average ({how})",
        "higher",
        f"mean of reliability, generalization and locality of an edit that has all three; {_HOW[how]}",
        "Wang et al. 2024 (WISE), arXiv 2405.14768, table 2 (Avg.)",
    )
    for how in _HOW
)

BY_KIND = tuple(
    Metric(
        f"{measure}.{kind}.{how}",
        f"{measure}, {kind.replace('_', ' ')} ({how})",
        "higher",
        f"{measure} of one kind: {meaning}; {_HOW[how]}",
        KNOWEDIT,
    )
    for how in _HOW
    for measure, kinds in KINDS.items()
    for kind, meaning in kinds.items()
)

_CONTRASTED = {
    "efficacy": ("the edited prompt", "new", "true"),
    "paraphrase": ("paraphrases", "new", "true"),
    "neighborhood": ("the same relation of other subjects", "true", "new"),
}

CONTRAST = (
    *(
        Metric(
            f"{name}_score",
            f"{name} score",
            "higher",
            f"on {where}, share of prompts with NLL({wanted}) < NLL({other}); NLL is the mean over a target's tokens",
            COUNTERFACT,
        )
        for name, (where, wanted, other) in _CONTRASTED.items()
    ),
    *(
        Metric(
            f"{name}_magnitude",
            f"{name} magnitude",
            "higher",
            f"on {where}, mean of exp(-NLL({wanted})) - exp(-NLL({other})); NLL is the mean over a target's tokens",
            COUNTERFACT,
            unit="score",
        )
        for name, (where, wanted, other) in _CONTRASTED.items()
    ),
    Metric(
        "counterfact_score",
        "CounterFact score",
        "higher",
        "harmonic mean of the mean efficacy, paraphrase and neighborhood score, over edits that have all three",
        COUNTERFACT,
        columns=tuple(f"{name}_score" for name in _CONTRASTED),
        reduce="harmonic_mean_of_means",
    ),
)

FLUENCY = (
    Metric(
        "fluency",
        "fluency",
        "higher",
        "weighted n-gram entropy, in bits, of how the edited model goes on after the edited prompt (or CounterFact's "
        "generation prompts, where the task says so): mean of 2/3 of the entropy of its bigrams and 4/3 of that of its "
        "trigrams; papers print it times 100",
        "Zhang et al. 2018, arXiv 1809.05972; Meng et al. 2022, arXiv 2202.05262",
        unit="score",
    ),
    Metric(
        "consistency",
        "consistency",
        "higher",
        "cosine of the TF-IDF vectors of what the edited model writes after CounterFact's generation prompts and of "
        "texts about others that are what the edit says (ROME's reference score); papers print it times 100",
        COUNTERFACT,
    ),
)

TEXTS = (
    Metric(
        "perplexity",
        "perplexity",
        "lower",
        "exp of the mean NLL of the new target's tokens after the edited prompt; the mean over edits, as WISE prints "
        "it, so that one bad edit can decide it; at most 1e9",
        WISE,
        unit="score",
    ),
    Metric(
        "ood",
        "OOD generalization",
        "higher",
        "share of the tokens of another text on what was edited to which the model gives a probability above 0.8; the "
        "released code divides by all positions of a batch, here padding does not count",
        WISE,
    ),
    Metric(
        "essence",
        "essence",
        "lower",
        "perplexity of texts about the subject, their first 100 tokens; to be compared with the unedited model's",
        COUNTERFACT,
        unit="score",
    ),
)

POSITION = tuple(
    Metric(
        f"{which}.{how}",
        f"{which} tenth ({how})",
        "higher",
        f"reliability of the {which} tenth of the edits of a stream (one at least), in the model after T > 1 of them; "
        f"{_HOW[how]}",
        "Benchwright",
    )
    for how in _HOW
    for which in ("oldest", "newest")
)

RETENTION = tuple(
    Metric(
        f"retention.{how}",
        f"retention ({how})",
        "higher",
        "facts that no request of the task is about and that the untouched model answers exactly are still answered "
        f"rightly; {_HOW[how]}",
        "Benchwright",
    )
    for how in _HOW
)

METRICS = (*OVERALL, *AVERAGE, *BY_KIND, *CONTRAST, *FLUENCY, *TEXTS, *POSITION, *RETENTION, *GENERAL_METRICS)

Tokens = tuple[int, ...]


def token_share(predicted: Tokens, target: Tokens) -> float:
    """Share of positions at which the two agree; both have the same length, at least 1."""
    return sum(p == t for p, t in zip(predicted, target, strict=True)) / len(target)


def over_kinds(measure: str, how: str, by_kind: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Values of a measure from those of its probes by kind: of each kind, and over all that are not `APART`.

    A kind without a name in `KINDS` (that of reliability, say) counts in the mean only. Empty kinds have no value.

    >>> over_kinds("portability", "exact", {"alias": [1, 0], "two_hop": [1], "inverse": [0]})["portability.exact"]
    0.75
    """
    means = {kind: fmean(values) for kind, values in by_kind.items() if values}
    found = {f"{measure}.{kind}.{how}": mean for kind, mean in means.items() if kind in KINDS.get(measure, ())}
    counted = [mean for kind, mean in means.items() if kind not in APART]
    return found | ({f"{measure}.{how}": fmean(counted)} if counted else {})


def average(found: Mapping[str, float]) -> dict[str, float]:
    """The `AVERAGE` columns that follow from an edit's other values.

    >>> average({"reliability.exact": 1.0, "generalization.exact": 0.5, "locality.exact": 0.0})
    {'average.exact': 0.5}
    """
    parts = {how: [found.get(f"{measure}.{how}") for measure in AVERAGED] for how in _HOW}
    whole = {how: [value for value in values if value is not None] for how, values in parts.items()}
    return {f"average.{how}": fmean(values) for how, values in whole.items() if len(values) == len(AVERAGED)}


def contrast(wanted: float, other: float) -> tuple[float, float]:
    """Score and magnitude of one prompt, from the mean NLL in nats of the wanted target and of the other one."""
    return float(wanted < other), exp(-wanted) - exp(-other)


def contrast_values(nll: Mapping[str, Iterable[tuple[float, float]]]) -> dict[str, float]:
    """Values of an edit's `CONTRAST` columns: `efficacy`, `paraphrase` and `neighborhood`, each with (NLL of the new
    target, NLL of the true one) for each prompt, in nats per token. Those without prompts have no value."""
    found: dict[str, float] = {}
    for name, pairs in nll.items():
        reverse = _CONTRASTED[name][1] == "true"
        both = [contrast(true, new) if reverse else contrast(new, true) for new, true in pairs]
        if both:
            scores, magnitudes = zip(*both, strict=True)
            found |= {f"{name}_score": fmean(scores), f"{name}_magnitude": fmean(magnitudes)}
    return found


def aged(found: Mapping[str, float], place: int, count: int) -> dict[str, float]:
    """The `POSITION` columns of the edit at a place, from 0, of `count` that were made in turn: what shows forgetting.

    >>> aged({"reliability.exact": 1.0}, 0, 20), aged({"reliability.exact": 1.0}, 2, 20)
    ({'oldest.exact': 1.0}, {})
    """
    tenth = max(1, count // 10)
    which = [name for name, there in (("oldest", place < tenth), ("newest", place >= count - tenth)) if there]
    known = [how for how in _HOW if f"reliability.{how}" in found]
    return {f"{name}.{how}": found[f"reliability.{how}"] for how in known for name in which}


def retention(answers: Iterable[tuple[Tokens, Tokens, Tokens]]) -> dict[str, float]:
    """Retention from (right answer, what the untouched model says, what the edited one says), token for token.

    Empty when the untouched model knew none of them.
    """
    known = [(right, after) for right, before, after in answers if before == right]
    if not known:
        return {}
    return {
        "retention.exact": fmean(float(after == right) for right, after in known),
        "retention.token": fmean(token_share(after, right) for right, after in known),
    }
