"""WikiBigEdit (Thede et al. 2025, arXiv 2503.05683): one JSON list for each time step, `wiki_big_edit_FROM_TO.json`.

A record has `subject`, `update` (a question) and `ans`; `rephrase`; `personas` (the question in the words of
somebody, with the same answer); `mhop` with `mhop_ans` (a question through the changed fact to another one); `loc` with
`loc_ans` (a question on a fact that did not change); and ids of Wikidata, of which `relation_id` is kept. All but the
first three may be null or missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .....records import Record, read_any
from ....lm.requests import EditRequest
from ...cases import EditCase, Probe
from ..records import probe
from ..splits import normalised


def wikibigedit_cases(file: Path) -> Iterator[EditCase]:
    """The records of a time step, JSON or JSONL. Raises DataError naming record and field."""
    for record in read_any(file):
        prompt = record.text("update")
        request = EditRequest(
            id=f"{record.index:06d}",
            prompt=prompt,
            subject=record.text("subject"),
            target_new=record.text("ans"),
            relation=record.optional("relation_id") or "",
            fact=normalised(prompt),
        )
        yield EditCase(request, record.one("rephrase"), _asked(record, "loc", "other"), _portability(record, request))


def _asked(record: Record, name: str, kind: str) -> dict[str, tuple[Probe, ...]]:
    """The question of a field, whose answer is in the field's name with `_ans`."""
    prompt = record.optional(name)
    return {} if prompt is None else {kind: (probe(prompt, record.text(f"{name}_ans")),)}


def _portability(record: Record, request: EditRequest) -> dict[str, tuple[Probe, ...]]:
    persona = record.optional("personas")
    asked = {} if persona is None else {"persona": (probe(persona, request.target_new),)}
    return asked | _asked(record, "mhop", "two_hop")
