"""The gate: has anything got worse since the baseline? Pure functions over cells.

Cells are matched by what they are called (task, method, models, seed), not by their ids: an id changes with
the method's spec, and a changed method is exactly what a gate looks at. What must be equal instead is all but
method, models and seed (`Cell.comparable`): other data or another metric make two numbers incomparable, which
is a verdict of its own and not a regression.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from . import stats
from .differences import differences
from .errors import UsageError
from .metrics import Metric
from .store import At, Cell, Sample

Verdict = Literal["ok", "regressed", "inconclusive", "incomparable", "new"]
Seeds = Mapping[int, Cell]
"""The cells of one number, by seed."""
Samples = dict[int, Sample]
Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Task, method, and role to model as sorted pairs."""

CODES: Mapping[Verdict, int] = {"regressed": 1, "inconclusive": 1, "incomparable": 3}
"""Exit codes of the verdicts that can fail a gate; the lowest of all rows counts."""
SHOWN = 4
"""How many items or differences a sentence lists before it says `and 7 more`."""


@dataclass(frozen=True)
class Policy:
    """What is gated, and what counts as worse. Patterns are shell-style (`reliability.*`); none means all."""

    alpha: float = 0.01
    """One-sided level of all gated rows together (Holm)."""
    tolerance: float = 0.0
    """Loss that is accepted, in the metric's unit."""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    """The same by metric id."""
    metrics: tuple[str, ...] = ()
    """Patterns of metric ids; when empty, the first metric of each task that has a direction."""
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    mode: Literal["paired", "equal"] = "paired"
    """`paired` tests statistically; in `equal` any change of a record, better or worse, is a regression."""
    fail_on: frozenset[Verdict] = frozenset({"regressed", "incomparable"})

    def gated(self, metrics: Iterable[Metric]) -> list[Metric]:
        """Those of `metrics` that are gated, in their order. A metric without a direction never is."""
        ranked = [m for m in metrics if m.better != "none"]
        return [m for m in ranked if _matches(m.id, self.metrics)] if self.metrics else ranked[:1]

    def accepted(self, metric: str) -> float:
        """The loss of `metric` that is accepted."""
        return self.tolerances.get(metric, self.tolerance)


@dataclass(frozen=True)
class Row:
    """One gated number. Numbers are None where they do not exist; `gain` is positive when `new` is better."""

    task: str
    method: str
    models: tuple[tuple[str, str], ...]
    metric: str
    at: At = ()
    verdict: Verdict = "incomparable"
    reason: str = ""
    """A sentence: why this verdict."""
    old: float | None = None
    new: float | None = None
    gain: float | None = None
    low: float | None = None
    """Lower end of the one-sided interval of the gain at level 1 - alpha (of this row alone)."""
    p: float | None = None
    """p-value of "not worse", adjusted for all gated rows."""
    items: int = 0
    items_needed: int | None = None
    """Of an inconclusive row: about how many items would decide (power 0.8, alpha of this row alone)."""
    note: str = ""
    """What else changed: the method's or the models' identity, items that only the new run has."""
    file: str = ""
    """Where the method's spec of the new cell was read; empty when unknown."""
    line: int = 0

    @property
    def label(self) -> str:
        """`metric [T=100] on gpt2-xl`: the row within its task and method."""
        at = f" [{', '.join(f'{k}={v}' for k, v in self.at)}]" if self.at else ""
        models = f" on {', '.join(name for _, name in self.models)}" if self.models else ""
        return f"{self.metric}{at}{models}"


Case = tuple[Row, stats.Comparison | None]
"""A row and, where the verdict is left to Holm's adjustment, its test."""


@dataclass(frozen=True)
class Verdicts:
    """Every row of a gate, and the policy that judged it."""

    rows: tuple[Row, ...]
    policy: Policy


def judge(baseline: Sequence[Cell], new: Sequence[Cell], policy: Policy) -> Verdicts:
    """Compare every gated number of `baseline` with the one that `new` has in its place.

    A baseline cell that was `skipped` protects nothing and is passed over; seeds that only `new` has are left
    out. Raises UsageError when nothing is gated (a gate that looks at nothing must not pass), or when two
    cells of one side stand for the same number.
    """
    before = by_name(_chosen([c for c in baseline if c.meta["status"] != "skipped"], policy))
    after = by_name(_chosen(new, policy))
    found = [
        each
        for key in dict.fromkeys([*before, *after])
        for each in _examine(key, before.get(key, {}), after.get(key, {}), policy)
    ]
    if all(row.verdict == "new" for row, _ in found):
        metrics = ", ".join(sorted({m.id for c in baseline for m in c.metrics})) or "none"
        raise UsageError(f"nothing is gated: the policy matches nothing in the baseline (metrics: {metrics})")
    adjusted = iter(stats.holm([result.p_worse for _, result in found if result]))
    rows = [_decide(row, result, next(adjusted), policy) if result else row for row, result in found]
    return Verdicts(tuple(rows), policy)


