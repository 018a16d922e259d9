"""The protocol: find a circuit on some pairs, judge it on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...canonical import place
from ...errors import DataError
from ...job import Job, Part
from ...reducers.normalised import NOTHING
from ..lm.graph.nodes import Mask
from ..lm.graph.ungrouped import wired
from ..lm.graph.wiring import Wiring
from ..lm.model import LanguageModel
from .analysis import Attribution, Study
from .evaluate import Evaluated, circuit_values, model_values
from .exhibits import exhibits
from .items import Question
from .methods.analyzer import Analyzer
from .metrics import AT_SIZE, EMPTY, MODEL, NECESSARY, at_size, subset
from .pairing import Paired, paired
from .params import Circuit
from .select import own
from .stable import stability

HIT = 10
"""Hit@10: an answer counts as right among so many most probable tokens."""


def run(protocol: Circuit, job: Job) -> Iterator[Part]:
    """A part for each circuit: one for all questions, or one for each relation. Raises DataError without any pair."""
    groups = by_relation(job.items()) if protocol.circuits == "by_relation" else {"": job.items()}
    found, empty = False, []
    for number, (relation, questions) in enumerate(groups.items()):
        job.progress(number, len(groups))
        name = f"{number:04d}"
        if job.has(name):
            found = True
            continue
        part = _analysed(name, relation, questions, protocol, job)
        if part.records:
            found = True
            yield part
        else:
            empty.append(part)
    if not found:
        reasons = Counter(str(item["skipped"]) for part in empty for item in part.items if "skipped" in item)
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        raise DataError(f"too few questions can be put to this model as pairs{': ' + told if told else ''}")
    # Only now: parts are kept, and a cell without any pair must fail each time.
    yield from empty


def by_relation(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Questions by their relation, in the order of the first of each."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.relation, []).append(question)
    return groups


def split(questions: Sequence[Question], share: float) -> tuple[list[Question], list[Question]]:
    """Those to find a circuit on, and those to judge it by. A subject's own name decides, so no subject is in both."""
    if not share:
        return list(questions), list(questions)
    first = [q for q in questions if place("discovery", q.subject or q.id) < share]
    chosen = {q.id for q in first}
    return first, [q for q in questions if q.id not in chosen]


def at_most(most: int | None, found: Paired) -> Paired:
    """So many pairs, of all relations alike; the others are told apart from those that cannot be asked."""
    if most is None or len(found.pairs) <= most:
        return found
    names = {q.id for q in sorted(found.questions, key=lambda q: place("pairs", q.id))[:most]}
    kept = [(pair, q) for pair, q in zip(found.pairs, found.questions, strict=True) if q.id in names]
    rest = {q.id: "beyond the pairs that the task uses" for q in found.questions if q.id not in names}
    return Paired([pair for pair, _ in kept], [q for _, q in kept], found.skipped | rest)


@dataclass(frozen=True)
class _Case:
    """What is known when a circuit is judged."""

    protocol: Circuit
    analyzer: Analyzer
    attribution: Attribution
    circuit: Mask
    """The one that Hit@10, completeness and minimality are about."""
    study: Study
    """Of the pairs that judge."""


def _analysed(name: str, relation: str, questions: Sequence[Question], protocol: Circuit, job: Job) -> Part:
    lm, analyzer = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(analyzer, Analyzer)
    part = Part(name)
    halves = [
        at_most(protocol.pairs, paired(lm, half, strict=False, answers=protocol.answers))
        for half in split(questions, protocol.discovery)
    ]
    _list_items(part, questions, halves)
    if min(len(half.pairs) for half in halves) < 2:
        part.warnings.append(f"{relation or 'all questions'}: too few pairs to find a circuit on and to judge it by")
        return part
    if lm.surrounded:
        part.warnings.append("the model keeps inserted modules or a prompt: the graph is that of the path taken")
    with wired(lm, analyzer.keys_and_values) as wiring:
        study = partial(_study, wiring, protocol, job, relation)
        discovery = study(halves[0], target=analyzer.target, ablation=analyzer.ablation)
        attribution = analyzer.attribution(discovery)
        edges = len(wiring.graph.edges)
        circuit = own(analyzer, attribution)
        if circuit is None:
            circuit = analyzer.circuit(attribution, count_of(protocol.size, edges))
        judging = study(halves[1], target=protocol.target, ablation=protocol.ablation)
        case = _Case(protocol, analyzer, attribution, circuit, judging)
        _judge(part, case, halves[1].questions, relation, job)
        _hits(part, study(halves[0], target=protocol.target, ablation=protocol.ablation), circuit, halves[0].questions)
        stable = stability(protocol.stability, analyzer, discovery, attribution, count_of(protocol.size, edges))
        if stable is not None:
            part.record(_name_of_circuit(relation), "stability", stable)
        part.exhibits = exhibits(analyzer, attribution, circuit, name, relation)
    return part


