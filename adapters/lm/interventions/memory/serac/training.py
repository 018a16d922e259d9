"""How SERAC's classifier learns what is in the scope of a request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ......canonical import digest
from ......errors import Skip
from ......job import Job
from ....requests import EditRequest
from ....retrieval import embedding
from ....scope import Features
from ...hypernetwork.training import order_of

if TYPE_CHECKING:
    from .params import Serac

VERSION = 1
"""Raised when the same arguments give another classifier; part of the key of the artifact."""
NEAREST = 1e-6
"""Smallest squared distance that counts for a text outside: the logarithm of no probability at all is infinite."""


@dataclass(frozen=True)
class Example:
    """A training request, and prompts in and out of its scope."""

    prompt: str
    inside: tuple[str, ...]
    """Other prompts of the same subject and target."""
    kept: tuple[str, ...]
    """What it keeps."""
    fact: tuple[str, str]


def examples(requests: Sequence[EditRequest]) -> list[Example]:
    """The requests that have other prompts."""
    alike: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for r in requests:
        alike[r.subject, r.target_new][r.prompt] = None
    found = []
    for r in requests:
        fact = r.subject, r.target_new
        inside = tuple(prompt for prompt in alike[fact] if prompt != r.prompt)
        kept = tuple(prompt for prompt, _ in r.keep if prompt not in alike[fact])
        found.append(Example(r.prompt, inside, kept, fact))
    return [example for example in found if example.inside]


def features(spec: Serac, job: Job) -> Features:
    """What the classifier sees. Raises ModelError."""
    if spec.encoder.type == "words":
        return Features(size=spec.encoder.places)
    model = str(job.files["algorithm"]["encoder.weights"].parent)
    return Features("sentence", len(embedding("", model)), model)


def trained(spec: Serac, job: Job) -> np.ndarray:
    """The weight of φ, an artifact of shape (size of the features, width), float32. Raises Skip, ModelError."""
    found = examples(job.training)
    if not found:
        what = "with several prompts for one fact" if job.training else "and the task offers none"
        raise Skip(f"SERAC's classifier learns from a training split {what}")
    seen = features(spec, job)
    encoder = job.files["algorithm"]["encoder.weights"].read_bytes() if seen.type == "sentence" else b""
    key = {
        "seed": job.seed,
        "data": digest([[r.prompt, r.subject, r.target_new, [p for p, _ in r.keep]] for r in job.training]),
        "encoder": [seen.type, seen.size, digest(encoder)],
        "method": [spec.width, spec.spread, spec.training.model_dump(mode="json")],
        "version": VERSION,
    }
    stored = job.artifacts.get("serac-scope", key, lambda: _train(spec, seen, found, job))
    weight: np.ndarray = stored["weight"]
    return weight


def _train(spec: Serac, seen: Features, found: Sequence[Example], job: Job) -> dict[str, np.ndarray]:
    """The weight, and the loss of every update in nats."""
    draws = job.rng("serac-weight").standard_normal((seen.size, spec.width), dtype=np.float32)
    weight = torch.from_numpy(draws * np.float32(spec.spread / spec.width**0.5)).requires_grad_()
    optimizer, rng, losses = torch.optim.Adam([weight], lr=spec.training.lr), job.rng("serac-training"), []
    order = order_of(len(found), rng)
    with torch.enable_grad():
        for _ in range(spec.training.steps):
            pairs = [pair for _ in range(spec.training.batch) for pair in _pairs(found, next(order), rng)]
            first, second, inside = zip(*pairs, strict=True)
            apart = _phi(weight, seen, first) - _phi(weight, seen, second)
            loss = scope_loss(apart.square().sum(1), torch.tensor(inside))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return {"weight": weight.detach().numpy(), "losses": np.array(losses)}


def scope_loss(squares: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over pairs: -log g inside, -log(1 - g) outside, for g = exp(-squared distance)."""
    outside = -torch.log(-torch.expm1(-squares.clamp(min=NEAREST)))
    return torch.where(inside, squares, outside).mean()


def _pairs(found: Sequence[Example], number: int, rng: np.random.Generator) -> Iterator[tuple[str, str, bool]]:
    one = found[number]
    yield one.prompt, one.inside[rng.integers(len(one.inside))], True
    if one.kept:
        yield one.prompt, one.kept[rng.integers(len(one.kept))], False
    other = found[int(rng.integers(len(found)))]
    if other.fact != one.fact:
        yield one.prompt, other.prompt, False


def _phi(weight: torch.Tensor, seen: Features, texts: Sequence[str]) -> torch.Tensor:
    """Shape (texts, width)."""
    bags = [seen.of(text) for text in texts]
    places = torch.from_numpy(np.concatenate([places for places, _ in bags]))
    numbers = torch.from_numpy(np.concatenate([numbers for _, numbers in bags]))
    starts = torch.tensor([0, *np.cumsum([len(places) for places, _ in bags])[:-1]])
    return torch.nn.functional.embedding_bag(places, weight, starts, mode="sum", per_sample_weights=numbers)