def outcome(verdicts: Verdicts, policy: Policy) -> tuple[int, str]:
    """The exit code and the sentence that goes with it, so that the two cannot disagree.

    0 passed; 1 something regressed (or is inconclusive, where `policy.fail_on` says so); 3 something could
    not be compared. A regression outweighs what could not be compared.
    """
    code = min({code_of(row.verdict, policy) for row in verdicts.rows} - {0}, default=0)
    counts = Counter(row.verdict for row in verdicts.rows)
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict])
    return code, f"gate {'failed' if code else 'passed'}: {listed}"


def code_of(verdict: Verdict, policy: Policy) -> int:
    """The exit code that a single verdict stands for; 0 where the policy lets it pass."""
    return CODES.get(verdict, 0) if verdict in policy.fail_on else 0


def exit_code(verdicts: Verdicts, policy: Policy) -> int:
    """0, 1 or 3; see `outcome`."""
    return outcome(verdicts, policy)[0]


def by_name(cells: Iterable[Cell]) -> dict[Key, dict[int, Cell]]:
    """Cells by task, method and models, then by seed. Raises UsageError when two are the same number."""
    groups: dict[Key, dict[int, Cell]] = {}
    for cell in cells:
        seeds = groups.setdefault((cell.task, cell.method, tuple(sorted(cell.models.items()))), {})
        if cell.seed in seeds:
            raise UsageError(
                f"cells {seeds[cell.seed].id} and {cell.id} are both {cell.task} / {cell.method}, "
                f"seed {cell.seed}; which one counts? Use a fresh run folder, or delete one of them"
            )
        seeds[cell.seed] = cell
    return groups


def _chosen(cells: Iterable[Cell], policy: Policy) -> list[Cell]:
    return [c for c in cells if _matches(c.task, policy.tasks) and _matches(c.method, policy.methods)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, p) for p in patterns)


def _examine(key: Key, old: Seeds, new: Seeds, policy: Policy) -> Iterator[Case]:
    """The rows of one group."""
    if old:
        new = {seed: cell for seed, cell in new.items() if seed in old}
    first = next(iter([*old.values(), *new.values()]))
    obstacle, note, (file, line) = _obstacle(old, new), _note(old, new), _source(new)
    for metric in policy.gated(first.metrics):
        reason = obstacle or _redefined(metric, new)
        olds, news = ({seed: c.samples(metric) for seed, c in side.items()} for side in (old, new))
        conditions = list(dict.fromkeys(at for found in (*olds.values(), *news.values()) for at in found))
        for at in conditions or ([()] if reason or not old else []):
            row = Row(*key, metric.id, at, reason=reason, note=note, file=file, line=line)
            before, after = ({seed: f[at] for seed, f in side.items() if at in f} for side in (olds, news))
            if reason:
                yield replace(row, old=_value(metric, before)), None
            else:
                yield _pair(row, metric, before, after, policy)


def _pair(row: Row, metric: Metric, old: Samples, new: Samples, policy: Policy) -> Case:
    """Align the two sides seed by seed and compare them."""
    if not old:
        return replace(row, verdict="new", reason="not in the baseline", new=_value(metric, new)), None
    known = {seed: set(s.items) for seed, s in new.items()}
    items = {i for s in old.values() for i in s.items}
    missing = sorted({i for seed, s in old.items() for i in s.items if i not in known.get(seed, ())})
    row = replace(row, old=_value(metric, old), items=len(items))
    if missing:
        many = "all" if len(missing) == len(items) else f"{len(missing)} of"
        reason = f"{many} {len(items)} items are missing in the new run: {_sentence(missing, ', ')}"
        return replace(row, reason=reason), None
    if extra := set().union(*known.values()) - items:
        row = replace(row, note="; ".join(filter(None, [row.note, f"{len(extra)} new items were left out"])))
    new = {seed: _select(new[seed], s.items) for seed, s in old.items()}
    row = replace(row, new=_value(metric, new))
    if row.old is None:
        same = row.new is None
        reason = "undefined in both" if same else "undefined in the baseline"
        return replace(row, verdict="ok" if same else "new", reason=reason), None
    if row.new is None:
        return replace(row, reason="undefined in the new run"), None
    if policy.mode == "equal":
        return _decide_equal(row, metric, old, new), None
    result = stats.compare(metric, list(old.values()), list(new.values()), alpha=policy.alpha)
    return replace(row, gain=result.gain, low=_finite(result.low)), result


