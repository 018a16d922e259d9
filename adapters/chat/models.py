"""What every model that is asked in words can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from ...components import Resource
from ...errors import UsageError
from .requests import Reply, Request

if TYPE_CHECKING:
    from .params import Prices


class ChatModel(Resource, Protocol):
    """A `Resource` that answers."""

    @property
    def fingerprint(self) -> str:
        """What it is: replies are journaled under it."""
        ...

    @property
    def prices(self) -> Prices | None:
        """What its tokens cost, if that is known."""
        ...

    @property
    def paid(self) -> bool:
        """Whether a reply costs money or time, and is journaled. One that is read from a file is not."""
        ...

    def started(self) -> ChatModel:
        """The same model at the start of a run: a script from its beginning, an endpoint that is not known as down."""
        ...

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The reply to each request with its number, as they come. What fails for one request is a `Reply` with an
        `error`; raises ModelError for what fails for all."""
        ...


def chat_model(opened: Resource, fingerprint: str) -> ChatModel:
    """An opened model, to be asked in words; a language model of adapters/lm can be, too. `fingerprint`: of a language
    model in its state, its dtype and device included. Raises UsageError for anything else."""
    if hasattr(opened, "answer"):
        return opened  # type: ignore[return-value]
    from ..lm.model import LanguageModel
    from .in_process import InProcess

    if not isinstance(opened, LanguageModel):
        raise UsageError(
            f"a {type(opened).__name__} cannot be asked in words; a chat_model or language_model is needed"
        )
    return InProcess(opened, fingerprint)
