"""Axes: from values to pixels, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`; may be the larger one, as on a vertical axis."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, least: int = 4) -> list[float]:
        """Round values within the scale, as few as make `least`."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, least)


def fit(values: Iterable[float], start: float, end: float, *, log: bool = False, limits: Sequence[float] = ()) -> Scale:
    """A scale over the finite `values` with a margin, kept within `limits` (0 and 1 for a fraction)."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(finite), max(finite)
    if log:
        margin = max((high / low) ** 0.04, math.sqrt(3 * low / high), 1.1)  # at least a factor of 3 in all
        return Scale(low / margin, high * margin, start, end, log=True)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - margin, high + margin
    if limits and limits[0] <= min(finite) and max(finite) <= limits[1]:
        low, high = max(low, limits[0]), min(high, limits[1])
    return Scale(low, high, start, end)


def _ticks(low: float, high: float, least: int) -> list[float]:
    unit = 10.0 ** math.floor(math.log10((high - low) / least))
    found: list[float] = []
    for step in (unit * k for k in (10, 5, 2.5, 2, 1)):
        found = [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        if len(found) >= least:
            break
    return found


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1,), (1, 3), (1, 2, 5)):
        found = [k * 10.0**d for d in decades for k in parts if low <= k * 10.0**d <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 8)]
    return _ticks(low, high, 3)


def tick_text(value: float) -> str:
    """`0.25`, `1000`, `1e+06`; without float noise."""
    return f"{value:.6g}".replace("-", "−") if abs(value) > 1e-12 else "0"
