"""Change what the model is told instead of what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ....components import Algorithm

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest


class InContext(Algorithm):
    """Put the requested facts before every prompt: the ceiling of what telling can do, whatever is asked."""

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    yields: ClassVar[str] = "patch"
    type: Literal["in_context"]
    template: Annotated[str, Field(min_length=1)] = "{prompt} {target_new}. "
    """Text for each request; `{prompt}`, `{subject}` and `{target_new}` are filled in."""

    @field_validator("template")
    @classmethod
    def _can_be_filled(cls, template: str) -> str:
        try:
            template.format(prompt="", subject="", target_new="")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"{error} cannot be filled; known: {{prompt}}, {{subject}}, {{target_new}}") from error
        return template

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        """A patch with a prefix and no change of weights."""
        from ..patch import Patch

        prefix = "".join(
            self.template.format(prompt=r.prompt, subject=r.subject, target_new=r.target_new) for r in requests
        )
        return Patch(prefix=prefix), state
