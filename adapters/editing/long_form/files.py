"""UnKEBench and AKEW as their authors publish them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....records import Record, listed, read_records
from ...lm.requests import EditRequest
from ..cases import Fact
from ..sources.records import identified, probe
from ..sources.splits import normalised
from .cases import LongCase

PARTS = 5
"""Triplets of an AKEW record that are asked for, as its users do."""


def unke_cases(file: Path) -> Iterator[LongCase]:
    """The records of UnKEBench. Raises DataError naming record and field."""
    for case_id, record in identified(read_records(file)):
        prompt = record.text("question")
        asked, answers = record.texts("sub_question"), record.texts("sub_answer")
        if len(asked) != len(answers):
            raise record.wrong("sub_answer", f"an answer to each of {len(asked)} sub-questions, got {len(answers)}")
        yield LongCase(
            EditRequest(
                id=case_id, prompt=prompt, subject="", target_new=record.text("answer"), fact=normalised(prompt)
            ),
            record.one("para_question"),
            tuple(map(Fact, asked, answers)),
        )


def akew_cases(file: Path, knowledge: str) -> Iterator[LongCase]:
    """The records of one of AKEW's three files. Raises DataError naming record and field."""
    for case_id, record in identified(read_records(file)):
        if isinstance(record.data.get("requested_rewrite"), list):
            rewrites = listed(file, record.data["requested_rewrite"], f"{record.place}: requested_rewrite")
            for number, rewrite in enumerate(rewrites):
                yield _akew(f"{case_id}.{number}" if len(rewrites) > 1 else case_id, record, rewrite, knowledge)
        else:
            yield _akew(case_id, record, record.part("requested_rewrite"), knowledge)


def _akew(case_id: str, record: Record, rewrite: Record, knowledge: str) -> LongCase:
    subject, question = rewrite.text("subject"), rewrite.one("question")
    prompt = rewrite.optional("prompt_full")
    if prompt is None:
        prompt = _filled(rewrite, rewrite.text("prompt"), subject)
    old = rewrite.optional("answer_true") or _object(rewrite, "target_true")
    short = rewrite.optional("answer_new") or _object(rewrite, "target_new")
    if knowledge == "structured" and short is None:
        raise rewrite.unlike("target_new", "the new object, as `answer_new` or `target_new`")
    target = short if knowledge == "structured" and short is not None else rewrite.text("fact_new_uns")
    triplets = listed(record.file, rewrite.data.get("unsfact_triplets_GPT"), f"{rewrite.place}: unsfact_triplets_GPT")
    return LongCase(
        EditRequest(
            id=case_id,
            prompt=prompt,
            subject=subject,
            target_new=target,
            target_true=old,
            relation=rewrite.optional("relation_id") or "",
            fact=normalised(prompt),
        ),
        (*record.texts("paraphrase_prompts"), *question)[:1],
        tuple(Fact(_filled(t, t.text("prompt"), t.text("subject")), t.text("target")) for t in triplets[:PARTS]),
        tuple(probe(prompt) for prompt in record.texts("neighborhood_prompts")),
    )


def _filled(record: Record, template: str, subject: str) -> str:
    """A prompt with its subject; GPT wrote some triplets without a place for it."""
    return template.replace("{}", subject)


def _object(rewrite: Record, name: str) -> str | None:
    value = rewrite.data.get(name)
    return rewrite.part(name).text("str") if isinstance(value, dict) else rewrite.optional(name)
