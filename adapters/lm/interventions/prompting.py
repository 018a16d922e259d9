"""Tell the model to be careful, decode against a bad example, or do not ask it at all: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from . import Intervention

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from . import State


class Prompt(Intervention):
    """Texts before and behind every prompt: safety prompts, self-reminders (Xie et al. 2023), a suffix by itself."""

    type: Literal["prompt"]
    before: str = ""
    after: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> Prompt:
        if not self.before and not self.after:
            raise ValueError("say what stands `before` or `after` a prompt")
        return self

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of prompts."""
        from ..patch import Patch
        from ..prompts import Around

        return Patch(prompts=Around(self.before, self.after)), state


class FixedAnswer(Intervention):
    """The same answer to everything: refusing everything is perfectly safe and perfectly useless."""

    yields: ClassVar[str] = "decoding"
    type: Literal["fixed_answer"]
    text: Annotated[str, Field(min_length=1)]

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of decoding."""
        from ..decoding import Fixed
        from ..patch import Patch

        return Patch(decoding=Fixed(self.text)), state


class SelfDebias(Intervention):
    """Self-Debias (Schick et al. 2021, arXiv 2103.00453): see lm/decoding.py. The floor is the released code's."""

    yields: ClassVar[str] = "decoding"
    type: Literal["self_debias"]
    prefixes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Texts that announce what is unwanted, each put before the prompt; of several the loudest counts."""
    decay: Annotated[float, Field(gt=0)] = 50.0
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.01

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of decoding."""
        from ..decoding import Debiased
        from ..patch import Patch

        return Patch(decoding=Debiased(self.prefixes, self.decay, self.floor)), state
