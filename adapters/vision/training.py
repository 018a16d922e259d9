"""Training a network of a design, and what it says of images.

The same seed, lesson and number of threads give the same weights, byte for byte, on a CPU. A run that was stopped goes
on from its checkpoint and ends at the very same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError, UsageError
from ...job import rng
from ...provenance import package_version
from . import augment, checkpoints, losses
from .checkpoints import Fit
from .networks import Network, restored, state_of
from .params import Design, Loss, RatingLoss
from .recipes import learning_rate, optimizer

BATCH = 64
"""Images of a batch when nothing is learned; always the same, so that numbers are."""


@dataclass(frozen=True)
class Lesson:
    """What a network is taught with."""

    planes: np.ndarray
    """(n, C, S, S), uint8; see `inputs.planes`."""
    targets: np.ndarray
    """(n,): class numbers from 0, or ratings."""
    validation: np.ndarray
    """(n,), bool: images that are not learned from, but choose the best epoch; without any, it is the last."""
    classes: int
    """0 when the targets are ratings."""


@dataclass(frozen=True)
class EpochReport:
    """How an epoch went."""

    epoch: int
    """From 1."""
    lr: float
    """Of its last step."""
    loss: float
    """Mean over the training images, while the weights were moving."""
    validation: float | None
    """Mean over the validation images, afterwards."""


@dataclass(frozen=True)
class _Task:
    """What every epoch of a run is given."""

    design: Design
    loss: Loss | RatingLoss
    lesson: Lesson
    """Ratings are standardised."""
    seed: int
    device: torch.device
    heads: tuple[float, ...]
    class_weights: torch.Tensor | None
    learned: np.ndarray
    """Places of the training images."""

    @property
    def batches(self) -> list[slice]:
        """Of an epoch's order; a last batch of one image, of which batch norm knows no variance, is left out."""
        size = self.design.recipe.batch_size
        return [slice(i, i + size) for i in range(0, len(self.learned) - 1, size)]

    def losses(self, network: Network, planes: torch.Tensor, places: np.ndarray) -> torch.Tensor:
        """Losses (n,) of images, all heads together."""
        targets = torch.from_numpy(self.lesson.targets[places]).to(self.device)
        heads = zip(self.heads, network(planes), strict=True)
        total = sum(weight * losses.per_image(self.loss, logits, targets) for weight, logits in heads if weight)
        found = torch.as_tensor(total)
        return found if self.class_weights is None else found * self.class_weights[targets]


