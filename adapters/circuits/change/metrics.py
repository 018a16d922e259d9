"""What a changed circuit is measured by."""

from __future__ import annotations

from ....metrics import Metric

KC = "Yao et al. 2024, Knowledge Circuits in Pretrained Transformers, arXiv 2405.17969, section 5.1"

METRICS = (
    Metric(
        "edited",
        "edit succeeds",
        "higher",
        "the first differing token of the new target has a higher logit than that of the old one after the edit",
        KC,
    ),
    Metric(
        "turnover",
        "edge turnover",
        "none",
        "1 − Jaccard index of the edges of two circuits: of the old answer on the untouched model, of the new answer "
        "on the edited one",
        KC,
    ),
    Metric(
        "turnover.same_question",
        "turnover, same question",
        "none",
        "the same, but both circuits are for new answer against old one: what the edit alone changed; 0 for no edit",
        "ours",
    ),
    Metric(
        "recovered",
        "old circuit, new answer",
        "none",
        "faithfulness, for the new answer on the edited model, of the circuit that gave the old answer: 1 where the "
        "edit reuses the old paths; facts whose edit failed have no value",
        "ours",
        ("recovered.value", "recovered.full", "recovered.empty"),
        "normalised",
        {"part": "recovered.value", "full": "recovered.full", "empty": "recovered.empty"},
        unit="score",
    ),
    *(
        Metric(
            f"depth.{which}",
            f"depth, {which}",
            "none",
            f"first block, counted from 0, after which the {which} answer is the most probable token of the logit lens "
            f"at the last position, {when}, over the number of blocks; no value for facts for which that never happens",
            KC,
        )
        for which, when in (("old", "before the edit"), ("new", "after it"))
    ),
    Metric(
        "movers.kept",
        "heads kept",
        "none",
        "share of the heads with an edge into the logits before the edit that have one after it: the heads that bring "
        "the answer to the end",
        KC,
    ),
)
