"""Knowledge neurons (Dai et al. 2022, arXiv 2104.08696): the MLP neurons that the probability of an answer rests on.

A neuron is an input of an MLP's output projection, at the prompt's last position. Its attribution is the integral of
the probability's gradient while the neurons of its block grow together from nothing to what they are, as the authors'
code has it (the formula of the paper moves one neuron alone). Behind a norm that follows the MLP (Gemma 2) the size of
what is written hardly matters, so that there the sum misses what happens next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ....errors import ModelError
from ..architecture import part
from ..graph.targets import log_probability, probability
from ..graph.values import last_logits
from ..graph.wiring import Wiring
from .passes import outputs, resumed_logits


def attribution(
    wiring: Wiring, tokens: torch.Tensor, answers: torch.Tensor, steps: int, size: int, *, raw: bool = False
) -> torch.Tensor:
    """Of every neuron, shape (rows, blocks, neurons), float32; at its sum over a block, about what the probability
    loses without the block's neurons.

    tokens: shape (rows, positions); answers: shape (rows, most), filled up with -1; steps: of the sum that stands for
    the integral, at 1/steps, 2/steps … 1 (equation 2 of the paper); size: rows in one pass. `raw`: as EasyEdit has it,
    of neurons before their activation (the gate, where there is one), with steps evenly from 0 to 1.
    """
    known, active = outputs(wiring, tokens), activations(wiring, tokens, raw=raw)
    shares = torch.linspace(0, 1, steps) if raw else torch.arange(1, steps + 1) / steps
    row, step = torch.meshgrid(torch.arange(len(tokens)), torch.arange(steps), indexing="ij")
    found = torch.zeros(active.shape, device=active.device)
    for layer in range(wiring.graph.layers):
        for rows, at in zip(row.flatten().split(size), shares[step.flatten()].split(size), strict=True):
            here, share = rows.to(active.device), at.to(active)
            point = (active[here, layer] * share[:, None]).requires_grad_()
            with torch.enable_grad(), _replacing(wiring, {layer: point}, raw=raw):
                logits = resumed_logits(wiring, tokens, known, layer, rows.tolist())
                total = probability(logits, answers[here]).sum()
                (gradient,) = torch.autograd.grad(total, point)
            found[:, layer].index_add_(0, here, (gradient * active[here, layer]).float() / steps)
    return found


def knowledge_neurons(attributed: torch.Tensor, threshold: float) -> torch.Tensor:
    """Those with more than `threshold` times the largest attribution of their row, shape (rows, blocks, neurons), of
    bool; none where no attribution is above zero."""
    best = attributed.flatten(1).amax(1)[:, None, None]
    return (attributed > threshold * best) & (attributed > 0)


@torch.no_grad()
def activations(wiring: Wiring, tokens: torch.Tensor, *, raw: bool = False) -> torch.Tensor:
    """Of every neuron at the last position, shape (rows, blocks, neurons), in the model's dtype; see `attribution`."""
    found: list[torch.Tensor] = []

    def keep(_: Any, args: Any, output: Any = None) -> None:
        found.append((output if raw else args[0])[:, -1].clone())

    with ExitStack() as hooks:
        for layer in range(wiring.graph.layers):
            hooks.callback(_hooked(wiring, layer, keep, raw=raw).remove)
        last_logits(wiring, tokens)
    return torch.stack(found, 1)


@torch.no_grad()
def scaled(wiring: Wiring, tokens: torch.Tensor, answers: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Log-probability of the answers, in nats, shape (rows,), with neurons at the last position multiplied.

    factors: shape (rows, blocks, neurons); the authors suppress with 0 and enhance with 2.
    """
    with ExitStack() as hooks:
        for layer in range(wiring.graph.layers):
            module = part(wiring.lm.model, layer, "mlp_down")[1]
            hooks.callback(module.register_forward_pre_hook(_last(factors[:, layer], multiply=True)).remove)
        return log_probability(last_logits(wiring, tokens), answers)


@contextmanager
def _replacing(wiring: Wiring, values: dict[int, torch.Tensor], *, raw: bool) -> Iterator[None]:
    with ExitStack() as hooks:
        for layer, value in values.items():
            hook = _last_output(value) if raw else _last(value, multiply=False)
            hooks.callback(_hooked(wiring, layer, hook, raw=raw).remove)
        yield


def _hooked(wiring: Wiring, layer: int, hook: Any, *, raw: bool) -> Any:
    """Register a hook on what puts out a block's neurons, or before what reads them; returns its handle."""
    if not raw:
        return part(wiring.lm.model, layer, "mlp_down")[1].register_forward_pre_hook(hook)
    try:
        module = part(wiring.lm.model, layer, "mlp_gate")[1]
    except ModelError:
        module = part(wiring.lm.model, layer, "mlp_up")[1]
    return module.register_forward_hook(hook)


def _last_output(value: torch.Tensor) -> Any:
    """A hook that puts other neurons, of shape (rows, neurons), at the last position of a module's output."""
    return lambda _, __, output: torch.cat([output[:, :-1], value.to(output)[:, None]], 1)


def _last(value: torch.Tensor, *, multiply: bool) -> Any:
    """A hook that changes a module's input at the last position; value: shape (rows, neurons)."""

    def hook(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        before, last = args[0][:, :-1], args[0][:, -1]
        value_ = last * value.to(last) if multiply else value.to(last)
        return (torch.cat([before, value_[:, None]], 1), *args[1:])

    return hook
