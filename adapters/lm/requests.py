"""What an editor is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EditRequest:
    """One fact to be changed: after `prompt` the model shall say `target_new`."""

    id: str
    prompt: str
    subject: str
    target_new: str
    target_true: str | None = None
    """What the world says; CounterFact's metrics compare the two. In detoxification, what an unsafe model says."""
    relation: str = ""
    fact: str = ""
    """Which fact is changed: two requests of one fact contradict each other. The prompt, where it is empty."""
    keep: tuple[tuple[str, str], ...] = ()
    """Prompts and answers that shall stay as they are, for methods that are constrained by some."""

    @property
    def fact_id(self) -> str:
        """See `fact`."""
        return self.fact or self.prompt
