"""Clean and corrupt prompts as tokens, and batches of them without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Pair:
    """A prompt, the same with what matters exchanged, and what answers tell them apart."""

    id: str
    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    """As long as `clean`, position by position; empty where there is none (zero and mean ablation need none)."""
    answer: tuple[int, ...]
    """Tokens that are right after `clean`; several where any of them is (the years after a given one)."""
    wrong: tuple[int, ...]
    """Tokens that are wrong after `clean`, and mostly right after `corrupt`."""


@dataclass(frozen=True)
class Batch:
    """Pairs of one length."""

    places: tuple[int, ...]
    """Where they are in the list of all pairs."""
    clean: torch.Tensor
    """Tokens, shape (pairs, positions)."""
    corrupt: torch.Tensor
    """The same, or shape (pairs, 0)."""
    answer: torch.Tensor
    """Token ids, shape (pairs, most answers), filled up with -1."""
    wrong: torch.Tensor

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, chosen: torch.Tensor) -> Batch:
        """These of its pairs, in this order and as often; `chosen` of shape (rows,)."""
        places = tuple(self.places[int(i)] for i in chosen)
        return Batch(places, self.clean[chosen], self.corrupt[chosen], self.answer[chosen], self.wrong[chosen])


def batches(pairs: Sequence[Pair], size: int, device: torch.device) -> Iterator[Batch]:
    """Pairs of equal length together, at most `size` at once, so that none is padded."""
    lengths = sorted({len(pair.clean) for pair in pairs})
    for length in lengths:
        places = [i for i, pair in enumerate(pairs) if len(pair.clean) == length]
        # A pair without a corrupt prompt is no batch with one that has it.
        for has in (True, False):
            some = [i for i in places if bool(pairs[i].corrupt) == has]
            for start in range(0, len(some), size):
                yield _batch(pairs, tuple(some[start : start + size]), device)


def _batch(pairs: Sequence[Pair], places: tuple[int, ...], device: torch.device) -> Batch:
    found = [pairs[i] for i in places]
    return Batch(
        places,
        torch.tensor([pair.clean for pair in found], device=device),
        torch.tensor([pair.corrupt for pair in found], device=device, dtype=torch.long),
        _filled([pair.answer for pair in found], device),
        _filled([pair.wrong for pair in found], device),
    )


def _filled(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    most = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (most - len(row))] for row in rows], device=device, dtype=torch.long)
