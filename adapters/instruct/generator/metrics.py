"""What the generator track measures."""

from __future__ import annotations

from ....metrics import Metric

OWN = "Benchwright, docs/instruct.md"
METRICS = (
    Metric(
        "parse_yield",
        "parse yield",
        "higher",
        "items that the generator found in the lists that it was given over the items that they hold; above 1 where it "
        "took for an item what is none. An item that was cut off is none",
        OWN,
        columns=("found", "contained"),
        reduce="ratio_of_sums",
    ),
    Metric("count_error", "count error", "lower", "|rows made − rows asked for| over rows asked for", OWN),
    Metric(
        "accepted",
        "accepted",
        "none",
        "rows over the items that were found in lists; the others were turned away, each with a reason",
        OWN,
    ),
    Metric("requests_per_row", "requests per row", "lower", "requests over rows", OWN, unit="score"),
    Metric("tokens_per_row", "tokens per row", "lower", "tokens of prompts and answers over rows", OWN, unit="count"),
    Metric(
        "lost_by_kill",
        "rows lost by a kill",
        "lower",
        "rows of an undisturbed run that a run which was killed half-way and started again does not have",
        OWN,
        unit="count",
    ),
    Metric(
        "paid_twice",
        "paid twice",
        "lower",
        "requests that the killed run and the one that went on sent twice, beside those under way at the kill",
        OWN,
        unit="count",
    ),
    Metric(
        "same_bytes",
        "same bytes",
        "higher",
        "whether a second run, and the killed one that went on, write the same rows byte for byte",
        OWN,
    ),
)
