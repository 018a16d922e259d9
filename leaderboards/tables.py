"""What a leaderboard is: values only, independent of how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ..metrics import Metric
from ..stats import Estimate
from ..store import At

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Column:
    """A metric under one condition."""

    metric: Metric
    at: At = ()

    @property
    def condition(self) -> str:
        """`T=100`; empty for most columns."""
        return ", ".join(f"{name}={value}" for name, value in self.at)

    @property
    def key(self) -> str:
        """`generalization.exact[T=100]`: names the column in CSV, JSON and references."""
        return f"{self.metric.id}[{self.condition}]" if self.at else self.metric.id

    @property
    def title(self) -> str:
        """The metric's title with the condition."""
        return f"{self.metric.title}, {self.condition}" if self.at else self.metric.title


@dataclass(frozen=True)
class Cost:
    """Means over the seeds that ended ok (over all when none did); NaN where nothing was recorded."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Row:
    """One measured method: its cells, grouped over seeds."""

    method: str
    """Name of the spec; a short digest follows where one name stands for different settings."""
    title: str
    fidelity: str
    """`faithful`, or what the method's spec says instead: `control`, `variant`, `reconstruction`."""
    status: str
    """`ok` when every seed ended ok, otherwise the first other status."""
    cause: str
    """Why the first seed that did not end ok did not; empty for `ok`."""
    seeds: int
    failed: int
    """How many of the seeds did not end ok. The estimates are those of the other seeds."""
    items: int
    """Items under the headline metric (the most under any metric where the headline is missing)."""
    estimates: tuple[Estimate | None, ...]
    """One for each column of the table; None where nothing was recorded."""
    cost: Cost
    cells: tuple[str, ...]
    """Ids of the cells, to find the records behind a number."""
    further: Mapping[str, float] = field(default_factory=dict)
    """Costs that the family counts beside those (`parameters`, `edit_cpu_s`), means over the seeds."""
    rank: int | None = None
    """1 + the number of rows that are significantly better; None for rows that are not ranked."""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Published:
    """Numbers copied from a paper. A type of its own, so that no code can take them for measured ones."""

    method: str
    values: tuple[float | None, ...]
    """One for each column of the table."""
    reference: str
    note: str
    source_title: str
    source_url: str


@dataclass(frozen=True)
class Slice:
    """A metric split by an item attribute: one column for each value of the attribute."""

    metric: Metric
    columns: tuple[Column, ...]
    estimates: Mapping[str, tuple[Estimate | None, ...]]
    """Row's method to one estimate for each column."""


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one task, the same models, equal `comparable`."""

    task: str
    title: str
    description: str
    models: Mapping[str, str]
    comparable: str
    differs: Mapping[str, str]
    """What sets this table apart from others of the same task and models, `{"limit": "50"}`; else empty."""
    columns: tuple[Column, ...]
    main: tuple[int, ...]
    """Indices of the columns to show first: the headline and those that the task asks for."""
    rows: tuple[Row, ...]
    """Ranked rows, best first, then the others by name."""
    headline: int | None
    """Index of the column that ranks; None when no metric has a direction."""
    best: tuple[float | None, ...]
    """The best value of each column among the ok rows; None without a direction or where none is better."""
    published: tuple[Published, ...] = ()
    slices: tuple[Slice, ...] = ()

    @property
    def name(self) -> str:
        """`zsre · gpt2-xl · limit 50`: unique within a leaderboard."""
        models = ", ".join(
            name if role == "subject" else f"{role} {name}" for role, name in sorted(self.models.items())
        )
        differs = ", ".join(f"{what} {value}" for what, value in self.differs.items())
        return " · ".join(part for part in (self.task, models, differs) if part)

    def shares_rank(self, row: Row) -> bool:
        """Whether the data cannot separate `row` from another row of the same rank."""
        return row.rank is not None and sum(other.rank == row.rank for other in self.rows) > 1

    def is_best(self, row: Row, column: int) -> bool:
        """Whether `row` holds the best value of a column."""
        estimate = row.estimates[column]
        return row.ok and estimate is not None and estimate.value == self.best[column]


@dataclass(frozen=True)
class Leaderboard:
    """All tables, ordered by task, models and comparability."""

    tables: tuple[Table, ...]

    def frame(self) -> pd.DataFrame:
        """One row for each method and column of each table, with value and interval; NaN where there is none.

        `kind` is `measured` or `published`; `condition` is `T=100` or empty.
        """
        import pandas as pd

        rows = [
            {
                **{"table": table.name, "task": table.task, "models": ", ".join(table.models.values())},
                **{"metric": column.metric.id, "condition": column.condition},
                **values,
            }
            for table in self.tables
            for i, column in enumerate(table.columns)
            for values in _column_values(table, i)
        ]
        return pd.DataFrame(rows)


def _column_values(table: Table, column: int) -> Iterator[dict[str, object]]:
    for row in table.rows:
        estimate = row.estimates[column]
        values = asdict(estimate or Estimate(math.nan, math.nan, math.nan, 0, 0, 0))
        yield {"kind": "measured", "method": row.method, "rank": row.rank, "status": row.status, **values}
    for printed in table.published:
        yield {"kind": "published", "method": printed.method, "value": printed.values[column]}
