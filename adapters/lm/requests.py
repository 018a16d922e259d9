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
