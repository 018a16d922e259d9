"""Gradient descent on a few parameters until the model says the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ....components import Algorithm, Strict

if TYPE_CHECKING:
    import torch

    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from ..scoring import Row


class Parameters(Strict):
    """Parameters of a model, by the role of their module and the layer."""

    module: Literal["mlp_down"] = "mlp_down"
    """The MLP's output projection, weight and bias."""
    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class FineTune(Algorithm):
    """Adam on the cross-entropy of the targets' tokens, as FT-M (Zhang et al. 2024, arXiv 2401.01286, section 4).

    The parameters are optimised as a change added to the untouched weights, so that the model itself is never written.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    yields: ClassVar[str] = "patch"
    type: Literal["fine_tune"]
    parameters: Parameters
    """Which parameters move."""
    objective: Literal["target_tokens"] = "target_tokens"
    """Mean negative log-likelihood of the target's tokens, the prompt masked; mean over requests."""
    lr: Annotated[float, Field(gt=0)] = 5e-4
    steps: Annotated[int, Field(ge=1)] = 25
    """Most updates of an edit."""
    stop_loss: Annotated[float, Field(ge=0)] = 0.01
    """No update once the loss is below."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Adam's L2 term, towards zero weights."""
    max_change: Annotated[float | None, Field(gt=0)] = None
    """Largest change of any single weight (an L-infinity ball), or none."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        """A dense patch of the chosen parameters. Raises Unusable for a request that the tokenizer cannot express."""
        from ..architecture import mlp_down
        from ..patch import Patch
        from ..scoring import encode

        weights: dict[str, Any] = {}
        for layer in self.parameters.layers:
            name, module = mlp_down(lm.model, layer)
            weights |= {f"{name}.{n}": p for n, p in module.named_parameters()}
        rows = [encode(lm, r.prompt, r.target_new) for r in requests]
        return Patch(self._optimise(lm, rows, weights)), state

    def _optimise(self, lm: LanguageModel, rows: Sequence[Row], weights: dict[str, Any]) -> dict[str, torch.Tensor]:
        import torch

        deltas = {n: torch.zeros_like(w, dtype=torch.float32, requires_grad=True) for n, w in weights.items()}
        optimizer = torch.optim.Adam(deltas.values(), lr=self.lr)
        for _ in range(self.steps):
            changed = {n: (w.float() + deltas[n]).to(w.dtype) for n, w in weights.items()}
            loss = _target_loss(lm, rows, changed)
            if loss.item() < self.stop_loss:
                break
            gradients = torch.autograd.grad(loss, list(deltas.values()))
            for (name, delta), gradient in zip(deltas.items(), gradients, strict=True):
                # Decay acts on the weight, not on its change, so it is added here and not left to the optimizer.
                delta.grad = gradient + self.weight_decay * (weights[name].float() + delta.detach())
            optimizer.step()
            if self.max_change is not None:
                with torch.no_grad():
                    for delta in deltas.values():
                        delta.clamp_(-self.max_change, self.max_change)
        return {name: delta.detach() for name, delta in deltas.items()}


def _target_loss(lm: LanguageModel, rows: Sequence[Row], changed: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean over rows of the mean negative log-likelihood of the target's tokens, in nats."""
    import torch

    from ..scoring import padded

    inputs = padded([row.ids for row in rows], lm.device) | {"use_cache": False}
    logits = torch.func.functional_call(lm.model, changed, args=(), kwargs=inputs).logits.float()
    losses = []
    for i, row in enumerate(rows):
        answers = logits[i, row.start - 1 : len(row.ids) - 1]
        losses.append(torch.nn.functional.cross_entropy(answers, torch.tensor(row.target, device=answers.device)))
    return torch.stack(losses).mean()
