"""zsRE in the form of MEND (Mitchell et al. 2021, arXiv 2110.11309), which ROME, MEMIT and EasyEdit read too.

All read the same file, and edit different facts: MEND and EasyEdit write a wrong answer (`alt`) over the right one;
ROME, MEMIT and AlphaEdit write the right one (`answers`), and put a question mark after the question of locality.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..cases import EditCase, Probe
from .records import probe
from .splits import normalised

Style = Literal["mend", "rome"]


def zsre_cases(file: Path, style: Style) -> Iterator[EditCase]:
    """The records of a zsRE file. Raises DataError naming record and field.

    As in EasyEdit, a record with an empty `alt` asks for no edit and is left out (2 of MEND's first 1,000).
    """
    for record in read_records(file):
        if style == "rome" or record.data.get("alt") != "":
            yield _case(record, style)


def _case(record: Record, style: Style) -> EditCase:
    prompt = record.text("src")
    (answer, *_) = record.answers("answers", record.data.get("answers"))
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=prompt,
        subject=record.text("subject"),
        target_new=record.text("alt") if style == "mend" else answer,
        target_true=answer if style == "mend" else None,
        fact=normalised(prompt),
    )
    unrelated = record.optional("loc")
    locality: dict[str, tuple[Probe, ...]] = {}
    if unrelated is not None:
        question = f"{unrelated}?" if style == "rome" else unrelated
        locality["other"] = (probe(question, record.text("loc_ans")),)
    portability = dict(_portability(record, request)) if style == "mend" else {}  # it follows from `alt`
    return EditCase(request, record.one("rephrase"), locality, portability)


def _portability(record: Record, request: EditRequest) -> Iterator[tuple[str, tuple[Probe, ...]]]:
    """What Yao et al. 2023 (arXiv 2305.13172) added: one more hop, another name of the subject, the way back."""
    if "portability" in record.data:
        hop = record.part("portability")
        yield "two_hop", (probe(hop.text("New Question"), hop.text("New Answer")),)
    if alias := record.optional("alter_subject_question"):
        yield "alias", (probe(alias, request.target_new),)
    if inverse := record.optional("inverse question"):
        yield "inverse", (probe(inverse, request.subject),)
