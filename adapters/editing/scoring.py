"""Ask edited models: many low-rank edits of one request each in one pass, others one model after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...job import Job
from ..lm.generation import greedy
from ..lm.model import LanguageModel
from ..lm.patch import Patch, can_stack, stacked
from ..lm.scoring import Unusable, forced, single_tokens
from .cases import EditCase
from .controls import Controls
from .likeness import Likeness
from .params import AskedFacts
from .probes import Reference
from .sheet import Sheet, sheet
from .told import told
from .writing import written

Edited = tuple[Sequence[EditCase], Sequence[Reference], Patch]
"""An edited model: the cases whose requests were changed into it, what the untouched model says to each, the patch."""
Edits = Sequence[Edited]

LONGEST_ANSWER = 32
"""Tokens of an answer that is written."""


def scored(
    lm: LanguageModel,
    edits: Edits,
    protocol: AskedFacts,
    controls: Controls,
    job: Job,
    likeness: Likeness | None = None,
    changed: frozenset[str] | None = None,
) -> Iterator[tuple[str, Sequence[str], dict[str, float]]]:
    """Of every case of every edited model: id, the reasons why probes were left out, and metric to value.

    `changed`: the facts whose change leaves probes out, where they are not those of each model's own cases.
    """
    asked = protocol.contrast, protocol.perplexity
    sheets = [
        [sheet(lm, case, ref, patch, edited, *asked) for case, ref in zip(cases, refs, strict=True)]
        for cases, refs, patch in edits
        for edited in (frozenset(case.request.fact_id for case in cases) if changed is None else changed,)
    ]
    patches = [patch for _, _, patch in edits]
    if can_stack(lm, patches):
        with stacked(lm, patches):
            yield from _models(lm, edits, sheets, range(len(edits)), protocol, controls, job, likeness)
    else:
        for number, (_, _, patch) in enumerate(edits):
            with patch.applied(lm):
                here = slice(number, number + 1)
                yield from _models(lm, edits[here], sheets[here], [0], protocol, controls, job, likeness)


def _models(
    lm: LanguageModel,
    edits: Edits,
    sheets: Sequence[Sequence[Sheet]],
    owners: Sequence[int],
    protocol: AskedFacts,
    controls: Controls,
    job: Job,
    likeness: Likeness | None,
) -> Iterator[tuple[str, Sequence[str], dict[str, float]]]:
    """Ask edited models that are in force together; `owners`: the number by which the rows of each are known."""
    size = protocol.forward_batch
    found = _asked(lm, [s for of_model in sheets for s in of_model], _repeated(owners, sheets), size)
    kept = controls.kept(lm, edits, owners, size)
    wanted = [(case, patch, owner) for (cases, _, patch), owner in zip(edits, owners, strict=True) for case in cases]
    texts = iter(written(lm, wanted, protocol.fluency, likeness, size, job) if protocol.fluency else ())
    for number, (cases, _, _) in enumerate(edits):
        values = [next(found) for _ in cases]
        # What else was forgotten is a property of an edited model: it stands with the last of its requests.
        values[-1] |= kept[number]
        for case, asked, value in zip(cases, sheets[number], values, strict=True):
            of_text, missing = next(texts, ({}, []))
            yield case.request.id, (*asked.reasons, *missing), value | of_text


def _repeated(owners: Sequence[int], of_models: Sequence[Sequence[Any]]) -> list[int]:
    return [owner for owner, of_model in zip(owners, of_models, strict=True) for _ in of_model]


def _asked(lm: LanguageModel, sheets: Sequence[Sheet], owners: Sequence[int], size: int) -> Iterator[dict[str, float]]:
    """Put all sheets to the model at once; the scores of each."""
    rows = [row for s in sheets for row in s.rows]
    said = iter(forced(lm, rows, size, _repeated(owners, [s.rows for s in sheets])))
    along = [text.row for s in sheets for text in s.read]
    read = iter(forced(lm, along, size, _repeated(owners, [s.read for s in sheets]), texts=True))
    spoken = [q for s in sheets for q in s.spoken]
    asked = [q.row.prompt for q in spoken]
    speakers = _repeated(owners, [s.spoken for s in sheets])
    written = greedy(lm, asked, [LONGEST_ANSWER] * len(asked), size, speakers, frozenset(_ends(lm)))
    texts = iter([lm.tokenizer.decode(w, skip_special_tokens=True).strip(" .\n") for w in written])
    for s in sheets:
        yield s.scores([next(said) for _ in s.rows], [next(texts) for _ in s.spoken], [next(read) for _ in s.read])


def _ends(lm: LanguageModel) -> Iterator[int]:
    """Tokens that end an answer: the end of a text, of a line, of a sentence."""
    if lm.tokenizer.eos_token_id is not None:
        yield lm.tokenizer.eos_token_id
    yield from single_tokens(lm, (".", "\n"))


def answers(lm: LanguageModel, case: EditCase, patch: Patch) -> str:
    """The greedy answer to the edited prompt, as many tokens as the new target; empty when it cannot be asked."""
    try:
        (row,) = told(lm, patch, case.request.prompt, [case.request.target_new])
    except Unusable:
        return ""
    (tokens,) = greedy(lm, [row.prompt], [len(row.target)], 1)
    text: str = lm.tokenizer.decode(tokens)
    return text
