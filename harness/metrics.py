"""Metrics as data, reducers as pure functions.

A cell records per-item `columns` (`correct`, `label`, `p.Good` …). A metric names the columns it needs and the
reducer that turns them into a number. Reducers take *weights*: a bootstrap sample is a vector of counts, so that
intervals and paired tests work for every metric without knowing it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import BenchwrightError, unknown

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
"""Column name to values, each of shape (items,)."""

Reducer = Callable[..., Array]
"""`reduce(columns, weights, **options)`: weights of shape (samples, items) to values of shape (samples,); NaN where
a sample does not define the metric (no positive item, say)."""


@dataclass(frozen=True)
class Metric:
    """What a number means. Stored with every cell, so that a leaderboard needs no family's code."""

    id: str
    """Stable name, `generalization.exact`."""
    title: str
    """Column header, a few words."""
    better: Literal["higher", "lower", "none"]
    """Direction; `none` marks a diagnostic that is never ranked."""
    definition: str
    """What is computed, in a sentence or a formula."""
    source: str
    """Paper or page that defines it."""
    columns: tuple[str, ...] = ()
    """Record columns that are reduced together; the metric's own id when empty."""
    reduce: str = "mean"
    """Name of the reducer."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the reducer."""
    by: str = ""
    """Item attribute; when given, there is one value for each value of the attribute."""
    unit: Literal["fraction", "score", "count", "nats", "seconds"] = "fraction"
    version: int = 1
    """Raised when the definition changes; values of different versions are never compared."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The record columns that this metric reads."""
        return self.columns or (self.id,)

    def value(self, columns: Columns, weights: Array | None = None) -> Array:
        """Reduce `columns` (each of shape (items,)) under `weights` of shape (samples, items), default all ones.

        Returns an array of shape (samples,).
        """
        n = len(columns[self.inputs[0]])
        if weights is None:
            weights = np.ones((1, n))
        return reducer(self.reduce)({c: columns[c] for c in self.inputs}, weights, **self.options)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"columns": list(self.columns), "options": dict(self.options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        return cls(**{**data, "columns": tuple(data["columns"])})


_REDUCERS: dict[str, Reducer] = {}


def register_reducer(name: str) -> Callable[[Reducer], Reducer]:
    """Make a pure function available to metrics under `name`; a name is registered once."""

    def add(function: Reducer) -> Reducer:
        known = _REDUCERS.setdefault(name, function)
        if (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise BenchwrightError(f"two reducers are called {name!r}: {known.__module__}, {function.__module__}")
        return function

    return add


@cache
def _load_builtin() -> None:
    from . import reducers

    for module in iter_modules(reducers.__path__):
        import_module(f".reducers.{module.name}", __package__)


def reducer(name: str) -> Reducer:
    """The reducer called `name`. Raises BenchwrightError with the closest known name."""
    if name not in _REDUCERS:
        _load_builtin()
    if name not in _REDUCERS:
        raise BenchwrightError(unknown("reducer", name, _REDUCERS))
    return _REDUCERS[name]


def single(columns: Columns) -> Array:
    """The only column, for reducers of one."""
    (values,) = columns.values()
    return values


@register_reducer("mean")
def mean(columns: Columns, weights: Array) -> Array:
    """Weighted mean of one column."""
    with np.errstate(invalid="ignore"):
        result: Array = (weights @ single(columns)) / weights.sum(axis=1)
    return result
