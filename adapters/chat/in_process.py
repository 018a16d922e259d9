"""A language model of this process that is asked in words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jinja2.exceptions import TemplateError

from ...errors import ModelError
from ...job import rng
from ..lm.generation import Choose, continued
from ..lm.model import LanguageModel
from ..lm.scoring import batches, tokenised
from ..lm.writing import ends
from .requests import Reply, Request, failed, sendable


@dataclass(frozen=True)
class InProcess:
    """See `ChatModel`. Without the chat template of its tokenizer it continues the messages' texts, one on each line.

    Draws depend on the request alone. A reply depends on the batch only where two tokens tie within float noise.
    """

    lm: LanguageModel
    fingerprint: str
    batch_size: int = 8
    prices: ClassVar[None] = None
    paid: ClassVar[bool] = True

    def started(self) -> InProcess:
        """It has no state."""
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """See `ChatModel.answer`: batch by batch, the shortest prompts first."""
        texts = {i: _prompt(self.lm, request) for i, request in enumerate(requests)}
        tokens = {i: tokenised(self.lm, text)[0] for i, text in texts.items()}
        for i, ids in tokens.items():
            if not ids:
                yield i, failed("empty: the prompt has no token")
            elif len(ids) >= self.lm.context:
                yield i, failed(f"too long: {len(ids)} tokens leave no room in a context of {self.lm.context}")
        fit = [i for i, ids in tokens.items() if 0 < len(ids) < self.lm.context]
        for batch in batches([tokens[i] for i in fit], self.batch_size):
            numbers = [fit[j] for j in batch]
            asked = [_Asked(requests[i], texts[i], tokens[i]) for i in numbers]
            yield from zip(numbers, self._written(asked), strict=True)

    def verify(self) -> list[str]:
        """What differs in the language model."""
        return self.lm.verify()

    def close(self) -> None:
        """Close the language model."""
        self.lm.close()

    def _written(self, asked: Sequence[_Asked]) -> list[Reply]:
        lm, begun = self.lm, time.monotonic()
        lengths = [min(one.request.max_tokens, lm.context - len(one.ids)) for one in asked]
        first = [one.wanted(lm) for one in asked]
        stop = frozenset(ends(lm))
        written = continued(
            lm, [one.ids for one in asked], lengths, len(asked), _choosing(asked, lengths, first), stop=stop
        )
        seconds = round((time.monotonic() - begun) / len(asked), 3)
        replies = []
        for one, tokens, found in zip(asked, written, first, strict=True):
            ended = bool(tokens) and tokens[-1] in stop
            text = lm.tokenizer.decode(tokens[:-1] if ended else tokens, skip_special_tokens=True)
            cut = min((p for p in map(text.find, filter(None, one.request.stop)) if p >= 0), default=None)
            replies.append(
                Reply(
                    text[:cut],
                    "stop" if ended or cut is not None else "length",
                    len(one.ids),
                    len(tokens),
                    latency_s=seconds,
                    logprobs={answer: found.said[answer] for answer in found.tokens}
                    if one.request.top_logprobs
                    else None,
                )
            )
        return replies


@dataclass(frozen=True)
class _First:
    """Answers of one token at the first position: their tokens, and their log-probabilities once they are known."""

    tokens: dict[str, int]
    said: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """A request as the model is given it."""

    request: Request
    text: str
    ids: tuple[int, ...]

    def wanted(self, lm: LanguageModel) -> _First:
        """The answers that are one token behind this prompt; others have no log-probability."""
        tokens = {}
        for answer in self.request.top_logprobs:
            whole, _ = tokenised(lm, self.text + answer)
            if whole[:-1] == self.ids:
                tokens[answer] = whole[-1]
        return _First(tokens)


def _prompt(lm: LanguageModel, request: Request) -> str:
    """The text that is continued. Raises ModelError for roles that the chat template refuses."""
    texts = [sendable(text) for _, text in request.messages]
    role = request.messages[-1][0]
    if role == "raw":
        return texts[-1]
    if lm.prompts and role == "user":
        texts[-1] = lm.prompts.prompt(texts[-1])
    if not lm.chat:
        return "\n".join(texts)
    turns = [{"role": role, "content": text} for (role, _), text in zip(request.messages, texts, strict=True)]
    begun = role == "assistant"
    try:
        text: str = lm.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
        )
    except TemplateError as error:
        raise ModelError(
            f"the model's chat template refuses the roles {', '.join(t['role'] for t in turns)} ({error})"
        ) from error
    return text


def _choosing(asked: Sequence[_Asked], lengths: Sequence[int], first: Sequence[_First]) -> Choose:
    """Greedy where the temperature is 0, else drawn from the nucleus (Holtzman et al. 2019, arXiv 1904.09751): the
    fewest tokens that hold `top_p` of the probability, each request with draws of its own."""
    draws = [
        rng(one.request.seed or 0, "chat", one.request.key).random(length if one.request.temperature > 0 else 0)
        for one, length in zip(asked, lengths, strict=True)
    ]

    def choose(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        if step == 0:
            likely = logits.log_softmax(-1)
            for k, row in enumerate(rows):
                for answer, token in first[row].tokens.items():
                    first[row].said[answer] = float(likely[k, token])
        picked = logits.argmax(-1)
        drawn = [k for k, row in enumerate(rows) if step < len(draws[row])]
        if not drawn:
            return picked
        of = [asked[rows[k]].request for k in drawn]
        warmth, top_p = (
            torch.tensor(v, dtype=torch.double)[:, None] for v in ([r.temperature for r in of], [r.top_p for r in of])
        )
        draw = torch.tensor([draws[rows[k]][step] for k in drawn], dtype=torch.double)[:, None]
        # On the CPU: not every device has double precision.
        ordered, order = (logits[drawn].cpu().double() / warmth).sort(dim=-1, descending=True, stable=True)
        likely = ordered.softmax(-1)
        outside = likely.cumsum(-1) - likely >= top_p
        outside[:, 0] = False
        likely = likely.masked_fill(outside, 0)
        below = likely.cumsum(-1)
        place = (below <= draw * below[:, -1:]).sum(-1, keepdim=True)
        picked[drawn] = order.gather(-1, place)[:, 0].to(picked.device)
        return picked

    return choose
