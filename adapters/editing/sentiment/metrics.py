"""What ConvSent measures, and the pure functions that give it for one edit.

Mitchell et al. 2022 (SERAC, arXiv 2206.06520, section 4 and released code): with L the mean log-likelihood of the
tokens of all replies of a sentiment, z_sentiment = sigmoid(L(wanted) - L(unwanted)) in the edited model, z_topic =
min(1, exp(L(wanted) - L before(wanted))), and the edit's success is their product: a model that only says less of
everything has none. Drawdown is KL(before || edited) at the tokens of replies on another topic. KnowEdit
(arXiv 2401.01286) takes both over; its table prints 0 for the second, which its code never computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from ....metrics import Metric
from ...bridges.ability import GENERAL_METRICS
from ..metrics import FLUENCY

SERAC = "Mitchell et al. 2022 (SERAC), arXiv 2206.06520, section 4"

_SUCCESS = (
    Metric(
        "sentiment_success",
        "edit success",
        "higher",
        "z_sentiment times z_topic: the sentiment is there, and the model still speaks of the topic",
        SERAC,
    ),
    Metric(
        "z_sentiment",
        "sentiment",
        "higher",
        "sigmoid of the difference of the mean log-likelihoods, over tokens, of replies of the wanted and of the other "
        "sentiment; 0.5 where the model has none",
        SERAC,
    ),
    Metric(
        "z_topic",
        "topic",
        "higher",
        "how likely replies of the wanted sentiment are, per token, relative to the untouched model; 1 at most",
        SERAC,
    ),
    Metric(
        "drawdown",
        "drawdown",
        "lower",
        "KL divergence of the edited model's next-token distributions from the untouched model's, mean over the tokens "
        "of replies on another topic that is not edited",
        SERAC,
        unit="nats",
    ),
)

METRICS = (*_SUCCESS, *(m for m in FLUENCY if m.id == "fluency"), *GENERAL_METRICS)


def success(wanted: float, unwanted: float, before: float) -> dict[str, float]:
    """Of the mean NLL per token, in nats, of wanted and unwanted replies now and of wanted ones before.

    >>> success(2.0, 2.0, 2.0)
    {'sentiment_success': 0.5, 'z_sentiment': 0.5, 'z_topic': 1.0}
    """
    sentiment = _sigmoid(unwanted - wanted)
    topic = min(1.0, exp(min(before - wanted, 0.0)))
    return {"sentiment_success": sentiment * topic, "z_sentiment": sentiment, "z_topic": topic}


def _sigmoid(x: float) -> float:
    # Two infinite likelihoods are no preference.
    if x != x:
        return 0.5
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def per_token(replies: Sequence[tuple[float, int]]) -> float:
    """Mean NLL over the tokens of all replies, from the mean and the number of tokens of each."""
    return sum(nll * count for nll, count in replies) / sum(count for _, count in replies)
