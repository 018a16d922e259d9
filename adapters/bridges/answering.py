"""A language model, changed by a patch, as lm-eval asks one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from lm_eval.api.model import LM

from ...errors import DataError, Skip
from ..lm.decoding import Fixed, chosen
from ..lm.generation import greedy
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Row, tokenised
from .likelihood import likelihoods, windows
from .texts import check_greedy


class Answering(LM):
    """Answers lm-eval's three kinds of request; the patch must be applied while it does.

    What the patch does with prompts is done with the context of every request, also an empty one; how it chooses tokens
    shows in texts, log-probabilities are those of the changed weights. Texts become tokens as lm-eval's own models do
    it: context and continuation as one text, white space at the end of the context belongs to the continuation. A model
    with a chat template sees description, examples and question as one turn of the user's.
    """

    def __init__(self, lm: LanguageModel, patch: Patch, batch_size: int) -> None:
        super().__init__()
        self.lm, self.patch, self.batch_size = lm, patch, batch_size
        self.cut: set[tuple[str, int]] = set()
        """Task and number of the documents whose context was longer than the model's, and was cut at the left."""
        self._turns: dict[str, list[str]] = {}

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-probability in nats of each continuation, and whether greedy decoding gives it. Raises DataError."""
        rows = [self._row(request) for request in requests]
        for row, request in zip(rows, requests, strict=True):
            # The last token of a row is not read.
            if len(row.ids) > self.lm.context + 1:
                self.cut.add((request.task_name, request.doc_id))
        return self._likelihoods(rows)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Log-probability in nats of each text, every token given those before it that fit. Raises DataError."""
        rows = []
        for request in requests:
            (text,) = request.args
            before = self._given("")
            rows.append(self._joined(before, text, request) if before else self._begun(tokenised(self.lm, text)[0]))
        return [total for total, _ in self._likelihoods(rows)]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What the model writes behind each context, up to its `until`. Raises DataError, Skip."""
        texts: dict[int, str] = {}
        wanted = [check_greedy(request.args[1], request.task_name) for request in requests]
        for until in dict.fromkeys(w.until for w in wanted):
            some = [i for i, w in enumerate(wanted) if w.until == until]
            written = self._written([requests[i] for i in some], [wanted[i].tokens for i in some], until)
            texts.update({i: self._text(tokens, until) for i, tokens in zip(some, written, strict=True)})
        return [texts[i] for i in range(len(requests))]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """One turn of the user's, and the beginning of the answer where the task writes it."""
        begun = [turn for turn in chat_history[-1:] if turn["role"] == "assistant"]
        said = "\n\n".join(turn["content"] for turn in chat_history[: len(chat_history) - len(begun)])
        texts: list[str] = [
            self.lm.tokenizer.apply_chat_template(
                [{"role": "user", "content": self._given(said, before)}, *begun],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
            for before in self._befores
        ]
        self._turns[texts[0]] = texts
        return texts[0]

    @property
    def tokenizer_name(self) -> str:
        """Part of the name of lm-eval's cache of requests, which is never used."""
        return ""

    @cached_property
    def _befores(self) -> list[str]:
        """What stands before a prompt: nothing, and what each further voice of the patch's decoding hears."""
        how = self.patch.decoding
        return [""] if how is None or isinstance(how, Fixed) else ["", *(voice.before for voice in how.voices)]

    def _given(self, context: str, before: str = "") -> str:
        """The context as the model is given it."""
        text = before + self.patch.prompt(context)
        return self.lm.prompts.prompt(text) if self.lm.prompts else text

    def _asked(self, context: str) -> list[str]:
        """The same for the model and each further voice; what went through the chat template is finished."""
        return self._turns.get(context) or [self._given(context, before) for before in self._befores]

    def _row(self, request: Any) -> Row:
        context, continuation = self._asked(request.args[0])[0], request.args[1]
        if context:
            return self._joined(context, continuation, request)
        ids = self.lm.tokenizer(continuation, add_special_tokens=False, verbose=False)["input_ids"]
        if not ids:
            raise _nothing(request)
        return Row(tuple(ids), 1) if len(ids) > 1 and ids[0] == self._prefix else self._begun(ids)

    def _joined(self, context: str, continuation: str, request: Any) -> Row:
        ids, spans = tokenised(self.lm, context + continuation)
        start = len(tokenised(self.lm, context.rstrip())[0])
        if start >= len(ids):
            # The two share a token.
            start = next((i for i, (_, end) in enumerate(spans) if end > len(context)), len(ids))
        if start == len(ids):
            raise _nothing(request)
        return Row(ids, start) if start else self._begun(ids)

    def _begun(self, ids: Sequence[int]) -> Row:
        """A text with nothing before it."""
        return Row((self._prefix, *ids), 1)

    def _likelihoods(self, rows: Sequence[Row]) -> list[tuple[float, bool]]:
        parts = [list(windows(row, self.lm.context + 1)) for row in rows]
        found = iter(likelihoods(self.lm, [part for own in parts for part in own], self.batch_size))
        own = [[next(found) for _ in some] for some in parts]
        return [(sum(total for total, _ in some), all(said for _, said in some)) for some in own]

    def _written(
        self, requests: Sequence[Any], lengths: Sequence[int], until: Sequence[str]
    ) -> Sequence[tuple[int, ...]]:
        """Tokens of the texts, the one that ends a text with them."""
        how = self.patch.decoding
        if isinstance(how, Fixed):
            ids = tuple(self.lm.tokenizer(how.text, add_special_tokens=False)["input_ids"])
            return [ids[:length] for length in lengths]
        prompts = [self._prompts(request, length) for request, length in zip(requests, lengths, strict=True)]
        stop = self._ends | self._reaching(until)
        if how is not None:
            return chosen(self.lm, how, prompts, lengths, self.batch_size, stop)
        return greedy(self.lm, [own[0] for own in prompts], lengths, self.batch_size, stop=stop)

    def _prompts(self, request: Any, length: int) -> list[tuple[int, ...]]:
        room = self.lm.context - length
        if room < 1:
            raise Skip(
                f"lm-eval task {request.task_name!r}: texts of up to {length} tokens leave no room for a prompt "
                f"in this model's context of {self.lm.context}; lower `max_gen_toks` in a copy of the task"
            )
        prompts = [tokenised(self.lm, text)[0] or (self._prefix,) for text in self._asked(request.args[0])]
        if any(len(ids) > room for ids in prompts):
            self.cut.add((request.task_name, request.doc_id))
        return [ids[-room:] for ids in prompts]

    def _text(self, tokens: Sequence[int], until: Sequence[str]) -> str:
        end = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        text: str = self.lm.tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return text[: min((at for u in until if (at := text.find(u)) >= 0), default=len(text))]

    def _reaching(self, until: Sequence[str]) -> frozenset[int]:
        """Tokens behind which nothing is read, since they hold what ends a text. Where that is spread over several
        tokens, the text is written to its full length and cut."""
        words = _words(self.lm.tokenizer, len(self.lm.tokenizer)) if until else ()
        return frozenset(i for i, word in enumerate(words) if any(u in word for u in until))

    @cached_property
    def _prefix(self) -> int:
        """What stands before a text that has nothing before it."""
        for token in (self.lm.tokenizer.bos_token_id, self.lm.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise Skip("the tokenizer has no token for the beginning or the end of a text")

    @cached_property
    def _ends(self) -> frozenset[int]:
        """Tokens that end every text."""
        said = getattr(getattr(self.lm.model, "generation_config", None), "eos_token_id", None)
        some = said if isinstance(said, list) else [said]
        return frozenset(int(t) for t in (*some, self.lm.tokenizer.eos_token_id) if t is not None)


@lru_cache(maxsize=1)
def _words(tokenizer: Any, count: int) -> tuple[str, ...]:
    """The text of every token; of a large vocabulary it takes a second."""
    return tuple(tokenizer.decode([i]) for i in range(count))


def _nothing(request: Any) -> DataError:
    return DataError(f"lm-eval task {request.task_name!r}, document {request.doc_id}: nothing to be scored has a token")
