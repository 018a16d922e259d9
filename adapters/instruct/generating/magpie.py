"""Magpie (Xu et al. 2024, arXiv 2406.08464): given the head of a user's turn, an aligned model writes the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ....errors import ModelError
from ...chat.requests import Request
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from ..texts import plain
from .asked import shortfall, unanswered
from .evol import useless

if TYPE_CHECKING:
    from ..methods.generate import Magpie

_MARK = "\u2063\u2063"
"""Stands for the user's words in the chat template: nothing that a template would contain or strip."""


def generated(spec: Magpie, bench: Workbench) -> Iterator[Outcome]:
    """Exactly `spec.count` rows, or fewer and the shortfall after `spec.patience` requests in a row that led to none.

    Raises ModelError for a model whose user's turn cannot be begun.
    """
    asking = bench.asking[spec.model]
    header = spec.header or header_of(asking, spec.model)
    met: set[str] = set()
    made = number = fruitless = 0
    while made < spec.count and fruitless < spec.patience:
        size = min(spec.at_once, spec.count - made, spec.patience - fruitless)
        requests = [_request(spec, header, bench.seed, number + i) for i in range(size)]
        good: list[Row] = []
        for request, reply in zip(requests, asking.ask(requests), strict=True):
            row = Row(
                f"{bench.name}-{request.sample}",
                reply.text.strip(),
                notes={"stage": bench.name, "request": request.sample},
            )
            same = plain(row.instruction)
            if reply.error or reply.finish_reason == "length":
                yield unanswered(row, reply)
            elif not same:
                yield Rejected(row, "empty instruction")
            elif same in met:
                yield Rejected(row, "written before")
            else:
                met.add(same)
                good.append(row)
        number += size
        fruitless += size
        answers = [Request((("user", row.instruction),), spec.answer_tokens, purpose="answer") for row in good]
        for row, reply in zip(good, asking.ask(answers) if answers else [], strict=True):
            if reply.error or reply.finish_reason == "length":
                yield unanswered(row, reply)
            elif reason := useless(reply.text):
                yield Rejected(row.changed(output=reply.text), reason)
            else:
                made, fruitless = made + 1, 0
                yield row.changed(output=reply.text.strip())
    shortfall(bench, made, spec.count)


def _request(spec: Magpie, header: str, seed: int, number: int) -> Request:
    return Request(
        (("raw", header),),
        spec.max_tokens,
        spec.temperature,
        spec.top_p,
        seed=seed,
        sample=number,
        purpose="instructions",
    )


def header_of(asking: Any, role: str) -> str:
    """What the model's own chat template puts before a user's words. Raises ModelError where there is none."""
    lm = getattr(getattr(asking, "model", None), "lm", None)
    if lm is None:
        raise ModelError(
            f"magpie: the model {role!r} is not in this process: an endpoint puts every text into its chat template, "
            "so no user's turn can be begun; use a local model, or another generator"
        )
    if not (lm.chat and lm.tokenizer.chat_template):
        raise ModelError(f"magpie: the model {role!r} is not asked through a chat template; set `header`")
    text: str = lm.tokenizer.apply_chat_template([{"role": "user", "content": _MARK}], tokenize=False)
    before, found, _ = text.partition(_MARK)
    if not found or not before:
        raise ModelError(
            f"magpie: the chat template of the model {role!r} puts nothing before a user's words; set `header`"
        )
    return before
