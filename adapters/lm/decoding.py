"""Ways of choosing the next token that ask the model more than once, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch

from .forward import Tokens
from .generation import continued
from .model import LanguageModel
from .patch import LowRank, Patch, stacked


@dataclass(frozen=True)
class Voice:
    """The model as it is asked beside itself: behind another prompt, with another change of its weights."""

    before: str = ""
    """What stands before the prompt."""
    deltas: Mapping[str, LowRank] = field(default_factory=dict)


class Decoding(Protocol):
    """A way of choosing."""

    type: ClassVar[str]

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Who is asked beside the model itself; all of them hear every token that is chosen."""
        ...

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """From logits of shape (prompts, 1 + voices, vocabulary), the model's own first, what the highest of is
        chosen, shape (prompts, vocabulary)."""
        ...

    def scaled(self, strength: float) -> Decoding | None:
        """The same at a part of its strength; None where it has none."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it has learned."""
        ...

    def options(self) -> dict[str, Any]:
        """The rest, as JSON data without a key `type`."""
        ...

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Decoding:
        """What `tensors` and `options` were taken from."""
        ...


@dataclass(frozen=True)
class Fixed:
    """The same answer to everything."""

    type: ClassVar[str] = "fixed"
    text: str

    def scaled(self, strength: float) -> Fixed | None:
        return None

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def options(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Fixed:
        return cls(**options)


@dataclass(frozen=True)
class Experts:
    """DExperts (Liu et al. 2021, arXiv 2105.03023): z + alpha (z_expert − z_anti), inside of the model's own nucleus.

    Tokens outside of the smallest set that holds `top_p` of the model's own probability are never chosen.
    """

    type: ClassVar[str] = "experts"
    expert: Mapping[str, LowRank]
    anti: Mapping[str, LowRank]
    alpha: float
    top_p: float

    @property
    def voices(self) -> tuple[Voice, ...]:
        return Voice(deltas=self.expert), Voice(deltas=self.anti)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        own, expert, anti = logits.unbind(1)
        ordered, order = own.softmax(-1).sort(dim=-1, descending=True, stable=True)
        # What comes before a token decides, so that the one which crosses the bound is still inside.
        outside = (ordered.cumsum(-1) - ordered >= self.top_p).gather(-1, order.argsort(-1))
        if self.top_p == 1:
            # The rounded sum may reach 1 before the last tokens.
            outside = torch.zeros_like(outside)
        return (own + self.alpha * (expert - anti)).masked_fill(outside, -torch.inf)

    def scaled(self, strength: float) -> Experts:
        return replace(self, alpha=self.alpha * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {
            f"{who}:{side}:{name}": getattr(delta, side)
            for who in ("expert", "anti")
            for name, delta in getattr(self, who).items()
            for side in ("left", "right")
        }

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "top_p": self.top_p}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Experts:
        sides: dict[str, dict[str, LowRank]] = {"expert": {}, "anti": {}}
        for key in tensors:
            who, side, name = key.split(":", 2)
            if side == "left":
                sides[who][name] = LowRank(tensors[key], tensors[f"{who}:right:{name}"])
        return cls(sides["expert"], sides["anti"], **options)


@dataclass(frozen=True)
class Debiased:
    """Self-Debias (Schick et al. 2021, arXiv 2103.00453): a token that a text which announces the unwanted makes more
    likely is scaled down by max(exp(decay · Δ), floor), where Δ < 0 is how much less likely it is without that text."""

    type: ClassVar[str] = "debiased"
    prefixes: tuple[str, ...]
    decay: float
    floor: float

    @property
    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(before=prefix) for prefix in self.prefixes)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        probabilities = logits.softmax(-1)
        own, announced = probabilities[:, 0], probabilities[:, 1:].amax(1)
        change = (self.decay * (own - announced)).exp().clamp(min=self.floor)
        return torch.where(own >= announced, own, own * change)

    def scaled(self, strength: float) -> Debiased:
        return replace(self, decay=self.decay * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def options(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Debiased:
        return cls(**{**options, "prefixes": tuple(options["prefixes"])})


DECODINGS: dict[str, Any] = {kind.type: kind for kind in (Fixed, Experts, Debiased)}


def chosen(
    lm: LanguageModel,
    how: Decoding,
    prompts: Sequence[Sequence[Tokens]],
    lengths: Sequence[int],
    batch_size: int,
    stop: frozenset[int],
    openings: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Continuations of each prompt, `prompts[i]` as the model itself and as each voice is asked it; the last
    `openings[i]` tokens of it belong to the answer."""
    count = 1 + len(how.voices)

    def choose(logits: torch.Tensor, rows: list[int], step: int) -> torch.Tensor:
        # Stable ties: the first of the highest, as everywhere.
        picked = how.scores(logits.reshape(-1, count, logits.shape[-1])).argmax(-1)
        return picked.repeat_interleave(count)

    flat = [row for asked in prompts for row in asked]
    most, own = ([n for n in some for _ in range(count)] for some in (lengths, openings or [0] * len(prompts)))
    owners = list(range(count)) * len(prompts)
    with stacked(lm, [Patch(), *(Patch(voice.deltas) for voice in how.voices)]):
        found = continued(lm, flat, most, batch_size, choose, owners, stop, own, together=count)
    return found[::count]
