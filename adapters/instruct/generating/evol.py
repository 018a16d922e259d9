"""Evol-Instruct (Xu et al. 2023, arXiv 2304.12244): instructions are made harder or varied, round after round."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING

from ...chat.requests import Request
from ..prompts.loading import shipped
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from ..texts import unicode_words
from .asked import CHUNK, asked, chunks, plain, shortfall, unanswered
from .fields import blocks_in, unfenced

if TYPE_CHECKING:
    from ..methods.generate import EvolInstruct

DEPTH = ("constraints", "deepen", "concrete", "reasoning", "input")
OPERATIONS = (*DEPTH, "breadth")
"""Each as likely as the others, as in the paper."""
_LABELS = {
    f"{adjective} {noun}": "text"
    for adjective in ("rewritten", "new", "evolved", "created")
    for noun in ("prompt", "instruction")
} | {"instruction": "text"}
_COPIED = re.compile(r"\b(?:given|rewritten|created|evolved|original|new)[ _](?:prompt|instruction)\b", re.IGNORECASE)
_SORRY = re.compile(r"\b(?:sorry|apologi[sz]e|apologies)\b", re.IGNORECASE)
_SHORT = 80
"""Words below which an answer with an apology is taken for a refusal (section 3.2)."""
_STOP = frozenset(
    unicode_words(
        "a an and are as at be been but by can could did do does for from had has have he her him his how i if in into "
        "is it its me my no not of on or our out she so some such than that the their them then there these they this "
        "to too up us very was we were what when where which who why will with would you your yes"
    )
)


def generated(spec: EvolInstruct, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
    """Every instruction that a round made and that passed, with its answer; one that failed is tried again from its
    parent in the next round."""
    wanted, made = spec.count, 0
    while wanted is None or made < wanted:
        # Each seed can become `rounds` rows: no more are begun with than can be needed.
        size = CHUNK if wanted is None else min(CHUNK, ceil((wanted - made) / spec.rounds))
        parents = next(chunks((row for row in rows if row.instruction.strip()), size), [])
        if not parents:
            break
        seeds = [row.id for row in parents]
        for number in range(1, spec.rounds + 1):
            active = parents if wanted is None else parents[: wanted - made]
            for i, outcome in _round(spec, active, seeds, number, bench):
                if isinstance(outcome, Row):
                    parents[i] = outcome
                    made += 1
                yield outcome
    shortfall(bench, made, made if wanted is None else wanted)


def _round(
    spec: EvolInstruct, parents: Sequence[Row], seeds: Sequence[str], number: int, bench: Workbench
) -> Iterator[tuple[int, Outcome]]:
    """What became of each parent (by its place), in three waves: evolved, compared with the parent, answered."""
    asking, choices = bench.asking[spec.model], spec.operations
    operations = [choices[int(bench.rng(f"{s}/{number}").integers(len(choices)))] for s in seeds[: len(parents)]]
    requests = [_evolve(spec, p, o, bench.seed, number) for p, o in zip(parents, operations, strict=True)]
    children: dict[int, Row] = {}
    for i, reply in enumerate(asking.ask(requests)):
        notes = {
            "stage": bench.name,
            "seed": seeds[i],
            "parent": parents[i].id,
            "operation": operations[i],
            "round": number,
        }
        child = Row(f"{bench.name}-{seeds[i]}-{number}", instruction_in(reply.text), notes=notes)
        if reply.error or reply.finish_reason == "length":
            yield i, unanswered(child, reply)
        elif not unicode_words(child.instruction):
            yield i, Rejected(child, "empty instruction")
        elif _COPIED.search(child.instruction) and not _COPIED.search(parents[i].prompt):
            yield i, Rejected(child, "copies words of the prompt")
        else:
            children[i] = child
    verdicts = asked(
        asking,
        [_compare(parents[i], child) for i, child in children.items()],
        lambda reply: gains(reply.text),
        "Answer with `Equal` or `Not equal` and nothing else.",
    )
    better: dict[int, Row] = {}
    for (i, child), (reply, gain) in zip(children.items(), verdicts, strict=True):
        if gain:
            better[i] = child
        else:
            yield i, unanswered(child, reply) if gain is None else Rejected(child, "asks for no more than its parent")
    answers = asking.ask([_answer(spec, child) for child in better.values()]) if better else []
    for (i, child), reply in zip(better.items(), answers, strict=True):
        if reply.error or reply.finish_reason == "length":
            yield i, unanswered(child, reply)
        elif reason := useless(reply.text):
            yield i, Rejected(child.changed(output=reply.text), reason)
        else:
            yield i, child.changed(output=reply.text.strip())


def _evolve(spec: EvolInstruct, parent: Row, operation: str, seed: int, number: int) -> Request:
    if operation == "breadth":
        filled = shipped("evol-breadth").filled({"parent": parent.prompt})
    else:
        template = shipped("evol")
        filled = template.filled({"parent": parent.prompt, "change": template.values[operation] or ""})
    return Request(
        plain(filled), spec.max_tokens, spec.temperature, spec.top_p, seed=seed, sample=number, purpose="evolve"
    )


def _compare(parent: Row, child: Row) -> Request:
    filled = shipped("evol-gain").filled({"parent": parent.prompt, "child": child.instruction})
    return Request(plain(filled), 16, purpose="gain")


def _answer(spec: EvolInstruct, child: Row) -> Request:
    return Request((("user", child.instruction),), spec.answer_tokens, purpose="answer")


def instruction_in(text: str) -> str:
    """The instruction of a reply, without a label, a fence or quotation marks around it.

    >>> instruction_in("#Rewritten Prompt#: Name a bird.")
    'Name a bird.'
    """
    blocks = blocks_in(text, _LABELS)
    found = blocks[-1]["text"] if blocks else unfenced(text).strip()
    quoted = len(found) > 2 and found[0] == found[-1] == '"' and '"' not in found[1:-1]
    return found[1:-1].strip() if quoted else found


def gains(text: str) -> bool | None:
    """Whether the verdict is that the two instructions differ; None for no verdict."""
    if re.search(r"\b(?:not|un)[ -]?equal\b|\bdiffer", text, re.IGNORECASE):
        return True
    return False if re.search(r"\bequal\b|\bsame\b", text, re.IGNORECASE) else None


def useless(text: str) -> str:
    """Why an answer says nothing (section 3.2); empty when it says something.

    >>> useless("I'm sorry, I cannot do that."), useless("The , of !"), useless("42")
    ('apology', 'only stop words and signs', '')
    """
    words = unicode_words(text)
    if all(word in _STOP for word in words):
        return "only stop words and signs" if text.strip() else "empty output"
    return "apology" if len(words) < _SHORT and _SORRY.search(text) else ""
