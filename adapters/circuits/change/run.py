"""The protocol: the circuit of each fact before its edit, the edit, the circuit after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ....canonical import ranked
from ....errors import DataError
from ....job import Job, Part
from ...lm.graph.nodes import Graph, Mask
from ...lm.graph.pairs import Pair
from ...lm.graph.ungrouped import wired
from ...lm.graph.values import last_logits
from ...lm.inside.lens import lens
from ...lm.interventions import Intervention
from ...lm.model import LanguageModel
from ...lm.patch import Patch
from ...lm.requests import EditRequest
from ...lm.scoring import Unusable, encode, encode_prompt
from ..analysis import Study
from ..evaluate import circuit_values, model_values
from ..exhibits import edge_weights, graph_exhibit
from ..run import count_of
from ..stable import jaccard
from .params import CircuitChange

CHUNK = 8
"""Requests that are edited and committed together."""


@dataclass(frozen=True)
class Asked:
    """A request, and the same sentence about other subjects."""

    request: EditRequest
    others: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The circuit of one answer on the model as it was."""

    graph: Graph
    circuit: Mask
    weights: np.ndarray
    """Score of every edge."""
    depth: float | None
    """First block, counted from 0, after which the answer is the most probable token, over the number of blocks."""
    preferred: bool
    """Whether the answer has a higher logit than the wrong one."""
    kept: tuple[float, float, float] | None
    """Target of an earlier circuit, of the whole model, and with every edge ablated."""

    @property
    def movers(self) -> np.ndarray:
        """Heads with an edge into the logits, shape (sources,)."""
        heads = np.array([name.startswith("a") for name in self.graph.sources])
        return heads & self.circuit[:, self.graph.logits]


def run(protocol: CircuitChange, job: Job) -> Iterator[Part]:
    """Raises DataError when no request has a counterpart."""
    lm, editor = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(editor, Intervention)
    editor.prepare(lm, job)
    requests = [case.request for case in job.items()][: protocol.requests]
    asked, skipped = _asked(lm, requests, protocol.counterparts)
    if not asked:
        raise DataError(f"none of {len(requests)} requests can be compared: {'; '.join(sorted(set(skipped.values())))}")
    if skipped and not job.has("skipped"):
        yield Part("skipped", items=[{"item": item, "skipped": reason} for item, reason in skipped.items()])
    for name, chunk in job.chunks(asked, CHUNK):
        part = Part(name)
        for one, patch in zip(chunk, editor.apply_each(lm, [one.request for one in chunk], job), strict=True):
            row = {"item": one.request.id, "relation": one.request.relation, "subject": one.request.subject}
            try:
                if isinstance(patch, Unusable):
                    raise Unusable(f"request not carried out: {patch}")
                _compare(part, protocol, lm, one, patch, job, shown=one is asked[0])
                part.items.append(row)
            except Unusable as error:
                part.items.append({**row, "skipped": str(error)})
        yield part


def _asked(lm: LanguageModel, requests: Sequence[EditRequest], most: int) -> tuple[list[Asked], dict[str, str]]:
    """Requests with counterparts, and why the others have none."""
    found, skipped = [], {}
    for request in requests:
        # A subject with the same answer would change nothing.
        subjects = {
            r.subject for r in requests if r.relation == request.relation and r.target_true != request.target_true
        }
        texts = [request.prompt.replace(request.subject, s) for s in ranked(subjects, "counterpart", request.id)]
        try:
            _tokens(lm, request)
            length = len(encode_prompt(lm, request.prompt))
            others = [text for text in texts if text != request.prompt and len(encode_prompt(lm, text)) == length]
            if not others:
                raise Unusable("no other subject of its relation has as many tokens and another answer")
            found.append(Asked(request, tuple(others[:most])))
        except Unusable as error:
            skipped[request.id] = str(error)
    return found, skipped


