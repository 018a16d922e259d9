"""CounterFact, as ROME published it (Meng et al. 2022, arXiv 2202.05262) and as EasyEdit flattened it.

A record of ROME's may carry what later works added to it, each a kind of probe of its own: a one-hop question and an
alternative subject (Yao et al. 2023, arXiv 2305.13172), a question on another relation of the subject, and neighbours
after a sentence that states the edit (Hoelscher-Obermaier et al. 2023, arXiv 2305.17553). MEMIT's
`multi_counterfact.json` (arXiv 2210.07229) has the same form, its records grouped otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..cases import EditCase, Probe
from .records import identified, probe
from .snippets import Snippets
from .splits import normalised


def counterfact_cases(file: Path, snippets: Snippets | None = None) -> Iterator[EditCase]:
    """The records of a CounterFact file, each in either form. Raises DataError naming record and field.

    `snippets`: texts to compare with what is written about the subject, which the records name by ids of Wikidata.
    """
    for case_id, record in identified(read_records(file)):
        yield _original(case_id, record, snippets) if "requested_rewrite" in record.data else _flat(case_id, record)


def _flat(case_id: str, record: Record) -> EditCase:
    prompt = record.text("prompt")
    request = EditRequest(
        id=case_id,
        prompt=prompt,
        subject=record.text("subject"),
        target_new=record.text("target_new"),
        target_true=record.text("ground_truth"),
        fact=normalised(prompt),
    )
    neighbour = record.optional("locality_prompt")
    locality = {} if neighbour is None else {"neighbourhood": (probe(neighbour, record.text("locality_ground_truth")),)}
    return EditCase(request, record.one("rephrase_prompt"), locality)


def rewritten(case_id: str, record: Record) -> tuple[EditRequest, str]:
    """The request of a record in ROME's form, and its prompt with a place for the subject. Raises DataError."""
    rewrite = record.part("requested_rewrite")
    template, subject = rewrite.text("prompt"), rewrite.text("subject")
    if "{}" not in template:
        raise rewrite.wrong("prompt", f"`{{}}` where the subject stands, got {template!r}"[:80])
    prompt = template.replace("{}", subject)
    request = EditRequest(
        id=case_id,
        prompt=prompt,
        subject=subject,
        target_new=rewrite.part("target_new").text("str"),
        target_true=rewrite.part("target_true").text("str"),
        relation=rewrite.optional("relation_id") or "",
        fact=normalised(prompt),
    )
    return request, template


def _original(case_id: str, record: Record, snippets: Snippets | None) -> EditCase:
    request, template = rewritten(case_id, record)
    alike: tuple[str, ...] = ()
    essence: tuple[str, ...] = ()
    if snippets:
        rewrite = record.part("requested_rewrite")
        new, true = (rewrite.part(name).text("id") for name in ("target_new", "target_true"))
        alike = snippets.alike(request.relation, new)
        essence = snippets.essence(request.relation, request.subject, new, true)
    return EditCase(
        request,
        record.texts("paraphrase_prompts"),
        dict(_locality(record, request)),
        dict(_portability(record, request, template)),
        openings=record.texts("generation_prompts"),
        alike=alike,
        essence=essence,
    )


def _locality(record: Record, request: EditRequest) -> Iterator[tuple[str, tuple[Probe, ...]]]:
    answer = request.target_true or ""  # the neighbours are those that share it
    fields = {"neighbourhood": "neighborhood_prompts", "distracting": "distracting_neighborhood_prompts"}
    for kind, name in fields.items():
        if prompts := record.texts(name):
            yield kind, tuple(probe(prompt, answer) for prompt in prompts)
    if "unrelated_relation" in record.data:
        other = record.part("unrelated_relation")
        yield "same_subject", (probe(other.text("question"), other.text("object")),)


def _portability(record: Record, request: EditRequest, template: str) -> Iterator[tuple[str, tuple[Probe, ...]]]:
    if "portability" in record.data:
        hop = record.part("portability")
        yield "two_hop", (probe(hop.text("New Question"), hop.text("New Answer")),)
    if "alternative_subject" in record.data:
        prompt = template.replace("{}", record.text("alternative_subject"))
        yield "alias", (probe(prompt, request.target_new),)