def _study(wiring: Wiring, protocol: Circuit, job: Job, relation: str, half: Paired, **what: object) -> Study:
    return Study(
        wiring=wiring,
        pairs=half.pairs,
        batch=protocol.forward_batch,
        rng=lambda purpose: job.rng(purpose, relation),
        **what,  # type: ignore[arg-type]
    )


def count_of(share: float, edges: int) -> int:
    """A share of all edges as a number of them, at least 1."""
    return max(1, round(share * edges))


def _name_of_circuit(relation: str) -> str:
    """Of the item that stands for it."""
    return f"{relation}:circuit"


def _relation(relation: str) -> dict[str, str]:
    return {"relation": relation} if relation else {}


def _list_items(part: Part, questions: Sequence[Question], halves: Sequence[Paired]) -> None:
    skipped = {item: reason for half in halves for item, reason in half.skipped.items()}
    for q in questions:
        # A subject is asked about in several relations: those are no independent questions.
        row: dict[str, object] = {"item": q.id, "cluster": q.subject or q.id, **_relation(q.relation), **q.attributes}
        part.items.append({**row, "skipped": skipped[q.id]} if q.id in skipped else row)


def _judge(part: Part, case: _Case, questions: Sequence[Question], relation: str, job: Job) -> None:
    """Records of the pairs that judge: values at every size, of subsets, without single edges."""
    p, graph, circuit = case.protocol, case.attribution.graph, case.circuit
    rng = job.rng("circuit-subsets", relation)
    sized = [case.analyzer.circuit(case.attribution, count_of(size, len(graph.edges))) for size in p.sizes]
    drawn = [circuit & (rng.random(circuit.shape) < 0.5) for _ in range(p.subsets)]
    members = np.argwhere(circuit)
    members = members[np.sort(rng.permutation(len(members))[: p.edges])]
    without = []
    for source, destination in members:
        less = circuit.copy()
        less[source, destination] = False
        without.append(less)
    masks = {
        EMPTY: np.zeros_like(circuit),
        **{at_size(size): mask for size, mask in zip(p.sizes, sized, strict=True)},
        **{subset(i, "circuit"): circuit & ~k for i, k in enumerate(drawn)},
        **{subset(i, "model"): graph.allowed & ~k for i, k in enumerate(drawn)},
    }
    found = circuit_values(case.study, [*masks.values(), circuit, *without])
    model = model_values(case.study)
    columns = {MODEL: model.values[0], **dict(zip(masks, found.values, strict=False))}
    for row, question in enumerate(questions):
        for name, values in columns.items():
            part.record(question.id, name, values[row])
        for size in p.sizes:
            for name, column in zip(AT_SIZE, (MODEL, EMPTY, at_size(size)), strict=True):
                part.record(question.id, name, columns[column][row], edges=size)
        part.record(question.id, "hit10.circuit", found.ranks[len(masks)][row] < HIT)
        part.record(question.id, "hit10.model", model.ranks[0][row] < HIT)
    whole = columns[MODEL].mean() - columns[EMPTY].mean()
    value = found.values[len(masks)].mean()
    if whole <= NOTHING * (abs(columns[MODEL].mean()) + abs(columns[EMPTY].mean())):
        members = members[:0]  # of a model that is no better than nothing, no edge is a share
    for (source, destination), less in zip(members, found.values[len(masks) + 1 :], strict=False):
        edge = f"{relation}:{graph.name(source, destination)}"
        part.items.append({"item": edge, **_relation(relation)})
        part.record(edge, "minimality", abs(less.mean() - value) >= NECESSARY * abs(whole))
    _count(part, case, relation)


def _count(part: Part, case: _Case, relation: str) -> None:
    """The circuit as an item of its own."""
    graph, item = case.attribution.graph, _name_of_circuit(relation)
    part.items.append({"item": item, **_relation(relation)})
    part.record(item, "edges", int(case.circuit.sum()))
    part.record(item, "edges.share", case.circuit.sum() / len(graph.edges))
    part.record(item, "nodes", len([n for n in graph.nodes_in(case.circuit) if n not in ("input", "logits")]))


def _hits(part: Part, study: Study, circuit: Mask, questions: Sequence[Question]) -> None:
    """Hit@10 on the pairs that the circuit was found on."""
    found: dict[str, Evaluated] = {"circuit": circuit_values(study, [circuit]), "model": model_values(study)}
    for row, question in enumerate(questions):
        for who, evaluated in found.items():
            part.record(question.id, f"hit10.{who}.discovery", evaluated.ranks[0][row] < HIT)