def _tokens(lm: LanguageModel, request: EditRequest) -> tuple[int, int]:
    """First tokens of new and old target. Raises Unusable where they do not tell the two apart."""
    if request.target_true is None:
        raise Unusable("the request does not say what was true before")
    new, old = (encode(lm, request.prompt, t).target[0] for t in (request.target_new, request.target_true))
    if new == old:
        raise Unusable("new and old target begin with the same token")
    return new, old


def _compare(part: Part, p: CircuitChange, lm: LanguageModel, one: Asked, patch: Patch, job: Job, shown: bool) -> None:
    """Records of one request."""
    new, old = _tokens(lm, one.request)
    item = one.request.id
    before, unchanged = (_found(lm, one, Patch(), tokens, p, job) for tokens in ((old, new), (new, old)))
    with patch.applied(lm):
        after = _found(lm, one, patch, (new, old), p, job, earlier=before.circuit)
    if patch.inserts:
        part.warnings.append("the edit inserts modules: the circuit is that of the path taken with these prompts")
    assert after.kept is not None
    part.record(item, "edited", after.preferred)
    part.record(item, "turnover", 1 - jaccard(before.circuit, after.circuit))
    part.record(item, "turnover.same_question", 1 - jaccard(unchanged.circuit, after.circuit))
    if after.preferred:
        for name, value in zip(("value", "full", "empty"), after.kept, strict=True):
            part.record(item, f"recovered.{name}", value)
    for name, found in (("old", before), ("new", after)):
        if found.depth is not None:
            part.record(item, f"depth.{name}", found.depth)
    movers = before.movers
    if movers.any():
        part.record(item, "movers.kept", float((movers & after.movers).sum() / movers.sum()))
    if shown:
        for name, found in (("1-before", before), ("2-after", after)):
            title = f"Circuit of {one.request.prompt!r} {name[2:]} the edit"
            part.exhibits[name] = graph_exhibit(title, found.graph, found.circuit, found.weights)


def _found(
    lm: LanguageModel,
    one: Asked,
    patch: Patch,
    answers: tuple[int, int],
    p: CircuitChange,
    job: Job,
    earlier: Mask | None = None,
) -> Found:
    """The circuit for `answers` (right, wrong) on the model as it is; with the values of an earlier circuit on it."""
    right, wrong = answers
    # What an editor puts before the prompt stays; only the question is about another subject.
    before = patch.prompt(one.request.prompt).removesuffix(one.request.prompt)
    clean, *others = (encode_prompt(lm, before + text) for text in (one.request.prompt, *one.others))
    pairs = [
        Pair(str(number), clean, other, (right,), (wrong,))
        for number, other in enumerate(others)
        if len(other) == len(clean)
    ]
    if not pairs:
        raise Unusable("behind what the editor puts before it, the prompt has another number of tokens")
    with wired(lm, p.analyzer.keys_and_values) as wiring:
        study = Study(
            wiring=wiring,
            pairs=pairs,
            target=p.analyzer.target,
            ablation=p.analyzer.ablation,
            batch=p.forward_batch,
            rng=lambda purpose: job.rng(purpose, one.request.id),
        )
        attribution = p.analyzer.attribution(study)
        circuit = p.analyzer.circuit(attribution, count_of(p.size, len(wiring.graph.edges)))
        kept = None
        if earlier is not None:
            parts = circuit_values(study, [earlier, np.zeros_like(earlier)]).values.mean(1)
            kept = (float(parts[0]), float(model_values(study).values.mean()), float(parts[1]))
        tokens = torch.tensor([clean], device=lm.device)
        # Whether the answer is the most probable token after each block, at the end of the prompt.
        leads = (lens(wiring, tokens, torch.tensor([[right]], device=lm.device)).rank[0, :, -1] == 0).cpu().numpy()
        logits = last_logits(wiring, tokens)[0]
        return Found(
            graph=attribution.graph,
            circuit=circuit,
            weights=edge_weights(p.analyzer, attribution),
            depth=float(leads.argmax()) / len(leads) if leads.any() else None,
            preferred=bool(logits[right] > logits[wrong]),
            kept=kept,
        )
