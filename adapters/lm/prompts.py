"""What a patch does with a prompt before the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from .decomposing import Decomposing
from .recall import Recalled
from .scope import Scoped


class Prompts(Protocol):
    """A change of prompts."""

    type: ClassVar[str]

    def prompt(self, text: str) -> str:
        """What the model is given in place of `text`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Its content, as JSON data without a key `type`."""
        ...

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Prompts:
        """What `to_json` wrote."""
        ...


@dataclass(frozen=True)
class Around:
    """The same texts before and behind every prompt."""

    type: ClassVar[str] = "around"
    before: str = ""
    after: str = ""

    def prompt(self, text: str) -> str:
        return self.before + text + self.after

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Around:
        return cls(**data)


PROMPTS: dict[str, type[Prompts]] = {kind.type: kind for kind in (Around, Decomposing, Recalled, Scoped)}
