"""Self-Instruct (Wang et al. 2023, arXiv 2212.10560): instructions like known ones, then their answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....errors import DataError
from ...chat.requests import Reply, Request
from ..prompts.loading import shipped
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from ..texts import unicode_words
from .asked import CUT, UNPARSABLE, Asks, asked, plain, shortfall, unanswered
from .fields import blocks_in
from .novelty import Known
from .parsing import listed_in

if TYPE_CHECKING:
    from ..methods.generate import SelfInstruct

SEEDS, WRITTEN = 6, 2
"""Examples in a request: known instructions, and some of those written so far; the paper's 8."""
_FIELDS = {name: name for name in ("input", "output", "label")} | {"class label": "label", "response": "output"}
_NO_INPUT = re.compile(
    r"[<(\[]?\s*(?:none|n/?a|no\s*input|not (?:needed|applicable)|empty)\s*[>)\]]?\.?", re.IGNORECASE
)
_YES = re.compile(r"\W*(?:classification\W+)?(?:is it a classification\W+)?(yes|no)\b", re.IGNORECASE)


def generated(spec: SelfInstruct, seeds: Sequence[Row], bench: Workbench) -> Iterator[Outcome]:
    """Exactly `spec.count` rows, or fewer and the shortfall after `spec.patience` requests in a row that led to none.

    Raises DataError without a seed that has an instruction.
    """
    seeds = [seed for seed in seeds if seed.instruction.strip()]
    if not seeds:
        raise DataError(f"stage {bench.name}: no seed has an instruction; give it rows to start from")
    asking, known = bench.asking[spec.model], Known([(s.id, s.instruction) for s in seeds], spec.rouge)
    written: list[Row] = []
    waiting: list[Row] = []
    made = number = fruitless = 0
    while made < spec.count and fruitless < spec.patience:
        if not waiting:
            size = min(spec.at_once, spec.count - made, spec.patience - fruitless)
            requests = [_request(spec, seeds, written, bench, number + i) for i in range(size)]
            for request, reply in zip(requests, asking.ask(requests), strict=True):
                for outcome in _instructions(spec, reply, request.sample, bench.name, known):
                    if isinstance(outcome, Row):
                        waiting.append(outcome)
                    else:
                        yield outcome
            written += waiting
            number += size
            fruitless += size
        batch, waiting = waiting[: spec.count - made], waiting[spec.count - made :]
        for outcome in _with_answers(spec, batch, asking, bench):
            if isinstance(outcome, Row):
                made, fruitless = made + 1, 0
            yield outcome
    yield from (Rejected(row, "more than asked for") for row in waiting)
    shortfall(bench, made, spec.count)


def _request(
    spec: SelfInstruct, seeds: Sequence[Row], written: Sequence[Row], bench: Workbench, number: int
) -> Request:
    rng = bench.rng(f"request-{number}")
    new = min(WRITTEN, len(written))
    old = min(SEEDS + WRITTEN - new, len(seeds))
    chosen = [seeds[i] for i in rng.choice(len(seeds), old, replace=False)]
    chosen += [written[i] for i in rng.choice(len(written), new, replace=False)] if new else []
    rng.shuffle(chosen)
    lines = [f"{i}. Instruction: {' '.join(row.instruction.split())}" for i, row in enumerate(chosen, start=1)]
    filled = shipped("self-instruct").filled({"known": "\n".join(lines), "first": str(len(lines) + 1)})
    return Request(
        plain(filled),
        spec.max_tokens,
        spec.temperature,
        spec.top_p,
        seed=bench.seed,
        sample=number,
        purpose="instructions",
    )


