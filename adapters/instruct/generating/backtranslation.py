"""Instruction backtranslation (Li et al. 2023, "Humpback", arXiv 2308.06259): texts become answers to instructions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...chat.requests import Reply, Request
from ..prompts.loading import shipped
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from .asked import CHUNK, asked, chunks, plain, shortfall, text_of, unanswered
from .evol import instruction_in, useless
from .judging import score_rows

if TYPE_CHECKING:
    from ..methods.generate import Backtranslation

LOW, HIGH = 1, 5


def generated(spec: Backtranslation, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
    """A row for each text whose instruction is good enough; every text is used once, in the order of the file."""
    wanted, made = spec.count, 0
    while wanted is None or made < wanted:
        documents = next(chunks(rows, CHUNK if wanted is None else min(CHUNK, wanted - made)), [])
        if not documents:
            break
        written: list[Row] = []
        for outcome in _written(spec, documents, bench):
            if isinstance(outcome, Row):
                written.append(outcome)
            else:
                yield outcome
        template = shipped("score").with_({}, ())
        for row, reply, score in score_rows(
            bench.asking[spec.judge], template, written, (LOW, HIGH), spec.score_tokens
        ):
            if score is None:
                yield unanswered(row, reply)
            elif score < spec.threshold:
                yield Rejected(row.scored(**{bench.name: score}), "low score", score)
            else:
                made += 1
                yield row.scored(**{bench.name: score})
    shortfall(bench, made, made if wanted is None else wanted)


def _written(spec: Backtranslation, documents: list[Row], bench: Workbench) -> Iterator[Outcome]:
    """The documents as answers to the instructions that the model wrote for them."""
    candidates = [
        Row(f"{bench.name}-{d.id}", "", output=text_of(d, spec.column), notes={"stage": bench.name, "document": d.id})
        for d in documents
    ]
    yield from (Rejected(row, "empty text") for row in candidates if not row.output.strip())
    full = [row for row in candidates if row.output.strip()]
    template = shipped("backtranslation")
    requests = [
        Request(plain(template.filled({"document": row.output})), spec.max_tokens, purpose="backtranslate")
        for row in full
    ]
    hint = "Write the instruction alone, behind `Instruction:`."
    for row, (reply, instruction) in zip(full, asked(bench.asking[spec.model], requests, _parsed, hint), strict=True):
        if instruction is None:
            yield unanswered(row, reply)
        elif reason := useless(instruction):
            yield Rejected(row.changed(instruction=instruction), reason)
        else:
            yield row.changed(instruction=instruction)


def _parsed(reply: Reply) -> str | None:
    return None if reply.finish_reason == "length" else instruction_in(reply.text) or None
