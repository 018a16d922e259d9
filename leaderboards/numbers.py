"""Numbers as text: as many digits as the interval supports, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from ..metrics import Metric
from ..stats import Estimate
from .tables import Column

MISSING = "–"


def digits(metric: Metric, estimates: Iterable[Estimate | None]) -> int:
    """Decimals for a column: two significant digits of the median interval's width, at most 4.

    Fractions have at least 2. A column without an interval has 3.
    """
    widths = [e.high - e.low for e in estimates if e is not None and e.high > e.low]
    if not widths:
        return 3
    least = 2 if metric.unit == "fraction" else 0
    return min(4, max(least, 1 - math.floor(math.log10(median(widths)))))


def number(value: float | None, metric: Metric, decimals: int) -> str:
    """A value in its unit: counts plain, seconds with 3 significant digits, `–` for what is not defined."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if metric.unit == "seconds":
        return significant(value)
    if metric.unit == "count" and value == int(value):
        return f"{value:.0f}"
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def significant(value: float, figures: int = 3) -> str:
    """`figures` significant digits without an exponent: 0.0123, 1.23, 123, 1234; `–` for NaN."""
    if math.isnan(value):
        return MISSING
    if value == 0:
        return "0"
    return f"{value:.{min(9, max(0, figures - 1 - math.floor(math.log10(abs(value)))))}f}"


def bounds(estimate: Estimate | None, metric: Metric, decimals: int) -> str:
    """`[0.850, 0.905]`; empty without an interval."""
    if estimate is None or math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    return f"[{number(estimate.low, metric, decimals)}, {number(estimate.high, metric, decimals)}]"


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 item`, `300 items`."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def basis(estimate: Estimate) -> str:
    """What a number rests on: `n = 300 items in 12 clusters, 2 seeds`."""
    clusters = f" in {counted(estimate.clusters, 'cluster')}" if estimate.clusters != estimate.items else ""
    seeds = f", {counted(estimate.seeds, 'seed')}" if estimate.seeds > 1 else ""
    return f"n = {counted(estimate.items, 'item')}{clusters}{seeds}"


def meaning(column: Column) -> str:
    """A metric's definition, direction and source, for a tooltip or a list."""
    metric = column.metric
    direction = {"higher": "higher is better", "lower": "lower is better", "none": "a diagnostic, not ranked"}
    source = f" Source: {metric.source}." if metric.source else ""
    return f"{metric.definition.rstrip('.')} ({direction[metric.better]}).{source}"


ARROW = {"higher": "↑", "lower": "↓", "none": ""}
"""Direction of a metric, for its header."""
