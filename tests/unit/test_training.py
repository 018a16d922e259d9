"""Losses by hand, moves by hand, and that training is the same every time, however it was stopped."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchwright.adapters.vision import augment, losses
from benchwright.adapters.vision.params import Augment, Backbone, Branch, DarkChannel, Design, Loss, RatingLoss, Recipe
from benchwright.adapters.vision.recipes import learning_rate
from benchwright.adapters.vision.training import EpochReport, Lesson, predict, train
from benchwright.errors import DataError, ModelError, UsageError

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.1, -0.4]])
TARGETS = torch.tensor([2, 1])
DARK = DarkChannel(type="dark_channel")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(row: torch.Tensor) -> list[float]:
    powers = [math.exp(z) for z in row.tolist()]
    return [p / sum(powers) for p in powers]


def of(loss: Loss | RatingLoss, logits: torch.Tensor = LOGITS, targets: torch.Tensor = TARGETS) -> list[float]:
    found: list[float] = losses.per_image(loss, logits, targets).tolist()
    return found


# Losses


def test_cross_entropy_and_focal_by_hand() -> None:
    right = [softmax(row)[t] for row, t in zip(LOGITS, TARGETS.tolist(), strict=True)]
    assert of(Loss()) == pytest.approx([-math.log(p) for p in right])
    focal = [-((1 - p) ** 1.5) * math.log(p) for p in right]
    assert of(Loss(type="focal", focus=1.5)) == pytest.approx(focal)
    assert of(Loss(type="focal", focus=0.0)) == pytest.approx(of(Loss()))


def test_label_smoothing_by_hand() -> None:
    p = softmax(LOGITS[0])
    wanted = [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]
    expected = -sum(w * math.log(q) for w, q in zip(wanted, p, strict=True))
    assert of(Loss(label_smoothing=0.1))[0] == pytest.approx(expected)
    assert of(Loss(type="focal", focus=0.0, label_smoothing=0.1))[0] == pytest.approx(expected)
    yes = [0.05, 0.05, 0.95]
    binary = -sum(
        w * math.log(sigmoid(z)) + (1 - w) * math.log(1 - sigmoid(z))
        for w, z in zip(yes, LOGITS[0].tolist(), strict=True)
    )
    assert of(Loss(type="binary", label_smoothing=0.1))[0] == pytest.approx(binary / 3)


def test_ordinal_by_hand() -> None:
    z = torch.tensor([[1.2, -0.7]] * 3)
    yes, no = [math.log(sigmoid(v)) for v in (1.2, -0.7)], [math.log(1 - sigmoid(v)) for v in (1.2, -0.7)]
    expected = [-(no[0] + no[1]) / 2, -(yes[0] + no[1]) / 2, -(yes[0] + yes[1]) / 2]
    assert of(Loss(type="ordinal"), z, torch.tensor([0, 1, 2])) == pytest.approx(expected)
    beyond = [sigmoid(1.2), sigmoid(-0.7)]
    found = losses.probabilities(Loss(type="ordinal"), z)[0].tolist()
    assert found == pytest.approx([1 - beyond[0], beyond[0] - beyond[1], beyond[1]])


def test_ordinal_probabilities_stay_probabilities_when_steps_contradict_each_other() -> None:
    z = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (200, 4)))
    found = losses.probabilities(Loss(type="ordinal"), z)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(1), torch.ones(200, dtype=torch.float64))


def test_rating_losses_by_hand() -> None:
    z, y = torch.tensor([[2.5], [0.2]]), torch.tensor([0.5, 0.0])
    assert of(RatingLoss(), z, y) == pytest.approx([4.0, 0.04])
    assert of(RatingLoss(type="mae"), z, y) == pytest.approx([2.0, 0.2])
    assert of(RatingLoss(type="huber"), z, y) == pytest.approx([1.5, 0.02])


def test_sigmoids_are_left_as_they_are() -> None:
    found = losses.probabilities(Loss(type="binary"), LOGITS)[0].tolist()
    assert found == pytest.approx([sigmoid(z) for z in LOGITS[0].tolist()])


def test_a_sure_answer_has_a_finite_slope() -> None:
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    losses.per_image(Loss(type="focal", focus=0.5), z, torch.tensor([0])).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "logits", "answer"),
    [
        (Loss(), LOGITS, [2, 0]),
        (Loss(type="ordinal"), torch.tensor([[-3.0, -5.0], [4.0, -4.0], [5.0, 3.0]]), [0, 1, 2]),
    ],
)
def test_the_score_of_a_class_is_greatest_where_the_answer_is(loss: Loss, logits: torch.Tensor, answer: Any) -> None:
    scores = torch.stack([losses.score(loss, logits, c) for c in range(3)], 1)
    assert scores.argmax(1).tolist() == losses.probabilities(loss, logits).argmax(1).tolist() == answer


def test_balanced_weights_average_one_over_the_images() -> None:
    targets = np.array([0] * 6 + [1] * 2 + [3])
    weights = losses.class_weights(Loss(class_weights="balanced"), targets, 4)
    assert weights is not None
    assert weights.tolist() == pytest.approx([9 / 24, 9 / 8, 0, 9 / 4])
    assert losses.class_weights(Loss(), targets, 4) is None


def test_heads_are_weighed_as_the_spec_says_or_the_answer_alone() -> None:
    three = Design(backbone=Backbone(name="tiny_cnn"), branches=(Branch(),) * 3, fusion="predictions")
    assert losses.head_weights(three, Loss()) == (0, 0, 0, 0, 1)
    assert losses.head_weights(three, Loss(heads=(0.1, 0.1, 0.1, 0.1, 0.6))) == (0.1, 0.1, 0.1, 0.1, 0.6)
    with pytest.raises(UsageError, match=r"loss\.heads: 2 weights for 5 heads; give one for each branch"):
        losses.head_weights(three, Loss(heads=(0.5, 0.5)))
    with pytest.raises(UsageError, match="nor all 0"):
        losses.head_weights(three, Loss(heads=(0.0,) * 5))


# Moves


def test_flips_alone_move_bytes_exactly() -> None:
    x = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    found = augment.move(x, augment.Moves(np.array([[True, False], [True, True]]), None))
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack([x[0].flip(2), x[1].flip(1, 2)]))


def moves(**fields: Any) -> augment.Moves:
    return augment.draw(Augment(**{"flip": False, **fields}), 400, np.random.default_rng(0))


def test_a_quarter_turn_moves_every_pixel_to_its_place() -> None:
    x = torch.rand(1, 2, 6, 6) * 255
    affine = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]], np.float32)
    found = augment.move(x, augment.Moves(np.zeros((1, 2), bool), affine))
    torch.testing.assert_close(found, torch.rot90(x, 1, (2, 3)), rtol=0, atol=1e-3)


def test_a_crop_is_a_window_of_the_image_and_a_turn_is_black_beyond_it() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    half = np.array([[[0.5, 0.0, 0.5], [0.0, 0.5, -0.5]]], np.float32)
    found = augment.move(x, augment.Moves(np.zeros((1, 2), bool), half))[0, 0]
    # Four times as fine a look at the upper right quarter: the mean of two by two of its pixels is the old one.
    coarse = found.reshape(4, 2, 4, 2).mean((1, 3))
    torch.testing.assert_close(coarse[1:-1, 1:-1], x[0, 0, 1:3, 5:7])
    white = augment.move(torch.full((400, 1, 16, 16), 255.0), moves(rotate=180.0))
    assert white[:, 0, 8, 8].min() > 254
    assert white[:, 0, 0, 0].min() < 1


def test_moves_are_drawn_from_what_the_spec_allows() -> None:
    assert not moves().flips.any()
    assert moves().affine is None
    share = augment.draw(Augment(), 4000, np.random.default_rng(0)).flips.mean(0)
    np.testing.assert_allclose(share, 0.5, atol=0.03)
    found = moves(rotate=30.0, crop=0.25).affine
    assert found is not None
    area = np.linalg.det(found[:, :, :2].astype(float))
    angle = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    assert 0.25 <= area.min() < 0.27
    assert 0.98 < area.max() <= 1.0001
    assert 29 < np.abs(angle).max() <= 30.001
    # No crop reaches beyond the turned image: undone the turn, its corners stay within it.
    turn = found[:, :, :2] / np.sqrt(area)[:, None, None]
    centre = np.einsum("nji,nj->ni", turn, found[:, :, 2])
    assert (np.abs(centre) + np.sqrt(area)[:, None]).max() <= 1.0001


def test_an_image_is_moved_as_it_is_whatever_batch_it_is_in() -> None:
    drawn, x = moves(rotate=90.0, crop=0.5), torch.rand(400, 2, 8, 8) * 255
    rows = np.array([300, 7])
    together = augment.move(x[rows], drawn.of(rows))
    for i, row in enumerate(rows):
        assert torch.equal(augment.move(x[row : row + 1], drawn.of(np.array([row])))[0], together[i])


# Rates


@pytest.mark.parametrize("steps", [4, 37, 300])
def test_one_cycle_is_pytorch_s(steps: int) -> None:
    recipe = Recipe(lr=0.02)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert learning_rate(recipe, step, steps) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


def test_cosine_and_constant() -> None:
    recipe = Recipe(lr=0.5, schedule="cosine")
    assert [learning_rate(recipe, s, 4) for s in (0, 2)] == pytest.approx([0.5, 0.25])
    assert learning_rate(Recipe(lr=0.5, schedule="constant"), 3, 4) == 0.5
    assert 0 < learning_rate(Recipe(lr=0.5), 0, 1) <= 0.5


# Training


def design(**recipe: Any) -> Design:
    name, branches = recipe.pop("name", "tiny_cnn"), recipe.pop("branches", (Branch(),))
    fusion, turned = recipe.pop("fusion", "features"), Augment(rotate=20.0, crop=0.8)
    recipe = {"epochs": 4, "batch_size": 8, "augment": turned, **recipe}
    return Design(size=32, backbone=Backbone(name=name), branches=branches, fusion=fusion, recipe=Recipe(**recipe))


def lesson(classes: int = 3, images: int = 41, channels: int = 3) -> Lesson:
    """Brighter images are of higher classes; every fourth is for validation."""
    draw = np.random.default_rng(1)
    grade = draw.integers(0, classes or 5, images)
    noise = draw.integers(0, 60, (images, channels, 32, 32))
    planes = (noise + 45 * grade[:, None, None, None]).astype(np.uint8)
    targets = grade if classes else 100.0 + 20 * grade
    return Lesson(planes, targets, np.arange(images) % 4 == 3, classes)


def taught(of: Design, loss: Loss | RatingLoss, given: Lesson, seed: int = 0, **fields: Any) -> dict[str, np.ndarray]:
    arguments: dict[str, Any] = {"device": "cpu", "weights_file": None, "checkpoint": None, **fields}
    return train(of, loss, given, seed=seed, progress=arguments.pop("progress", lambda done, total: None), **arguments)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("type", ["cross_entropy", "focal", "binary", "ordinal"])
def test_a_network_learns_which_images_are_brighter(type: Any) -> None:
    of, loss, given = design(epochs=12), Loss(type=type, class_weights="balanced", label_smoothing=0.05), lesson()
    state = taught(of, loss, given)
    found = predict(of, loss, 3, state, given.planes, device="cpu")
    assert found.shape == (41, 3)
    assert found.dtype == np.float64
    assert (found.argmax(1) == given.targets).mean() > 0.9


@pytest.mark.parametrize("type", ["mse", "mae", "huber"])
def test_ratings_come_back_in_their_own_units(type: Any) -> None:
    of, loss, given = design(epochs=25), RatingLoss(type=type), lesson(0)
    found = predict(of, loss, 0, taught(of, loss, given), given.planes, device="cpu")
    assert found.shape == (41, 1)
    assert np.abs(found[:, 0] - given.targets).mean() < 8
    assert np.corrcoef(found[:, 0], given.targets)[0, 1] > 0.95


def test_the_same_seed_gives_the_same_bytes_and_disturbs_nobody() -> None:
    of, given = design(), lesson()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = taught(of, Loss(), given)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert same(first, taught(of, Loss(), given))
    assert not same(first, taught(of, Loss(), given, seed=1))


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05},
        {"optimizer": "sgd", "lr": 0.05, "precision": "bfloat16"},
        # It has dropout, which draws from torch's own generator.
        {
            "name": "test_vit_relpos",
            "branches": (Branch(priors=(DARK,)), Branch()),
            "fusion": "predictions",
            "epochs": 3,
        },
    ],
)
def test_a_stopped_run_goes_on_to_the_very_same_weights(fields: dict[str, Any], tmp_path: Path) -> None:
    of, file = design(**fields), tmp_path / "run.safetensors"
    given = lesson(channels=4 if "branches" in fields else 3)
    loss = Loss(heads=(0.1, 0.1, 0.2, 0.6)) if "fusion" in fields else Loss()
    whole = taught(of, loss, given)

    def stop(report: EpochReport) -> None:
        if report.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        taught(of, loss, given, checkpoint=file, on_epoch=stop)
    assert file.is_file()
    epochs: list[int] = []
    seen: list[tuple[int, int]] = []
    again = taught(
        of,
        loss,
        given,
        checkpoint=file,
        on_epoch=lambda r: epochs.append(r.epoch),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert same(again, whole)
    last = of.recipe.epochs
    assert epochs == list(range(3, last + 1))
    assert (seen[0], seen[-1]) == ((8, 4 * last), (4 * last, 4 * last))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", ["seed", "lesson", "recipe", "damage"])
def test_a_checkpoint_of_another_run_is_not_gone_on_from(other: str, tmp_path: Path) -> None:
    of, given, file = design(epochs=2), lesson(), tmp_path / "run.safetensors"

    def stop(report: EpochReport) -> None:
        raise Stop

    theirs = replace(given, targets=given.targets[::-1]) if other == "lesson" else given
    with pytest.raises(Stop):
        taught(
            design(epochs=3) if other == "recipe" else of,
            Loss(),
            theirs,
            seed=int(other == "seed"),
            checkpoint=file,
            on_epoch=stop,
        )
    if other == "damage":
        file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="begins afresh"):
        found = taught(of, Loss(), given, checkpoint=file)
    assert same(found, taught(of, Loss(), given))


def test_the_best_epoch_is_kept_and_patience_ends_the_rest() -> None:
    reports: list[EpochReport] = []
    of, given = design(epochs=30, patience=3, lr=0.01, schedule="constant"), lesson()
    # Nothing that can be learned holds for other images: soon the validation loss only rises.
    given = replace(given, targets=np.random.default_rng(0).permutation(given.targets))
    found = taught(of, Loss(), given, on_epoch=reports.append)
    validation = [r.validation for r in reports if r.validation is not None]
    best = int(np.argmin(validation))
    assert len(validation) == len(reports) == best + 1 + 3 < 30
    p = predict(of, Loss(), 3, found, given.planes[given.validation], device="cpu")
    nll = -np.log(p[np.arange(len(p)), given.targets[given.validation]])
    assert nll.mean() == pytest.approx(validation[best], rel=1e-4)


def test_without_validation_images_the_last_epoch_is_kept() -> None:
    of, given = design(patience=1), lesson()
    alone = replace(given, validation=np.zeros(41, bool))
    reports: list[EpochReport] = []
    taught(of, Loss(), alone, on_epoch=reports.append)
    assert [(r.epoch, r.validation) for r in reports] == [(e, None) for e in (1, 2, 3, 4)]


def test_a_last_batch_of_one_image_is_left_out() -> None:
    given = lesson(images=33)
    seen: list[tuple[int, int]] = []
    alone = replace(given, validation=np.zeros(33, bool))
    taught(design(epochs=1), Loss(), alone, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)


def test_a_backbone_s_weights_are_where_training_starts(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from benchwright.adapters.vision.backbones import build

    theirs = build(Backbone(name="tiny_cnn"), 3, 32, None).body.state_dict()
    file = tmp_path / "tiny.safetensors"
    save_file(theirs, file)
    found = taught(design(epochs=1, lr=1e-12, weight_decay=0.0), Loss(), lesson(), weights_file=file)
    name = "layers.9.weight"
    np.testing.assert_allclose(found[f"encoders.0.body.{name}"], theirs[name], atol=1e-9)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="not the weights of tiny_cnn"):
        taught(design(), Loss(), lesson(), weights_file=file)


@pytest.mark.parametrize(
    ("fields", "loss", "given", "error", "words"),
    [
        ({"precision": "float16"}, Loss(), lesson(), UsageError, "float16 does not train on cpu"),
        ({}, RatingLoss(), lesson(), UsageError, "loss 'mse' does not fit 3 classes"),
        ({}, Loss(), lesson(0), UsageError, "loss 'cross_entropy' does not fit ratings"),
        ({}, Loss(heads=(1.0, 2.0)), lesson(), UsageError, "2 weights for 1 heads"),
        ({}, Loss(), replace(lesson(), validation=np.ones(41, bool)), DataError, "0 training images"),
        ({}, Loss(), replace(lesson(), classes=2), DataError, "must be 0 to 1"),
        (
            {"optimizer": "sgd", "lr": 1e30, "schedule": "constant"},
            RatingLoss(),
            lesson(0),
            DataError,
            r"epoch 1: the loss is not finite at learning rate 1e\+30; lower recipe\.lr",
        ),
    ],
)
def test_what_cannot_be_trained_is_told(fields: Any, loss: Any, given: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        taught(design(**fields), loss, given)
