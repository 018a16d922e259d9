"""Questions to a model, in words: from the journal where it has the reply, with an account of all that was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .journal import Journal
from .models import ChatModel
from .requests import Reply, Request
from .structured import Structured, again, checked


@dataclass
class Account:
    """What was asked, and what it cost. A request that failed costs nothing that could be known."""

    requests: int = 0
    """All that were asked for."""
    from_journal: int = 0
    """Of these, answered without asking the model: by the journal, or since the same was asked twice at once."""
    retries: int = 0
    """Attempts beside the first, of all requests."""
    errors: dict[str, int] = field(default_factory=dict)
    """Requests without an answer, by `Reply.kind`."""
    prompt_tokens: int | None = 0
    """Of the answers that were asked for now; None when one does not tell."""
    completion_tokens: int | None = 0
    cost: float | None = 0.0
    """Of the same, in `currency`; None when the price of one is not known."""
    cost_before: float | None = 0.0
    """Of the answers from the journal, as it was when they were paid."""
    currency: str | None = None
    reasked: int = 0
    """Answers that broke their schema and were asked for once more."""
    unparsed: int = 0
    """Of these, answers that broke it again."""

    def add(self, reply: Reply) -> None:
        """Count one reply that was asked for now."""
        self.retries += reply.retries
        if reply.error:
            self.errors[reply.kind] = self.errors.get(reply.kind, 0) + 1
            return
        self.prompt_tokens = _sum(self.prompt_tokens, reply.prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, reply.completion_tokens)
        self.cost = _sum(self.cost, reply.cost)

    def add_known(self, reply: Reply) -> None:
        """Count one that the journal held."""
        self.from_journal += 1
        self.cost_before = _sum(self.cost_before, reply.cost)

    def to_json(self) -> dict[str, Any]:
        """For a cell's `facts`."""
        return {**asdict(self), "errors": dict(sorted(self.errors.items()))}


@dataclass
class Asking:
    """A model that is asked during one run. Replies of a model that is `paid` go through the journal."""

    model: ChatModel
    journal: Journal | None = None
    progress: Callable[[Account], None] = lambda account: None
    """Told after every reply."""
    account: Account = field(default_factory=Account, init=False)

    def __post_init__(self) -> None:
        self.model = self.model.started()
        self.account.currency = self.model.prices.currency if self.model.prices else None

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """The reply to each request, in their order, whatever the order in which they come; what has no answer is a
        `Reply` with an `error`, which a later run asks again. Raises ModelError, RunError."""
        found: dict[str, Reply] = {}
        missing: dict[str, Request] = {}
        for request in requests:
            self.account.requests += 1
            key = request.key
            if key in found or key in missing:
                self.account.from_journal += 1
            elif known := self._known(key):
                found[key] = known
                self.account.add_known(known)
            else:
                missing[key] = request
        asked = list(missing.values())
        for i, reply in self.model.answer(asked):
            found[asked[i].key] = self._taken(asked[i], reply)
            self.progress(self.account)
        return [found[request.key] for request in requests]

    def forget(self, requests: Sequence[Request]) -> None:
        """Let a later run ask for these again: their replies turned out to be of no use."""
        for request in requests:
            if self.journal and self.model.paid:
                self.journal.forget(self.model.fingerprint, request)

    def structured(
        self, requests: Sequence[Request], check: Callable[[Any], str] = lambda value: ""
    ) -> list[Structured]:
        """JSON values that follow each request's `schema`, whether the endpoint knows schemas or not. What breaks it,
        or of which `check` says what is wrong with it, is asked for once more, with the reason."""
        first = [checked(r, reply, check) for r, reply in zip(requests, self.ask(requests), strict=True)]
        broken = [i for i, answer in enumerate(first) if answer.wrong and not answer.reply.error]
        second = [again(requests[i], first[i]) for i in broken]
        self.account.reasked += len(broken)
        for i, request, reply in zip(broken, second, self.ask(second), strict=True):
            first[i] = checked(request, reply, check)
            self.account.unparsed += bool(first[i].wrong and not reply.error)
        return first

    def _known(self, key: str) -> Reply | None:
        return self.journal.get(self.model.fingerprint, key) if self.journal and self.model.paid else None

    def _taken(self, request: Request, reply: Reply) -> Reply:
        """A reply with its price, journaled before anybody sees it."""
        if reply.from_journal:
            self.account.add_known(reply)
            return reply
        if self.model.prices and not reply.error:
            reply = replace(reply, cost=self.model.prices.cost(reply.prompt_tokens, reply.completion_tokens))
        if self.journal and self.model.paid and not reply.error:
            self.journal.add(self.model.fingerprint, request, reply)
        self.account.add(reply)
        return reply


def _sum(total: Any, value: Any) -> Any:
    """The sum, to 12 digits behind the point, so that it does not depend on the order; None with anything unknown."""
    return None if total is None or value is None else round(total + value, 12)
