"""Tasks of lm-evaluation-harness, asked of a model while a patch changes it; in this process, without a network.

lm-eval finds tasks, writes contexts, filters answers and scores documents; what the model says comes from here. Its own
cache of answers, keyed by the request alone, would give the unchanged model's answers after an edit: it is never used.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import DataError
from .apart import apart
from .params import General

if TYPE_CHECKING:
    from ..lm.model import LanguageModel
    from ..lm.patch import Patch
    from .answering import Answering


@dataclass(frozen=True)
class Scored:
    """What a document is worth by a metric."""

    task: str
    document: str
    """Its number in the task's split, from 0."""
    metric: str
    """lm-eval's name, `exact_match`; behind a filter `exact_match.strict-match`."""
    value: float
    """What lm-eval's aggregation gives for this document alone. Infinite for the perplexity of a text that the model
    takes for impossible."""
    better: Literal["higher", "lower"]
    cut: bool = False
    """Whether the context was longer than the model's, and was cut at the left."""


def evaluate(lm: LanguageModel, patch: Patch, general: General, folder: Path | None, batch_size: int) -> list[Scored]:
    """Every document of the tasks under every metric that speaks of a single one: in the order of the tasks, then of
    documents, filters and metrics.

    `folder`: where `general.folder` is. Equal from call to call; under another batch size up to float noise. Raises
    DataError for a task that is unknown, broken, not greedy, not on this machine, or without such a metric; Skip where
    the model does not fit.
    """
    with apart():
        from .answering import Answering
        from .tasks import opened

        with opened(general.tasks, folder) as tasks, patch.applied(lm):
            answering = Answering(lm, patch, batch_size)
            aggregations = {name: task.aggregation() for name, task in tasks.items()}
            samples = _samples(tasks, answering, general.limit)
            found: list[Scored] = []
            for name, task in tasks.items():
                own = list(_scored(name, task.higher_is_better(), aggregations[name], samples[name], answering.cut))
                if not own:
                    raise DataError(
                        f"lm-eval task {name!r}: no metric of it ({', '.join(sorted(aggregations[name])) or 'none'}) "
                        "speaks of a single document, and documents are what is compared"
                    )
                found += own
            return found


def _samples(tasks: Mapping[str, Any], answering: Answering, limit: int | None) -> Mapping[str, Sequence[Any]]:
    """What lm-eval logs of each document, by task."""
    from jinja2 import TemplateError
    from lm_eval.evaluator import evaluate as evaluated

    for task in tasks.values():
        # Nothing is read of a whole task, and not every aggregation bears what a broken model gives.
        task.aggregation = lambda: defaultdict(lambda: len)
    try:
        results = evaluated(
            lm=answering,
            task_dict={"tasks": dict(tasks), "groups": {}},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=answering.lm.chat,
            fewshot_as_multiturn=False,
        )
    except TemplateError as error:
        raise DataError(f"lm-eval tasks {', '.join(tasks)}: a template does not fit a document ({error})") from error
    samples: Mapping[str, Sequence[Any]] = results["samples"]
    return samples


def _scored(
    name: str,
    higher: Mapping[str, Any],
    aggregations: Mapping[str, Any],
    samples: Sequence[Any],
    cut: set[tuple[str, int]],
) -> Iterator[Scored]:
    # A stable sort: within a document, filters stay in their order.
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        number, behind = sample["doc_id"], "" if sample["filter"] == "none" else f".{sample['filter']}"
        for metric in sample["metrics"]:
            value, direction = _alone(sample[metric], aggregations.get(metric)), higher.get(metric)
            if value is not None and isinstance(direction, bool):
                better: Literal["higher", "lower"] = "higher" if direction else "lower"
                yield Scored(name, str(number), f"{metric}{behind}", value, better, (name, number) in cut)


def _alone(said: Any, aggregation: Any) -> float | None:
    """What an aggregation gives for one document; None where it speaks of many only, as F1 of classes and BLEU do."""
    from lm_eval.api import metrics

    if aggregation in (metrics.perplexity, metrics.weighted_perplexity, metrics.bits_per_byte):
        try:
            return float(aggregation([said]))
        except OverflowError:
            return math.inf
    if aggregation not in (metrics.mean, metrics.nanmean):
        return None
    try:
        value = float(said)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(value) else value
