"""What the numbers of a look mean. Diagnostics: none is better high or low, and none is ranked.

A method records what is defined for it. Its peak, the largest value of what it measures, has a column of its own:
unlike quantities are no column of one table. Of lens and causal tracing it is sought before the prompt's last
position, where both only rise towards what the model says in the end.
"""

from __future__ import annotations

from ....metrics import Metric

LENS = "nostalgebraist 2020, interpreting GPT: the logit lens"
TRACING = "Meng et al. 2022, Locating and Editing Factual Associations in GPT, arXiv 2202.05262, section 2"
DIRECT = "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits"
NEURONS = "Dai et al. 2022, Knowledge Neurons in Pretrained Transformers, arXiv 2104.08696"
KC = "Yao et al. 2024, Knowledge Circuits in Pretrained Transformers, arXiv 2405.17969"

_TYPES = {
    "mover": "attends from the last position to the subject's last token and writes the answer",
    "relation": "attends from the last position to the relation's tokens",
    "mixture": "attends from the last position to both subject and relation",
    "subject": "attends from the last position to the subject's last token and writes something else",
}
_SCALED = {"suppression": "set to 0", "enhancement": "doubled"}

_PEAKS = {
    "logit_lens": ("probability of the answer after a block, at a position before the prompt's last", LENS),
    "causal_tracing": (
        "indirect effect on the probability of the answer of a state put back before the prompt's last position",
        TRACING,
    ),
    "direct_logit_attribution": ("part in the logit of right less wrong answers of a head or MLP", DIRECT),
    "knowledge_neurons": ("attribution of a neuron, in probability of the answer", NEURONS),
    "head_types": ("part in the logit of right less wrong answers that a head moves from one position", KC),
}

METRICS = (
    Metric("right", "right", "none", "share of prompts whose most probable next token is a right answer", "accuracy"),
    Metric("answer.probability", "p(answer)", "none", "probability of the right answers after the prompt", "model"),
    *(
        Metric(f"peak.{what}", f"peak, {what.replace('_', ' ')}", "none", f"largest {value}", source, unit="score")
        for what, (value, source) in _PEAKS.items()
    ),
    Metric(
        "peak.depth", "depth of peak", "none", "block of the peak, counted from 0, over the number of blocks", "ours"
    ),
    Metric(
        "peak.subject_last",
        "peak at subject",
        "none",
        "share of prompts whose peak is at the subject's last token (of head types: is moved from there)",
        TRACING,
    ),
    *(
        Metric(
            f"first_layer.rank{most}",
            f"first rank ≤ {most}",
            "none",
            f"first block, counted from 0, over the number of blocks, after which the answer is among the {most} most "
            "probable at the last position; prompts that have none are left out, and counted",
            LENS,
        )
        for most in (1, 10)
    ),
    Metric(
        "total_effect",
        "total effect",
        "none",
        "probability of the answer less that with a noisy subject (mean over samples of noise)",
        TRACING,
    ),
    *(
        Metric(
            f"direct.{part}",
            f"direct, {part}",
            "none",
            f"logit of right less wrong answers that {what} add together",
            DIRECT,
            unit="score",
        )
        for part, what in (("heads", "all heads"), ("mlps", "all MLPs"), ("rest", "embedding, positions and biases"))
    ),
    Metric("neurons", "neurons", "none", "knowledge neurons of a prompt", NEURONS, unit="count"),
    *(
        Metric(
            name,
            name,
            "none",
            f"change of the answer's log-probability when its knowledge neurons are {how}",
            NEURONS,
            unit="nats",
        )
        for name, how in _SCALED.items()
    ),
    *(
        Metric(
            f"{name}.unrelated",
            f"{name}, unrelated",
            "none",
            f"the same for the answer to a question of another relation, as a size; {how}",
            NEURONS,
            unit="nats",
        )
        for name, how in _SCALED.items()
    ),
    *(
        Metric(f"heads.{name}", f"{name} heads", "none", f"number of heads each of which {what}", KC, unit="count")
        for name, what in _TYPES.items()
    ),
    Metric(
        "margin",
        "movers' margin",
        "none",
        "logit of right less wrong answers that mover and mixture heads add together",
        KC,
        unit="score",
    ),
    Metric(
        "margin.auroc",
        "margin AUROC",
        "none",
        "chance that the movers' margin is larger after a prompt that is answered rightly than after another. A "
        "proxy of how much of an error is in what the movers bring; it knows the answer, so it detects nothing",
        f"{KC}, section on hallucination",
        ("label", "margin"),
        "auc_ovr",
        {"normalise": False, "of": 0},
    ),
)
"""`label` is 0 after a prompt that is answered rightly and else 1."""
