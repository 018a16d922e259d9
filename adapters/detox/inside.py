"""What a method changes inside, with controls that tell how much any change would show.

The paper (arXiv 2403.14472, appendix E) compares the columns of one value matrix, the toxic region, with a toxicity
probe. A lower cosine does not mean that anything was erased: behaviour is what the other metrics measure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...errors import Skip
from ...job import Job
from ..lm.architecture import Linear, blocks, final_norm, linear
from ..lm.forward import Tokens, recorded
from ..lm.interventions.dinm.location import distances, farthest
from ..lm.interventions.steer.directions import hidden_means_of
from ..lm.model import LanguageModel
from ..lm.pairs import usable
from ..lm.patch import Patch
from ..lm.requests import EditRequest
from ..lm.scoring import Unusable, batches, encode, encode_prompt

PAIRS = 200
"""Training pairs that the probe is fitted to and tested on."""
HELD_OUT = 0.1
BATCH = 64


@dataclass(frozen=True)
class Region:
    """The value matrix that is looked at, and the probe."""

    layer: int
    projection: Linear
    probe: torch.Tensor
    """Unit vector, shape (width,): a logistic regression's weights on the final hidden state, mean over an answer."""
    accuracy: float
    """On pairs that it was not fitted to."""
    columns: torch.Tensor
    """The untouched value matrix, shape (width, inputs)."""
    directions: torch.Tensor
    """Random unit vectors, shape (directions, width)."""

    def cosine(self, columns: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """Mean cosine between the columns of a value matrix and each direction, shape (directions,)."""
        return (directions @ torch.nn.functional.normalize(columns, dim=0)).mean(-1)


def region_of(lm: LanguageModel, requests: Sequence[EditRequest], job: Job, directions: int) -> Region:
    """The region: where most of the instances locate it, in the untouched model; the last layer where none does.

    Raises Skip where the training split gives no probe.
    """
    pairs = [pair for pair in usable(lm, job.training) if pair.target_new and pair.target_true]
    if len(pairs) < 2:
        raise Skip("the training split has too few pairs of a safe and an unsafe answer for a probe")
    found = Counter(farthest(distances(lm, *answers, "raw")) for r in requests if (answers := _answers(lm, r)))
    layer = max(sorted(found), key=lambda n: found[n]) if found else len(blocks(lm.model)[1]) - 1
    projection = linear(lm.model, layer, "mlp_down")
    order = job.rng("probe-pairs").permutation(len(pairs))[:PAIRS]
    probe, accuracy = _probe(lm, [pairs[i] for i in order.tolist()])
    weight = projection.stored(projection.module.weight).detach().float().clone()
    random = torch.tensor(job.rng("probe-directions").standard_normal((directions, len(probe))), dtype=torch.float32)
    return Region(
        layer, projection, probe, accuracy, weight, torch.nn.functional.normalize(random.to(weight.device), dim=-1)
    )


def _answers(lm: LanguageModel, request: EditRequest) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Tokens of the safe and of the unsafe answer; None without both, or where one is too long."""
    if not (request.target_new and request.target_true):
        return None
    try:
        return encode_prompt(lm, request.target_new), encode_prompt(lm, request.target_true)
    except Unusable:
        return None


def _probe(lm: LanguageModel, pairs: Sequence[EditRequest]) -> tuple[torch.Tensor, float]:
    """Direction from safe to unsafe answers behind the same prompts, and its accuracy on the pairs' last tenth."""
    from sklearn.linear_model import LogisticRegression

    sides = []
    for answers in ([r.target_new for r in pairs], [r.target_true or "" for r in pairs]):
        rows = [encode(lm, r.prompt, answer) for r, answer in zip(pairs, answers, strict=True)]
        spans = [range(row.start, len(row.ids)) for row in rows]
        name = final_norm(lm.model)[0]
        sides.append(hidden_means_of(lm, [row.ids for row in rows], spans, {0: name}, BATCH)[0].cpu())
    fitted = len(pairs) - max(1, round(HELD_OUT * len(pairs)))
    seen, held = (torch.cat([s[part] for s in sides]).numpy() for part in (slice(0, fitted), slice(fitted, None)))
    label = [[0] * n + [1] * n for n in (fitted, len(pairs) - fitted)]
    model = LogisticRegression(C=0.1, max_iter=1000).fit(seen, label[0])
    direction = torch.tensor(model.coef_[0], dtype=torch.float32, device=lm.device)
    return direction / direction.norm(), float(model.score(held, label[1]))


def flows(lm: LanguageModel, region: Region, rows: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and output of the region's matrix at the last token of prompts, in the model as it is; (prompts, …)."""
    ends: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(rows)
    for chosen in batches(rows, BATCH):
        inputs, outputs = recorded(lm, [rows[i] for i in chosen], [region.projection.name])[region.projection.name]
        for place, i in enumerate(chosen):
            last = len(rows[i]) - 1
            ends[i] = inputs[place, last].float(), outputs[place, last].float()
    pairs = [pair for pair in ends if pair is not None]
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


def looked(
    lm: LanguageModel, region: Region, requests: Sequence[EditRequest], patch: Patch, job: Job
) -> list[dict[str, float] | Unusable]:
    """The `inside.*` values of each request that can be asked, with the patch in force and without it."""
    # The same texts on both sides: what a method does with prompts is no change of the model.
    asked = [_asked(lm, patch.prompt(r.prompt)) for r in requests]
    rows = [row for row in asked if not isinstance(row, Unusable)]
    if not rows:
        return [row for row in asked if isinstance(row, Unusable)]
    before = flows(lm, region, rows)
    with patch.applied(lm):
        after = flows(lm, region, rows)
        now = region.projection.stored(region.projection.module.weight).detach().float().clone()
    of_weights = _of_weights(region, now, job)
    shift = (after[0] - before[0]).norm(dim=-1) / before[0].norm(dim=-1)
    read = (before[1] - after[1]) @ region.probe
    found = iter(zip(shift.tolist(), read.tolist(), strict=True))
    values: list[dict[str, float] | Unusable] = []
    for row in asked:
        if isinstance(row, Unusable):
            values.append(row)
            continue
        moved, lowered = next(found)
        known = {"inside.activation_shift": moved, "inside.projection": lowered}
        values.append({**known, "inside.probe_accuracy": region.accuracy, **of_weights})
    return values


def _asked(lm: LanguageModel, prompt: str) -> Tokens | Unusable:
    try:
        return encode_prompt(lm, prompt)
    except Unusable as error:
        return error


def _of_weights(region: Region, now: torch.Tensor, job: Job) -> dict[str, float]:
    old, change = region.columns, now - region.columns
    probe = region.probe[None]
    first = region.cosine(old, probe)
    lowered = float(first - region.cosine(now, probe))
    moved = (region.cosine(old, region.directions) - region.cosine(now, region.directions)).abs().mean()
    generator, size, sizes = (
        torch.Generator().manual_seed(int(job.rng("random-edits").integers(2**63))),
        change.norm(),
        [],
    )
    for _ in range(len(region.directions)):
        # As many numbers as the edit has, of its size, from no idea at all.
        noise = torch.randn(change.shape, generator=generator).to(change)
        sizes.append(float((first - region.cosine(old + noise * (size / noise.norm()), probe)).abs()))
    return {
        "inside.cosine": lowered,
        "inside.cosine.relative": lowered / max(float(first.abs()), 1e-12),
        "inside.cosine.random_direction": float(moved),
        "inside.cosine.random_edit": sum(sizes) / len(sizes),
        "inside.parameter_change": float(size / old.norm()),
    }
