"""Causal tracing (Meng et al. 2022, arXiv 2202.05262, section 2): the subject is made noise, one state is put back.

As the authors' code does it: noise on the subject's token embeddings, the same for every restored state; a window of
blocks around the one it is shown at for MLP and attention; probabilities averaged over samples of noise. Unlike it: the
scale of the noise is taken from all token embeddings of the model, not from those of a data set's subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from ..architecture import block
from ..forward import replaced, tensor_of
from ..graph.targets import probability
from ..graph.values import last_logits, replacing_embedding
from ..graph.wiring import Wiring
from .passes import outputs, resumed_logits
from .roles import Span

Site: TypeAlias = Literal["stream", "mlp", "attention"]
"""What is restored: a block's output, its MLP's, its attention's (before a norm that follows)."""


@dataclass(frozen=True)
class Trace:
    """What restoring a state does."""

    clean: float
    """Probability of the answers."""
    corrupted: float
    """The same with a noisy subject, mean over samples."""
    effect: torch.Tensor
    """Indirect effect: how much of the probability comes back, shape (positions, blocks)."""

    @property
    def total_effect(self) -> float:
        """What the noise takes away."""
        return self.clean - self.corrupted


@dataclass(frozen=True)
class Corrupted:
    """A prompt and the same with a noisy subject."""

    wiring: Wiring
    site: Site
    tokens: torch.Tensor
    """Shape (samples, positions); all rows alike."""
    answers: torch.Tensor
    """Shape (samples, most); likewise."""
    embedded: torch.Tensor
    """The noisy embeddings, shape (samples, positions, width)."""
    states: tuple[torch.Tensor, ...]
    """What is restored, of each block, shape (positions, width)."""
    known: tuple[Any, ...]
    """What the blocks put out on the noisy prompt, rows: samples."""
    clean: float
    noisy: torch.Tensor
    """Probability of the answers, shape (samples,)."""


@torch.no_grad()
def spread(wiring: Wiring) -> float:
    """Standard deviation of the numbers in the embeddings of all tokens, as they enter the model."""
    module = wiring.embedding[1]
    total = square = 0.0
    count = 0
    for ids in torch.arange(module.weight.shape[0], device=wiring.lm.device).split(4096):
        made = module(ids[None]).double()
        total, square, count = total + float(made.sum()), square + float(made.square().sum()), count + made.numel()
    return float((square / count - (total / count) ** 2) ** 0.5)


@torch.no_grad()
def corrupted(
    wiring: Wiring, tokens: Sequence[int], answers: Sequence[int], span: Span, noise: torch.Tensor, site: Site
) -> Corrupted:
    """Run a prompt as it is and with `noise`, of shape (samples, subject tokens, width), on its subject."""
    device, samples = wiring.lm.device, len(noise)
    rows = torch.tensor([list(tokens)] * samples, device=device)
    wanted = torch.tensor([list(answers)] * samples, device=device)
    embedded: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    with ExitStack() as hooks:
        module = wiring.embedding[1]
        hooks.callback(module.register_forward_hook(lambda _, __, out: embedded.append(out.clone())).remove)
        for layer in range(wiring.graph.layers):
            keep = _module(wiring, site, layer).register_forward_hook(
                lambda _, __, out: states.append(tensor_of(out)[0].clone())
            )
            hooks.callback(keep.remove)
        clean = float(probability(last_logits(wiring, rows[:1]), wanted[:1])[0])
    value = embedded[0].repeat(samples, 1, 1)
    value[:, span[0] : span[1]] += noise.to(value)
    hook = replacing_embedding(wiring, value)
    try:
        known = outputs(wiring, rows)
        noisy = probability(last_logits(wiring, rows), wanted)
    finally:
        hook.remove()
    return Corrupted(wiring, site, rows, wanted, value, tuple(states), known, clean, noisy)


@torch.no_grad()
def restored(case: Corrupted, window: range, where: torch.Tensor, size: int) -> torch.Tensor:
    """Probability of the answers with states put back, shape (choices, samples).

    window: the blocks whose state is put back; where: at which positions, shape (choices, positions), of bool; size:
    rows in one pass.
    """
    wiring, samples = case.wiring, len(case.tokens)
    if not len(window):
        return case.noisy.repeat(len(where), 1)
    rows = torch.arange(len(where) * samples, device=case.tokens.device)
    found = []
    for some in rows.split(size):
        chosen, here = (some % samples).tolist(), where[some // samples]
        with ExitStack() as hooks:
            hooks.callback(replacing_embedding(wiring, case.embedded[chosen]).remove)
            for layer in window:
                handle = _module(wiring, case.site, layer).register_forward_hook(_putting(case.states[layer], here))
                hooks.callback(handle.remove)
            logits = resumed_logits(wiring, case.tokens, case.known, window.start, chosen)
        found.append(probability(logits, case.answers[:1].expand(len(some), -1)))
    return torch.cat(found).view(len(where), samples)


def window_of(block: int, width: int, blocks: int) -> range:
    """The blocks around one: width // 2 below, itself, and the rest above, as far as there are any."""
    return range(max(0, block - width // 2), min(blocks, block + (width + 1) // 2))


def trace(case: Corrupted, span: Span, width: int, size: int) -> Trace:
    """Restore every block (with a window of `width` blocks) at every position; `size`: rows in one pass."""
    length, blocks = case.tokens.shape[1], case.wiring.graph.layers
    baseline = float(case.noisy.mean())
    # Before the subject nothing is noise: what is put back is there already.
    effect = torch.zeros(length, blocks)
    where = torch.eye(length, dtype=torch.bool, device=case.tokens.device)[span[0] :]
    for number in range(blocks):
        found = restored(case, window_of(number, width, blocks), where, size)
        effect[span[0] :, number] = found.mean(1).cpu() - baseline
    return Trace(case.clean, baseline, effect)


def _module(wiring: Wiring, site: Site, layer: int) -> Any:
    if site == "stream":
        return block(wiring.lm.model, layer)[1]
    return wiring.layers[layer].mlp[1] if site == "mlp" else wiring.layers[layer].out.module


def _putting(state: torch.Tensor, where: torch.Tensor) -> Any:
    """A hook that puts a state of shape (positions, width) back; where: shape (rows, positions)."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        return replaced(output, torch.where(where[..., None], state, tensor_of(output)))

    return hook