def _decide(row: Row, result: stats.Comparison, p: float, policy: Policy) -> Row:
    """The verdict of a tested row; `p` is adjusted for all rows."""
    row, accepted = replace(row, p=p), policy.accepted(row.metric)
    tested = f"{result.test}, p = {p:.2g} over all rows, {row.items} items"
    if p < policy.alpha and -result.gain > accepted:
        return replace(row, verdict="regressed", reason=f"worse by {-result.gain:.4g} ({tested})")
    if result.low >= -accepted:
        return replace(row, verdict="ok", reason=f"no loss beyond {accepted:g} ({tested})")
    bound = f"of up to {-result.low:.4g}" if math.isfinite(result.low) else "of any size"
    reason = f"a loss {bound} cannot be excluded, {accepted:g} is accepted ({tested})"
    # Where no loss is accepted, the change to tell from none is the one that was seen.
    effect = accepted or abs(result.gain)
    if effect > 0 and math.isfinite(result.spread):
        units = stats.items_needed(result.spread, effect, policy.alpha)
        row = replace(row, items_needed=math.ceil(units * result.items / result.clusters))
        reason += f"; about {row.items_needed} items would decide"
    return replace(row, verdict="inconclusive", reason=reason)


def _decide_equal(row: Row, metric: Metric, old: Samples, new: Samples) -> Row:
    """The verdict where every record must be exactly what it was."""
    changed = {
        item
        for seed, sample in old.items()
        for column, values in sample.columns.items()
        for item, differs in zip(sample.items, values != new[seed].columns[column], strict=True)
        if differs
    }
    gain = ((row.new or 0.0) - (row.old or 0.0)) * (-1 if metric.better == "lower" else 1)
    listed = f": {_sentence(sorted(changed), ', ')}" if changed else ""
    reason = f"{len(changed)} of {row.items} items changed{listed}"
    return replace(row, gain=gain, verdict="regressed" if changed else "ok", reason=reason)


def _obstacle(old: Seeds, new: Seeds) -> str:
    """Why no number of the group can be compared; empty when they can, or when there is no baseline."""
    for seed, cell in old.items():
        if not cell.ok:
            return f"the baseline's cell of seed {seed} is {_status(cell)}"
        other = new.get(seed)
        if other is None:
            return f"the new run has no cell of seed {seed}"
        if not other.ok:
            return f"the new cell of seed {seed} is {_status(other)}"
        if cell.comparable != other.comparable:
            changes = _sentence(differences(_shared(cell), _shared(other))) or "the identities do not tell"
            return f"not the same task, data, versions or settings: {changes}"
    return ""


def _status(cell: Cell) -> str:
    """`failed: out of memory`."""
    cause = (cell.meta.get("error") or {}).get("cause") or "no cause was recorded"
    return f"{cell.meta['status']}: {cause}"


def _redefined(metric: Metric, new: Seeds) -> str:
    """Why the new cells' metric of this name means something else; empty when it does not."""
    for cell in new.values():
        other = next((m for m in cell.metrics if m.id == metric.id), None)
        if other is None:
            return "the new run does not measure it"
        if other.version != metric.version:
            return f"version {metric.version} of the metric -> {other.version}"
        mine, its = ((m.better, m.inputs, m.reduce, dict(m.options), m.by) for m in (metric, other))
        if mine != its:
            return f"the metric is computed in another way under the same version: {mine} -> {its}"
    return ""


def _note(old: Seeds, new: Seeds) -> str:
    """What changed in the method or the models (no obstacle to comparing), or why a new cell failed."""
    if not old:
        return _sentence([_status(cell) for cell in new.values() if not cell.ok])
    pairs = [(cell, new[seed]) for seed, cell in old.items() if seed in new]
    changes = dict.fromkeys(d for before, after in pairs for d in differences(_own(before), _own(after)))
    return _sentence(list(changes))


def _source(cells: Seeds) -> tuple[str, int]:
    for cell in cells.values():
        place = (cell.meta.get("sources") or {}).get("method") or {}
        return str(place.get("file", "")), int(place.get("line", 0))
    return "", 0


def _shared(cell: Cell) -> Mapping[str, Any]:
    """The part of the identity that must be equal: what `Cell.comparable` digests."""
    identity = cell.meta.get("identity") or {}
    rest = {k: v for k, v in identity.items() if k not in ("method", "models", "seed")}
    return rest | {"data": {"task": identity.get("data", {}).get("task")}}


def _own(cell: Cell) -> Mapping[str, Any]:
    """The part of the identity that may differ: the method with its data, and the models with theirs."""
    identity = cell.meta.get("identity") or {}
    data = {k: v for k, v in identity.get("data", {}).items() if k != "task"}
    return {"method": identity.get("method"), "models": identity.get("models"), "data": data}


def _sentence(parts: Sequence[str], separator: str = "; ") -> str:
    more = len(parts) - SHOWN
    return separator.join(parts[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _select(sample: Sample, items: Sequence[str]) -> Sample:
    place = {item: n for n, item in enumerate(sample.items)}
    return sample.take([place[i] for i in items])


def _value(metric: Metric, seeds: Samples) -> float | None:
    return _finite(stats.value(metric, list(seeds.values()))) if seeds else None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