def train(
    design: Design,
    loss: Loss | RatingLoss,
    lesson: Lesson,
    *,
    seed: int,
    device: str,
    weights_file: Path | None,
    checkpoint: Path | None,
    progress: Callable[[int, int], None],
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> dict[str, np.ndarray]:
    """The network's tensors by name after the epoch with the least validation loss, the earlier of equals.

    `checkpoint`: file that is written after every epoch, gone on from when it is there, and removed at the end; that
    of another run is overwritten, with a warning. `progress(done, total)` counts steps of the optimiser.

    Raises UsageError when loss, recipe and device do not fit each other, DataError when there is nothing to learn from
    or the loss is not finite, ModelError when the backbone cannot be built.
    """
    recipe = design.recipe
    if recipe.precision == "float16" and not device.startswith("cuda"):
        raise UsageError(f"recipe.precision: float16 does not train on {device}; take bfloat16 or float32")
    task, mean, spread = _task(design, loss, lesson, seed, device)
    fit = _start(task, weights_file)
    run = ""
    if checkpoint is not None:
        run = _key(task, weights_file)
        checkpoints.restore(fit, checkpoint, run)
    steps = len(task.batches)
    progress(fit.epoch * steps, recipe.epochs * steps)
    while fit.epoch < recipe.epochs and not _patience_is_lost(fit, recipe.patience):
        report = _epoch(task, fit, progress)
        if checkpoint is not None:
            checkpoints.save(fit, checkpoint, run)
        if on_epoch is not None:
            on_epoch(report)
    if not fit.best:
        raise DataError("no epoch had a finite validation loss; lower recipe.lr")
    fit.network.load_state_dict(fit.best)
    _in_units(fit.network.last, mean, spread)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return state_of(fit.network)


def predict(
    design: Design,
    loss: Loss | RatingLoss,
    classes: int,
    state: Mapping[str, np.ndarray],
    planes: np.ndarray,
    *,
    device: str,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Probabilities (n, classes), or ratings (n, 1), float64, of planes (n, C, S, S), uint8; in float32 throughout.

    `classes`: 0 for ratings. Raises ModelError when the state is that of another design.
    """
    outputs = losses.outputs(loss, classes)
    network = restored(design, outputs, losses.activation(loss), state, device)
    found = [np.empty((0, classes or 1))]
    with torch.inference_mode():
        for start in range(0, len(planes), batch_size):
            batch = torch.from_numpy(np.array(planes[start : start + batch_size])).to(device)
            found.append(losses.probabilities(loss, network(batch)[-1]).cpu().numpy())
    return np.concatenate(found)


def _task(
    design: Design, loss: Loss | RatingLoss, lesson: Lesson, seed: int, device: str
) -> tuple[_Task, float, float]:
    """The run's constants, and mean and standard deviation of the training ratings (0 and 1 for classes)."""
    losses.outputs(loss, lesson.classes)
    heads = losses.head_weights(design, loss)
    learned = np.flatnonzero(~lesson.validation)
    if len(learned) < 2:
        raise DataError(f"{len(learned)} training images beside those of validation; at least 2 are needed")
    targets = lesson.targets[learned]
    mean, spread, standard = 0.0, 1.0, lesson.targets
    if lesson.classes:
        if lesson.targets.min() < 0 or lesson.targets.max() >= lesson.classes:
            raise DataError(f"class numbers must be 0 to {lesson.classes - 1}")
        standard = standard.astype(np.int64)
    else:
        if not np.isfinite(lesson.targets).all():
            raise DataError("a rating is not finite")
        mean, spread = float(targets.mean()), float(targets.std()) or 1.0
        standard = (standard - mean) / spread
    weights = losses.class_weights(loss, targets, lesson.classes)
    on_device = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    lesson = replace(lesson, targets=standard)
    return _Task(design, loss, lesson, seed, torch.device(device), heads, on_device, learned), mean, spread


@contextmanager
def _seeded(task: _Task, stream: str, epoch: int = 0) -> Iterator[None]:
    """torch's own generators, which initial weights and dropout draw from, are seeded inside, and as before outside."""
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        torch.manual_seed(int(rng(task.seed, f"training.{stream}", str(epoch)).integers(2**63)))
        yield


def _start(task: _Task, weights_file: Path | None) -> Fit:
    """Before the first epoch."""
    outputs = losses.outputs(task.loss, task.lesson.classes)
    with _seeded(task, "weights"):
        network = Network(task.design, outputs, losses.activation(task.loss), weights_file)
    network = network.to(task.device, memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler(task.device.type, enabled=task.design.recipe.precision == "float16")
    return Fit(network, optimizer(task.design.recipe, network.parameters()), scaler)


def _key(task: _Task, weights_file: Path | None) -> str:
    lesson = task.lesson
    said = [task.design.model_dump(mode="json"), task.loss.model_dump(mode="json"), lesson.classes, task.seed]
    where = [task.device.type, torch.get_num_threads(), *(package_version(n) for n in ("torch", "timm"))]
    arrays = [np.ascontiguousarray(a).data for a in (lesson.planes, lesson.targets, lesson.validation)]
    return checkpoints.key([said, where, *arrays, *([weights_file] if weights_file else [])])


def _patience_is_lost(fit: Fit, patience: int | None) -> bool:
    return patience is not None and fit.epoch - fit.best_epoch >= patience


def _epoch(task: _Task, fit: Fit, progress: Callable[[int, int], None]) -> EpochReport:
    """One more epoch."""
    recipe, epoch = task.design.recipe, fit.epoch + 1
    order = rng(task.seed, "training.order", str(epoch)).permutation(task.learned)
    moves = augment.draw(recipe.augment, len(task.lesson.targets), rng(task.seed, "training.augment", str(epoch)))
    steps, total, seen = len(task.batches), torch.zeros((), dtype=torch.float64, device=task.device), 0
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[recipe.precision]
    lr = recipe.lr
    fit.network.train()
    with _seeded(task, "dropout", epoch):
        for i, batch in enumerate(task.batches):
            places, step = order[batch], fit.epoch * steps + i
            lr = learning_rate(recipe, step, recipe.epochs * steps)
            for group in fit.optimizer.param_groups:
                group["lr"] = lr
            planes = augment.move(torch.from_numpy(task.lesson.planes[places]).to(task.device), moves.of(places))
            with torch.autocast(task.device.type, dtype, enabled=dtype != torch.float32):
                loss = task.losses(fit.network, planes, places).mean()
            fit.optimizer.zero_grad(set_to_none=True)
            fit.scaler.scale(loss).backward()
            fit.scaler.step(fit.optimizer)
            fit.scaler.update()
            total += loss.detach() * len(places)
            seen += len(places)
            progress(step + 1, recipe.epochs * steps)
    learned = total.item() / seen
    if not math.isfinite(learned):
        raise DataError(f"epoch {epoch}: the loss is not finite at learning rate {lr:.3g}; lower recipe.lr")
    fit.epoch = epoch
    validation = _validation(task, fit.network)
    if validation is None or validation < fit.best_loss:
        fit.keep(math.inf if validation is None else validation)
    return EpochReport(epoch, lr, learned, validation)


@torch.inference_mode()
def _validation(task: _Task, network: Network) -> float | None:
    """Mean loss over the validation images; None without any."""
    places = np.flatnonzero(task.lesson.validation)
    if not len(places):
        return None
    network.eval()
    total = 0.0
    for start in range(0, len(places), BATCH):
        batch = places[start : start + BATCH]
        planes = torch.from_numpy(task.lesson.planes[batch]).to(task.device)
        total += float(task.losses(network, planes, batch).double().sum())
    return total / len(places)


@torch.no_grad()
def _in_units(last: torch.nn.Linear, mean: float, spread: float) -> None:
    """Let the last layer give ratings in their own units."""
    last.weight.mul_(spread)
    last.bias.mul_(spread).add_(mean)
