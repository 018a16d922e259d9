"""The protocol: look at the prompts chunk by chunk, then show all of them together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....canonical import ranked
from ....errors import DataError
from ....job import Job, Part
from ...lm.graph.finding import wiring_of
from ...lm.graph.pairs import Pair, batches
from ...lm.graph.targets import probability, rank
from ...lm.graph.values import last_logits
from ...lm.graph.wiring import Wiring
from ...lm.inside.roles import Span, subject_span
from ...lm.model import LanguageModel
from ...lm.scoring import Unusable, encode_prompt
from ..items import Question
from ..pairing import paired
from . import Grid, Looked, Looking, Panel, Scene
from .params import LookInside

SUMMARY = "summary"


@dataclass(frozen=True)
class _Case:
    """A question as this model is asked it."""

    question: Question
    pair: Pair
    span: Span
    unrelated: Pair | None


def run(protocol: LookInside, job: Job) -> Iterator[Part]:
    """Look at all questions. Raises DataError when none can be looked at."""
    lm, method = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(method, Looking)
    cases, skipped = _cases(lm, job.items(), protocol)
    if not cases:
        reasons = "; ".join(sorted(set(skipped.values()))) or "there is none"
        raise DataError(f"no question can be looked at ({reasons})")
    if skipped and not job.has("0-skipped"):
        yield Part("0-skipped", items=[{"item": item, "skipped": reason} for item, reason in skipped.items()])
    wiring = wiring_of(lm)
    states: dict[str, Mapping[str, np.ndarray]] = {}
    for name, chunk in job.chunks(cases, protocol.chunk):
        part = _looked(name, chunk, wiring, method, protocol, job)
        states[name] = part.state or {}
        yield part
    if not job.has(SUMMARY):
        states |= {name: state for name, state in job.finished.items() if state is not None and name in job.wanted}
        grids = [states[name] for name in sorted(states)]
        together = {key: np.concatenate([grid[key] for grid in grids]) for key in grids[0]}
        shown = {p.name: exhibit(p, together[p.name]) for p in method.panels(wiring.graph)}
        yield Part(SUMMARY, exhibits=shown)


def _cases(
    lm: LanguageModel, questions: Sequence[Question], protocol: LookInside
) -> tuple[list[_Case], dict[str, str]]:
    """Questions that can be looked at, and why others cannot, by id."""
    found = paired(lm, questions, strict=False, answers=protocol.answers)
    skipped = dict(found.skipped)
    cases = []
    unrelated = _unrelated(found.questions, found.pairs)
    for question, pair, other in zip(found.questions, found.pairs, unrelated, strict=True):
        try:
            span = span_of(lm, question, pair)
        except Unusable as error:
            skipped[question.id] = str(error)
        else:
            cases.append(_Case(question, pair, span, other))
    return cases, skipped


def span_of(lm: LanguageModel, question: Question, pair: Pair) -> Span:
    """Where the subject's tokens are in the clean prompt. Raises Unusable."""
    if not isinstance(question.clean, str) or not question.subject:
        raise Unusable("a prompt of token ids, or without a subject, does not say where its subject is")
    start, stop = subject_span(lm, question.clean, question.subject)
    # What follows a prompt may be tokenised together with its end.
    if encode_prompt(lm, question.clean)[:stop] != pair.clean[:stop]:
        raise Unusable("the subject's tokens are others when the answer follows")
    return start, stop


def _unrelated(questions: Sequence[Question], pairs: Sequence[Pair]) -> Iterator[Pair | None]:
    """For each question the next one of another relation with other answers; None where there is none.

    All stand on a circle in an order that looks random, so that the choice hardly depends on which others there are.
    """
    order = ranked([q.id for q in questions], "unrelated")
    place = {question.id: i for i, question in enumerate(questions)}
    circle = [place[name] for name in order] * 2
    for question, pair in zip(questions, pairs, strict=True):
        after = circle[order.index(question.id) + 1 :]
        fits = (
            pairs[i]
            for i in after
            if questions[i].relation != question.relation and not set(pairs[i].answer) & set(pair.answer)
        )
        yield next(fits, None)


def _looked(name: str, cases: Sequence[_Case], wiring: Wiring, method: Looking, protocol: LookInside, job: Job) -> Part:
    """Records of some questions; their grids are the part's state, from which the last part makes the exhibits."""
    part = Part(name)
    pairs = [case.pair for case in cases]
    scene = Scene(wiring, pairs, [c.span for c in cases], [c.unrelated for c in cases], protocol.forward_batch, job.rng)
    found = method.look(scene)
    _answered(scene, found)
    for case, looked in zip(cases, found, strict=True):
        q = case.question
        relation = {"relation": q.relation} if q.relation else {}
        part.items.append({"item": q.id, "subject": q.subject, **relation, **q.attributes})
        for column, value in looked.values.items():
            part.record(q.id, f"peak.{method.type}" if column == "peak" else column, float(value))
        if method.type == "logit_lens":
            for most in (1, 10):
                if f"first_layer.rank{most}" not in looked.values:
                    part.skip(f"after no block is the answer among the {most} most probable tokens")
    names = [panel.name for panel in method.panels(wiring.graph)]
    part.state = {n: np.stack([looked.grids[n] for looked in found]) for n in names}
    return part


def _answered(scene: Scene, found: Sequence[Looked]) -> None:
    """Add what the untouched model says."""
    for batch in batches(scene.pairs, scene.batch, scene.wiring.lm.device):
        with torch.no_grad():
            logits = last_logits(scene.wiring, batch.clean)
        right = (rank(logits, batch.answer) == 0).tolist()
        for place, yes, p in zip(batch.places, right, probability(logits, batch.answer).tolist(), strict=True):
            values = found[place].values
            values |= {"right": yes, "answer.probability": p}
            if "margin" in values:
                values["label"] = not yes


def exhibit(panel: Panel, grids: Grid) -> dict[str, Any]:
    """A panel of grids of shape (prompts, rows, blocks); rows that no prompt has are left out."""
    known: np.ndarray = np.logical_not(np.isnan(grids).all((0, 2)))
    rows = [row for row, there in zip(panel.rows, known, strict=True) if there]
    grids = grids[:, known]
    blocks = list(range(grids.shape[2]))
    low, middle, high = _spread(panel, grids)
    if panel.kind == "matrix":
        columns = [str(block) for block in blocks]
        return {"type": "matrix", "title": panel.title, "rows": rows, "columns": columns, "values": _plain(middle)}
    series = [
        {"name": row, "x": blocks, "y": y, "low": below, "high": above}
        for row, y, below, above in zip(rows, _plain(middle), _plain(low), _plain(high), strict=True)
    ]
    labels = {"x_label": "block", "y_label": panel.y_label}
    return {"type": "curve", "title": panel.title, **labels, "series": series}


def _spread(panel: Panel, grids: Grid) -> tuple[Grid, Grid, Grid]:
    """Lower end, middle and upper end over the prompts, each of shape (rows, blocks)."""
    if panel.middle == "median":
        low, middle, high = np.nanquantile(grids, (0.25, 0.5, 0.75), axis=0)
        return low, middle, high
    count = (~np.isnan(grids)).sum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one prompt has no spread
        mean = np.nanmean(grids, 0)
        half = np.where(count > 1, 1.96 * np.nanstd(grids, 0, ddof=1) / np.sqrt(count), 0)
    return mean - half, mean, mean + half


def _plain(values: Grid) -> list[list[float]]:
    # Six decimals: what is below is float noise of the batch.
    return [[round(float(v), 6) for v in row] for row in values]
