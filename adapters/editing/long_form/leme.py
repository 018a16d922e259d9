"""LEME's files: records of zsRE (MEND's form) or CounterFact with `coupled_prompts_and_properties`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..sources.counterfact import rewritten
from ..sources.records import identified, probe
from ..sources.splits import normalised
from .cases import LongCase, Passage

COUPLED = "coupled_prompts_and_properties"
_PROPERTIES = ("ground_truth", "overlapping_ground_truth")


def leme_cases(file: Path) -> Iterator[LongCase]:
    """The records of a file, each in either form. Raises DataError naming record and field.

    A passage is asked for by the data's prompt and the name of whom it is about. EasyEdit inserts a line on the
    relation of the two, which is left out here.
    """
    for case_id, record in identified(read_records(file)):
        request, paraphrases, held = (_counterfact if "requested_rewrite" in record.data else _zsre)(case_id, record)
        kept = tuple(probe(prompt) for prompt in held)
        yield LongCase(request, paraphrases, held=kept, passages=tuple(_passages(record, request.subject)))


def _zsre(case_id: str, record: Record) -> tuple[EditRequest, tuple[str, ...], tuple[str, ...]]:
    prompt = record.text("src")
    request = EditRequest(
        id=case_id,
        prompt=prompt,
        subject=record.text("subject"),
        target_new=record.text("alt"),
        target_true=record.answer("answers"),
        fact=normalised(prompt),
    )
    return request, record.one("rephrase"), record.one("loc")


def _counterfact(case_id: str, record: Record) -> tuple[EditRequest, tuple[str, ...], tuple[str, ...]]:
    request, _ = rewritten(case_id, record)
    return request, record.texts("paraphrase_prompts"), record.texts("neighborhood_prompts")


def _passages(record: Record, subject: str) -> Iterator[Passage]:
    coupled = record.part(COUPLED)
    own = coupled.part("subject_entity")
    yield Passage(f"{own.text('coupled_prompt')}\n\n{subject}", False, _known(own))
    for number, value in enumerate(coupled.items("coupled_entities")):
        place = f"{coupled.place}: coupled_entities.{number}"
        if not isinstance(value, dict):
            raise coupled.wrong(f"coupled_entities.{number}", "a map")
        entity = Record(record.file, place, record.index, value)
        yield Passage(f"{entity.text('coupled_prompt')}\n\n{entity.text('entity')}", True, _known(entity))


def _known(entity: Record) -> tuple[tuple[str, ...], ...]:
    """The values of each known property. Raises DataError."""
    name = next((n for n in _PROPERTIES if n in entity.data), None)
    if name is None:
        return ()
    properties = entity.part(name)
    return tuple(properties.answers(key, value) for key, value in properties.data.items() if value)
