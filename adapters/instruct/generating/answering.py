"""Rows are answered by a model with a prompt template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....errors import UsageError
from ...chat.requests import Reply, Request
from ..prompts.template import ROW, Filled, Parse, Template
from ..rows import Row
from ..stage import Outcome, Workbench
from .asked import CHUNK, Asks, asked, chunks, plain, unanswered
from .fields import json_in, last_after

if TYPE_CHECKING:
    from ..methods.prompted import Answer

_TAG = re.compile(r"[ \t#*_]{0,8}A[ \t]?[\[(]?(\d{1,3})[\])]?[*_ \t]{0,4}[:：.][*_]{0,3}[ \t]?", re.IGNORECASE)
_NUMBER = re.compile(
    r"[ \t#*_]{0,8}(?:answer[ \t]?)?[\[(]?(\d{1,3})[\])]?[*_ \t]{0,4}[.):：][*_]{0,3}[ \t]?", re.IGNORECASE
)


def answered(spec: Answer, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
    """The rows with a new output, and the whole reply in their notes where the answer is a part of it."""
    template = spec.prompt.opened(bench.files)
    if strange := [name for name in template.takes if name not in ROW]:
        raise UsageError(f"prompt {template.name}: takes {strange[0]}, which no row has; a row has {', '.join(ROW)}")
    asking = bench.asking[spec.model]
    size = CHUNK - CHUNK % template.batch.size if template.batch else CHUNK
    for chunk in chunks(rows, size):
        ask = _in_batches if template.batch else _one_by_one
        for row, (reply, answer) in zip(chunk, ask(spec, template, chunk, asking), strict=True):
            if answer is None:
                yield unanswered(row, reply)
                continue
            done = row.changed(output=answer)
            yield done if template.parse.type == "whole" else done.noted(reply=reply.text)
        bench.progress(len(chunk))


def _request(spec: Answer, messages: tuple[tuple[str, str], ...]) -> Request:
    return Request(messages, spec.max_tokens, spec.temperature, spec.top_p, purpose="answer")


def _one_by_one(spec: Answer, template: Template, rows: Sequence[Row], asking: Asks) -> list[tuple[Reply, str | None]]:
    """Each row in a conversation of its own: wherever the model's own words belong, it is asked, all rows at once."""
    left = [_with_history(template.filled(row.texts(template.history)), row, template.history) for row in rows]
    said: list[tuple[tuple[str, str], ...]] = [() for _ in rows]
    failed: dict[int, Reply] = {}
    while True:
        turns = [_up_to_gap(messages) for messages in left]
        said = [(*so_far, *plain(turn)) for so_far, turn in zip(said, turns, strict=True)]
        left = [messages[len(turn) + 1 :] for messages, turn in zip(left, turns, strict=True)]
        going = [i for i in range(len(rows)) if i not in failed]
        requests = [_request(spec, said[i]) for i in going]
        if not any(left):
            break
        for i, reply in zip(going, asking.ask(requests) if requests else [], strict=True):
            if reply.error or reply.finish_reason == "length":
                failed[i] = reply
            said[i] = (*said[i], ("assistant", reply.text))
    found = iter(asked(asking, requests, lambda reply: answer_in(reply, template.parse), _hint(template.parse)))
    return [(failed[i], None) if i in failed else next(found) for i in range(len(rows))]


def _up_to_gap(messages: Filled) -> Filled:
    gaps = [i for i, (_, text) in enumerate(messages) if text is None]
    return messages[: gaps[0]] if gaps else messages


def _with_history(messages: Filled, row: Row, history: bool) -> Filled:
    if not history:
        return messages
    start = next(i for i, (role, _) in enumerate(messages) if role != "system")
    return (*messages[:start], *((turn.role, turn.text) for turn in row.earlier), *messages[start:])


def _in_batches(spec: Answer, template: Template, rows: Sequence[Row], asking: Asks) -> list[tuple[Reply, str | None]]:
    """Several rows in a request; those whose answer is missing are asked once more, together."""
    assert template.batch is not None
    groups = [range(i, min(i + template.batch.size, len(rows))) for i in range(0, len(rows), template.batch.size)]
    found: dict[int, tuple[Reply, str | None]] = {}
    asked_for: list[Sequence[int]] = list(groups)
    for attempt in range(2):
        requests = [
            replace(_request(spec, _batch(template, [rows[i] for i in group])), sample=attempt) for group in asked_for
        ]
        for group, reply in zip(asked_for, asking.ask(requests) if requests else [], strict=True):
            answers = [None] * len(group) if reply.error else answers_in(reply, len(group))
            for i, text in zip(group, answers, strict=True):
                found[i] = (reply, None if text is None else answer_in(replace(reply, text=text), template.parse))
        missing = ([i for i in group if found[i][1] is None and not found[i][0].error] for group in asked_for)
        asked_for = [group for group in missing if group]
    return [found[i] for i in range(len(rows))]


def _batch(template: Template, rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    assert template.batch is not None
    questions = [template.question(i, row.texts()) for i, row in enumerate(rows, start=1)]
    return plain(template.filled({"questions": template.batch.separator.join(questions)}))


def answers_in(reply: Reply, count: int) -> list[str | None]:
    """Answers 1 to `count` of a reply: behind `A[n]:`, else behind plain numbers that count up; None where one is
    missing, empty, or cut off.

    >>> answers_in(Reply("A[1]: café\\nA[3]: ünï"), 3)
    ['café', None, 'ünï']
    """
    lines = reply.text.split("\n")
    mark = _TAG if any(map(_TAG.match, lines)) else _NUMBER
    found: dict[int, list[str]] = {}
    last = 0
    for line in lines:
        match = mark.match(line)
        if match and last < int(match[1]) <= count:
            last = int(match[1])
            found[last] = [line[match.end() :]]
        elif last:
            found[last].append(line)
    if reply.finish_reason == "length":
        found.pop(last, None)
    return ["\n".join(found.get(i, [])).strip() or None for i in range(1, count + 1)]


def answer_in(reply: Reply, parse: Parse) -> str | None:
    """The answer of a reply by a template's rule; None where it has none."""
    if parse.type == "after":
        answer = last_after(reply.text, parse.labels)
    elif parse.type == "json":
        value = json_in(reply.text)
        return None if value is None else json.dumps(value, ensure_ascii=False)
    else:
        answer = reply.text.strip() or None
    return None if reply.finish_reason == "length" else answer


def _hint(parse: Parse) -> str:
    if parse.type == "after":
        return f"Give the answer alone, in one line that begins with `{parse.labels[-1].capitalize()}:`."
    return "Give the answer as JSON and nothing else." if parse.type == "json" else "Give the answer."
