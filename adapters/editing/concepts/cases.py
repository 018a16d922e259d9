"""ConceptEdit's records (Wang et al. 2024, arXiv 2403.06259), `final_{model}_{intra|inter}.json`, as cases.

A record has `label` (the concept), `prompt` and `phrase_prompt` (two ways to ask for its definition),
`target_new_desc` (the new definition), `instance_prompt` (whether some instance belongs to the concept), and
`locality_prompt` with `locality_answer` (another concept's definition).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....records import read_records
from ...lm.requests import EditRequest
from ..cases import EditCase
from ..sources.records import probe
from ..sources.splits import normalised


@dataclass(frozen=True)
class ConceptCase(EditCase):
    """A concept with its probes."""

    instance: str = ""
    """The question whether an instance of the old definition belongs to the concept."""


def concept_cases(file: Path) -> Iterator[ConceptCase]:
    """The records of a file. Raises DataError naming record and field."""
    for record in read_records(file):
        prompt = record.text("prompt")
        yield ConceptCase(
            EditRequest(
                id=f"{record.index:06d}",
                prompt=prompt,
                subject=record.text("label"),
                target_new=record.text("target_new_desc"),
                fact=normalised(prompt),
            ),
            (record.text("phrase_prompt"),),
            {"neighbourhood": (probe(record.text("locality_prompt"), record.text("locality_answer")),)},
            instance=record.text("instance_prompt"),
        )