def _instructions(spec: SelfInstruct, reply: Reply, request: int, stage: str, known: Known) -> Iterator[Outcome]:
    """Every item of a reply, as a row or turned away; an accepted one is known from then on. Whatever has `item` in its
    notes was found whole; where a script tells how many items the reply holds, `contains` says so."""

    whole = Row(f"{stage}-{request}", reply.text, notes={"stage": stage, "request": request})
    if reply.contains is not None:
        whole = whole.noted(contains=reply.contains)

    def row(place: int, text: str) -> Row:
        return replace(whole, id=f"{whole.id}.{place}", instruction=text).noted(item=place)

    if reply.error:
        yield unanswered(whole, reply)
        return
    found = listed_in(reply.text, reply.finish_reason)
    for place, text in enumerate(found.items):
        if reason := unfit(spec, text):
            yield Rejected(row(place, text), reason)
        elif near := known.near(text):
            yield Rejected(row(place, text), "too like a known instruction", near.value, near.id)
        else:
            one = row(place, text)
            known.add(one.id, text)
            yield one
    for text in found.cut:
        yield Rejected(replace(whole, id=f"{whole.id}.{len(found.items)}", instruction=text), CUT)
    if not found.items and not found.cut:
        yield Rejected(whole, UNPARSABLE)


def unfit(spec: SelfInstruct, text: str) -> str:
    """Why an instruction is of no use to a model of texts (section 2.2 of the paper); empty when it is."""
    words = unicode_words(text)
    if not spec.words[0] <= len(words) <= spec.words[1]:
        return "too short" if len(words) < spec.words[0] else "too long"
    if not (text[0].isalnum() or text[0] in "\"'“‘«「¿¡"):
        return "begins with a sign"
    padded = f" {' '.join(words)} "
    if any(f" {' '.join(unicode_words(phrase))} " in padded for phrase in spec.unanswerable):
        return "needs more than text"
    return ""


def _with_answers(spec: SelfInstruct, rows: Sequence[Row], asking: Asks, bench: Workbench) -> Iterator[Outcome]:
    """The rows with input and output: of a classification the label first, so that labels are not all alike."""
    kinds = asked(
        asking, [_about("class", row, spec) for row in rows], _is_class, "Answer with yes or no and nothing else."
    )
    kept = [(row, kind) for row, (_, kind) in zip(rows, kinds, strict=True) if kind is not None]
    yield from (unanswered(row, reply) for row, (reply, kind) in zip(rows, kinds, strict=True) if kind is None)
    requests = [_about("output-first" if kind else "input-first", row, spec) for row, kind in kept]
    replies = asking.ask(requests) if requests else []
    for (row, kind), reply in zip(kept, replies, strict=True):
        if reply.error or reply.finish_reason == "length":
            yield unanswered(row, reply)
            continue
        found = instances_in(reply.text, kind)
        chosen = int(bench.rng(row.id).integers(len(found))) if kind and found else 0
        input, output = found[chosen] if found else ("", "")
        whole = row.changed(input=input, output=output).noted(classification=kind)
        if not output:
            yield Rejected(whole, "empty output")
        elif output == input:
            yield Rejected(whole, "output repeats the input")
        else:
            yield whole


def _about(what: str, row: Row, spec: SelfInstruct) -> Request:
    filled = shipped(f"self-instruct-{what}").filled({"instruction": row.instruction})
    return Request(plain(filled), spec.answer_tokens, purpose="classification" if what == "class" else "instances")


def _is_class(reply: Reply) -> bool | None:
    match = _YES.match(reply.text)
    return None if match is None else match[1].lower() == "yes"


def instances_in(text: str, classification: bool = False) -> list[tuple[str, str]]:
    """(input, output) of each example in a reply; a reply without labels is an output.

    >>> instances_in("Example 1\\nInput: a\\nOutput: b\\nExample 2\\nInput: c\\nOutput: d")
    [('a', 'b'), ('c', 'd')]
    """
    blocks = blocks_in(text, _FIELDS)
    if not blocks:
        return [("", text.strip())] if text.strip() and not classification else []
    pairs = [(b.get("input", ""), b.get("label" if classification else "output", "")) for b in blocks]
    return [("" if _NO_INPUT.fullmatch(i) else i, o) for i, o in pairs if o]
