"""Examples of edits for a model to read before the edit that is meant (IKE, arXiv 2305.12740, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError
from .recall import Fact, Retriever
from .requests import EditRequest
from .retrieval import Index, best

if TYPE_CHECKING:
    from .interventions.in_context import InContext


@dataclass(frozen=True)
class Example:
    """An edit, and what follows from it."""

    prompt: str
    subject: str
    target: str
    rephrased: str = ""
    other: str = ""
    """A prompt that the edit does not concern, or an empty string."""
    other_answer: str = ""


def before(spec: InContext, request: EditRequest, files: Mapping[str, Path], rng: np.random.Generator) -> str:
    """The examples that stand before the note of a request, the one most like it last. Raises DataError, ModelError.

    An example asks for its note itself (copied), for it in other words (updated), or for something else (retained).
    As in the authors' code, each of the nearest edits is shown once, and chance (`rng`, the same for all requests)
    says which of them is shown in which way; an edit that has no question of that kind is passed over. None has the
    prompt of the request, whose answer it would tell. EasyEdit ranks all examples of all kinds together, so that one
    edit may stand there three times and the kinds come in no fixed numbers.
    """
    demos = spec.demonstrations
    assert demos is not None
    by = Retriever.of(demos.by, files.get("demonstrations.by.weights"))
    file = files["demonstrations.file"]
    stamp = file.stat().st_mtime_ns
    examples, scores = _examples(file, stamp), _index(file, stamp, by)(request.prompt)
    left = [i for i in best(scores, len(examples), -np.inf) if examples[i].prompt != request.prompt]
    kinds = rng.permutation([0] * demos.copied + [1] * demos.updated + [2] * demos.retained)
    chosen = []
    for kind in kinds.tolist():
        place = next((i for i in left if _questions(examples[i])[kind][0]), None)
        if place is not None:
            left.remove(place)
            e = examples[place]
            prompt, answer = _questions(e)[kind]
            note = spec.template.format(prompt=e.prompt, subject=e.subject, target_new=e.target)
            chosen.append(f"{note}{spec.question.replace('{question}', prompt)} {answer}{demos.end}")
    return "".join(reversed(chosen))


def _questions(example: Example) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
    """Copied, updated and retained: prompt, empty where there is none, and answer."""
    own = (example.prompt, example.target)
    return own, (example.rephrased, example.target), (example.other, example.other_answer)


@lru_cache(maxsize=4)
def _index(file: Path, stamp: int, retriever: Retriever) -> Index:
    """Of the examples' prompts; `stamp` is the file's time, so that another content is another call."""
    return retriever.index([Fact(e.prompt, e.subject, "") for e in _examples(file, stamp)])


@lru_cache(maxsize=4)
def _examples(file: Path, stamp: int) -> tuple[Example, ...]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(records, list) or not records:
        raise DataError(f"{file}: expected a list of edits")
    return tuple(_example(record, f"{file}: record {i}") for i, record in enumerate(records))


def _example(record: Any, where: str) -> Example:
    """Of one record in the form of KnowEdit or of EasyEdit's ZsRE and CounterFact files."""
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object")
    prompt, target = (_first(record, *names) for names in (("prompt", "src"), ("target_new", "alt")))
    if not prompt or not target:
        raise DataError(f"{where}: expected `prompt` and `target_new` (or `src` and `alt`)")
    other, answer = next(_others(record), ("", ""))
    rephrased = _first(record, "rephrase", "rephrase_prompt")
    return Example(prompt, _first(record, "subject"), target, rephrased, other, answer)


def _others(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    flat = (
        _first(record, "locality_prompt", "loc"),
        _first(record, "locality_ground_truth", "locality_answer", "loc_ans"),
    )
    if all(flat):
        yield flat
    groups = record.get("locality")
    for group in groups.values() if isinstance(groups, dict) else ():
        for probe in group if isinstance(group, list) else ():
            found = _first(probe, "prompt"), _first(probe, "ground_truth")
            if all(found):
                yield found


def _first(record: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds a text, or a list of texts of which the first; else an empty string."""
    for name in names:
        value = record.get(name)
        while isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return ""
