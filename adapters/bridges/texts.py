"""What a task asks of a text that the model is to write: how long, where it ends, and that nothing is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import DataError

READ = {"until", "max_gen_toks", "do_sample", "temperature"}
IDLE = {"top_p", "top_k"}
"""Say nothing of a text that is decoded greedily."""


@dataclass(frozen=True)
class Wanted:
    """A greedy text."""

    tokens: int
    """At most so many."""
    until: tuple[str, ...]
    """It ends before the first of these."""


def check_greedy(settings: Mapping[str, Any], task: str) -> Wanted:
    """What a task's `generation_kwargs` ask for, as lm-eval reads them. Raises DataError for what is not greedy."""
    from lm_eval.models.utils import normalize_gen_kwargs

    asked: dict[str, Any] = dict(normalize_gen_kwargs(dict(settings)))
    if asked.get("num_beams") == 1:
        del asked["num_beams"]
    if asked["do_sample"]:
        drawn = f"do_sample, temperature {asked.get('temperature', 0.0)}"
        raise DataError(
            f"lm-eval task {task!r}: its texts are drawn at random ({drawn}), so that a model before and after a "
            "change cannot be compared; set `do_sample: false` in a copy of the task"
        )
    if odd := sorted(set(asked) - READ - IDLE):
        raise DataError(f"lm-eval task {task!r}: generation_kwargs: {', '.join(odd)}: texts are decoded greedily here")
    return Wanted(asked["max_gen_toks"], tuple(text for text in asked["until"] if text))
