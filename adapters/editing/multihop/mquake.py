"""MQuAKE's records (Zhong et al. 2023, arXiv 2305.14795): up to four edits of a chain of facts, and three questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..sources.records import identified
from ..sources.splits import in_validation, normalised
from .cases import ChainCase, Hop
from .params import Split


def mquake_cases(file: Path, split: Split = "all") -> Iterator[ChainCase]:
    """The records of a file, in their order. Raises DataError naming record and field."""
    for case_id, record in identified(read_records(file)):
        case = _case(case_id, record)
        inside = {in_validation(request.subject) for request in case.requests}
        if split == "all" or inside == {split == "validation"}:
            yield case


def _case(case_id: str, record: Record) -> ChainCase:
    requests = tuple(_request(f"{case_id}/{i}", edit) for i, edit in enumerate(_parts(record, "requested_rewrite")))
    questions = record.texts("questions")
    if not questions:
        raise record.wrong("questions", "a list with at least one text")
    return ChainCase(
        case_id,
        requests,
        questions,
        _named(record, "new_answer", "new_answer_alias"),
        # MQuAKE-T's old answers may have changed before: `answer_extended` lists what else counts (appendix E).
        _named(record, "answer", "answer_alias", "answer_extended"),
        tuple(map(_hop, _parts(record, "new_single_hops"))),
        tuple(map(_hop, _parts(record, "single_hops"))),
    )


def _request(name: str, edit: Record) -> EditRequest:
    template, subject = edit.text("prompt"), edit.text("subject")
    if "{}" not in template:
        raise edit.wrong("prompt", f"`{{}}` where the subject stands, got {template!r}"[:80])
    prompt = template.replace("{}", subject)
    return EditRequest(
        id=name,
        prompt=prompt,
        subject=subject,
        target_new=edit.part("target_new").text("str"),
        target_true=edit.part("target_true").text("str"),
        relation=edit.optional("relation_id") or "",
        fact=normalised(prompt),
    )


def _hop(hop: Record) -> Hop:
    cloze = hop.text("cloze")
    return Hop(hop.text("question"), cloze, _named(hop, "answer", "answer_alias"), normalised(cloze))


def _named(record: Record, answer: str, *others: str) -> tuple[str, ...]:
    """An answer and its other names; empty names are left out."""
    names = [(name, i, value) for name in others for i, value in enumerate(record.items(name)) if value != ""]
    found = (record.text(answer), *(record.checked(f"{name}.{i}", value) for name, i, value in names))
    return tuple(dict.fromkeys(found))


def _parts(record: Record, name: str) -> list[Record]:
    """The maps of a list, which must not be empty. Raises DataError."""
    values = record.items(name)
    if not values:
        raise record.wrong(name, "a list with at least one map")
    for i, value in enumerate(values):
        if not isinstance(value, dict):
            raise record.wrong(f"{name}.{i}", "a map")
    return [Record(record.file, f"{record.place}: {name}.{i}", record.index, v) for i, v in enumerate(values)]
