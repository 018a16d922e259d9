"""What the truth track measures; see docs/instruct.md for the records."""

from __future__ import annotations

from ...metrics import Metric

OWN = "Benchwright, docs/instruct.md"
PAIRS = (
    "Of a duplicate and the row that it repeats one has to go, whichever: the first one that is removed counts as the "
    "spoiled one, and if both are, the other as a clean row that was lost."
)

PLANTED = (
    Metric(
        "removal_f1",
        "F1 of removal",
        "higher",
        f"harmonic mean of precision and recall of the spoiled rows among those that were removed. {PAIRS}",
        OWN,
        columns=("label", "predicted"),
        reduce="class_score",
        options={"classes": 2, "score": "f1", "of": 1},
    ),
    Metric(
        "removal_precision",
        "precision",
        "higher",
        f"share of spoiled rows among the removed ones; not defined where nothing was removed. {PAIRS}",
        OWN,
        columns=("hit", "predicted"),
        reduce="ratio_of_sums",
    ),
    Metric("removal_recall", "recall", "higher", f"share of the spoiled rows that were removed. {PAIRS}", OWN),
    Metric("clean_lost", "clean lost", "lower", f"share of the clean rows that were removed. {PAIRS}", OWN),
    Metric(
        "purity",
        "purity",
        "higher",
        "share of clean rows among those that were kept",
        OWN,
        columns=("kept_clean", "kept"),
        reduce="ratio_of_sums",
    ),
    Metric(
        "purity_at_budget",
        "purity at N",
        "higher",
        "share of clean rows among the N kept rows that score best by the last stage that scores; without scores, its "
        "expectation for N of the kept rows. Not recorded where fewer than N were kept",
        OWN,
        columns=("chosen_clean", "chosen"),
        reduce="ratio_of_sums",
    ),
    Metric(
        "auroc",
        "AUROC",
        "higher",
        "probability that a spoiled row scores worse than a clean one by the last stage that scores, of the rows that "
        "came as far as that stage, duplicates aside; ties count half",
        OWN,
        columns=("spoiled", "badness"),
        reduce="auc",
    ),
    Metric(
        "one_left",
        "one of a pair left",
        "higher",
        "share of the pairs of a row and its duplicate of which exactly one row is left",
        OWN,
    ),
    Metric(
        "recall.by_defect",
        "recall",
        "higher",
        f"recall of each kind of defect. {PAIRS}",
        OWN,
        columns=("removal_recall",),
        by="defect",
    ),
    Metric(
        "recall.by_severity",
        "recall",
        "higher",
        f"recall of mild and of severe defects. {PAIRS}",
        OWN,
        columns=("removal_recall",),
        by="severity",
    ),
)
