"""Networks that look at images: what each part of a design does, and what is said when one cannot be built."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from benchwright.adapters.vision import colour, losses, priors
from benchwright.adapters.vision.backbones import build, features
from benchwright.adapters.vision.inputs import layout, planes, scaling
from benchwright.adapters.vision.networks import Network, state_of
from benchwright.adapters.vision.params import (
    Backbone,
    Branch,
    DarkChannel,
    Design,
    LargeStructures,
    Loss,
    RatingLoss,
    TinyStructures,
)
from benchwright.adapters.vision.saliency import grad_cam
from benchwright.adapters.vision.size import latency_ms, size_of
from benchwright.adapters.vision.training import predict
from benchwright.errors import ModelError

DARK, LARGE = DarkChannel(type="dark_channel", patch=3), LargeStructures(type="large_structures")
TINY = TinyStructures(type="tiny_structures")
SPACES = (Branch(), Branch(image="hsv"), Branch(image="lab"))


def design(*branches: Branch, **fields: Any) -> Design:
    backbone = Backbone(name=fields.pop("name", "tiny_cnn"))
    return Design(**{"size": 32, "backbone": backbone, "branches": branches or (Branch(),), **fields})


def network(of: Design, outputs: int = 3, loss: Loss | RatingLoss | None = None, seed: int = 0) -> Network:
    """Random, with running statistics of batch norm that differ from its start."""
    torch.manual_seed(seed)
    found = Network(of, outputs, losses.activation(loss or Loss()))
    with torch.no_grad():
        found.train()(some(of, 8))
    return found.eval()


def some(of: Design, images: int = 2, seed: int = 0) -> torch.Tensor:
    shape = (images, layout(of).channels, of.size, of.size)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def test_each_colour_space_and_prior_is_read_once() -> None:
    of = design(Branch(priors=(DARK, LARGE)), Branch(image="hsv", priors=(LARGE,), embed="input"), Branch())
    found = layout(of)
    assert (found.spaces, found.priors, found.channels) == (("rgb", "hsv"), (DARK, LARGE), 8)
    assert [branch.inputs for branch in found.branches] == [(0, 1, 2), (3, 4, 5, 7), (0, 1, 2)]
    assert [branch.gates for branch in found.branches] == [(6, 7), (), ()]


def test_planes_are_what_the_spaces_and_priors_give() -> None:
    of = design(Branch(image="hsv", priors=(TINY,)), Branch(priors=(DARK,)))
    rgb = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    fov = np.ones((2, 32, 32), bool)
    fov[:, :4] = False
    found = planes(of, rgb, fov)
    assert (found.shape, found.dtype) == ((2, 8, 32, 32), np.uint8)
    for row, image, inside in zip(found, rgb, fov, strict=True):
        assert np.array_equal(row[:3], colour.in_space(image, "hsv").transpose(2, 0, 1))
        assert np.array_equal(row[3:6], image.transpose(2, 0, 1))
        assert np.array_equal(row[6], priors.prior_map(TINY, image, inside))
        assert np.array_equal(row[7], priors.prior_map(DARK, image, inside))
    with pytest.raises(ValueError, match="the design's size is 32"):
        planes(of, rgb[:, :16], fov[:, :16])


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("imagenet", lambda x: (x / 255 - 0.485) / 0.229),
        ("half", lambda x: (x / 255 - 0.5) / 0.5),
        ("eyeq", lambda x: (x - 0.485) / 0.229),
    ],
)
def test_red_and_priors_are_scaled_as_the_design_says(normalise: Any, expected: Any) -> None:
    factor, summand = scaling(design(Branch(image="lab"), Branch(priors=(DARK,)), normalise=normalise))
    red = 200 * factor + summand
    np.testing.assert_allclose(red[[0, 3]], expected(200), rtol=1e-5)
    np.testing.assert_allclose(red[6], 200 / 255, rtol=1e-6)


def test_the_small_network_has_the_size_that_its_layers_add_up_to() -> None:
    widths = (3, 16, 32, 64, 96)
    convolutions = sum(9 * a * b + 2 * b for a, b in pairwise(widths))
    parameters, macs = size_of(design(), 3)
    assert parameters == convolutions + 192 * 3 + 3 == 79_763
    sides = (16, 8, 4, 2)
    assert macs == sum(s * s * 9 * a * b for s, a, b in zip(sides, widths, widths[1:], strict=False)) + 192 * 3
    # Priors at the start add nothing; as inputs, a kernel for each of the first 16 channels.
    assert size_of(design(Branch(priors=(DARK, LARGE))), 3)[0] == parameters
    assert size_of(design(Branch(priors=(DARK, LARGE), embed="input")), 3)[0] == parameters + 2 * 9 * 16
    three = size_of(design(*SPACES, fusion="predictions"), 3)[0]
    assert three == 3 * convolutions + 3 * (192 * 3 + 3) + (576 * 3 + 3) + (12 * 3 + 3)
    assert latency_ms(design(), 3, "cpu", runs=3) > 0


def test_attention_is_counted() -> None:
    """test_vit of timm: 64 wide, 6 blocks, 2 heads, patches of 16, a class token; at 64 pixels 17 tokens."""
    tokens, width, patches = 17, 64, 16
    block = tokens * width * width * (3 + 1 + 2 * 3) + 2 * tokens * tokens * width
    assert size_of(design(name="test_vit", size=64), 3)[1] == patches * 768 * width + 6 * block + width * 3


def test_priors_multiply_what_the_first_convolution_gives() -> None:
    of = design(Branch(priors=(DARK, LARGE)))
    found, x = network(of), some(of)
    factor, summand = (torch.tensor(v)[:, None, None] for v in scaling(of))
    pixels = x * factor + summand
    body = found.encoders[0].body
    with torch.no_grad():
        gate = 1 + functional.avg_pool2d(pixels[:, 3:].sum(1, keepdim=True), 2)
        start = body.layers[0](pixels[:, :3]) * gate
        expected = found.last(body.forward_head(body.layers[1:](start)))
        torch.testing.assert_close(found(x)[-1], expected, rtol=1e-4, atol=1e-5)
        # Without evidence in the priors it is the plain network.
        x[:, 3:] = 0
        torch.testing.assert_close(found(x)[-1], found.last(found.encoders[0](pixels[:, :3])))
    assert not body.layers[0]._forward_hooks


@pytest.mark.parametrize(
    ("loss", "activated"),
    [
        (Loss(), lambda z: z.softmax(1)),
        (Loss(type="focal"), lambda z: z.softmax(1)),
        (Loss(type="binary"), torch.sigmoid),
        (Loss(type="ordinal"), torch.sigmoid),
        (RatingLoss(), lambda z: z),
    ],
)
def test_predictions_are_fused_activated(loss: Any, activated: Any) -> None:
    of = design(*SPACES, fusion="predictions")
    found, x = network(of, 2, loss), some(of)
    with torch.no_grad():
        *early, answer = found(x)
        views = [encoder.pool(m) for encoder, m in zip(found.encoders, found.maps(x), strict=True)]
        assert len(early) == 4
        torch.testing.assert_close(early[1], found.heads[1](views[1]))
        torch.testing.assert_close(early[3], found.heads[3](torch.cat(views, 1)))
        torch.testing.assert_close(answer, found.last(torch.cat([activated(z) for z in early], 1)))


def test_an_image_does_not_see_its_neighbours() -> None:
    of, loss = design(Branch(priors=(DARK,))), Loss()
    state = state_of(network(of))
    x = some(of, 9).numpy()
    whole = predict(of, loss, 3, state, x, device="cpu")
    assert np.array_equal(whole, predict(of, loss, 3, state, x, device="cpu"))
    np.testing.assert_allclose(predict(of, loss, 3, state, x[::-1], device="cpu")[::-1], whole, atol=1e-6)
    np.testing.assert_allclose(predict(of, loss, 3, state, x[4:5], device="cpu")[0], whole[4], atol=1e-6)
    assert predict(of, loss, 3, state, x[:0], device="cpu").shape == (0, 3)
    with pytest.raises(ModelError, match=r"last\.weight has shape \(3, 192\), expected \(4, 192\)"):
        predict(of, loss, 4, state, x, device="cpu")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_backbone_of_timm_learns_from_any_number_of_channels(name: str) -> None:
    of = design(Branch(priors=(DARK, LARGE), embed="input"), Branch(priors=(DARK,)), name=name, size=64)
    found, x = network(of), some(of)
    logits = found(x)[-1]
    logits.sum().backward()
    assert logits.shape == (2, 3)
    assert all(encoder.first.weight.grad.abs().sum() > 0 for encoder in found.encoders)
    assert [encoder.first.weight.shape[1] for encoder in found.encoders] == [5, 3]


def test_weights_of_a_file_are_taken_and_those_of_another_refused(tmp_path: Path) -> None:
    torch.manual_seed(5)
    theirs = build(Backbone(name="test_resnet"), 3, 64, None)
    file = tmp_path / "backbone.safetensors"
    published = {**theirs.body.state_dict(), "fc.weight": torch.zeros(10, 96), "fc.bias": torch.zeros(10)}
    save_file(published, file)
    ours = build(Backbone(name="test_resnet"), 3, 64, file)
    assert all(torch.equal(ours.body.state_dict()[n], t) for n, t in theirs.body.state_dict().items())
    # Its colours are read by more channels: the same answer to an image whose channels are one colour.
    wide = build(Backbone(name="test_resnet"), 6, 64, file)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            wide.eval()(grey.expand(2, 6, 64, 64)), ours.eval()(grey.expand(2, 3, 64, 64)), rtol=1e-3, atol=1e-4
        )
    with pytest.raises(ModelError, match=r"backbone\.safetensors: not the weights of test_convnext: it has no tensor"):
        build(Backbone(name="test_convnext"), 3, 64, file)
    save_file({**published, "stranger": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="its tensor stranger has no place"):
        build(Backbone(name="test_resnet"), 3, 64, file)
    save_file({**published, "bn1.weight": torch.zeros(7)}, file)
    with pytest.raises(ModelError, match=r"its tensor bn1\.weight has shape \(7,\), expected"):
        build(Backbone(name="test_resnet"), 3, 64, file)
    file.write_bytes(b"\x80\x02pickle")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        build(Backbone(name="test_resnet"), 3, 64, file)


def test_missing_weights_and_libraries_are_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"timm/resnet18\.a1_in1k: model\.safetensors.*hf download.*weights: FILE"):
        build(Backbone(name="resnet18", pretrained=True), 3, 64, None)
    with pytest.raises(ModelError, match="timm names no weights of densenet264d"):
        build(Backbone(name="densenet264d", pretrained=True), 3, 64, None)
    with pytest.raises(ModelError, match="tiny_cnn has no published weights"):
        build(Backbone(name="tiny_cnn", pretrained=True), 3, 64, None)
    with pytest.raises(ModelError, match="Invalid pretrained tag"):
        build(Backbone(name="resnet18.nosuch"), 3, 64, None)
    with pytest.raises(ModelError, match="inception_v3 takes no images of 64 × 64 pixels"):
        build(Backbone(name="inception_v3"), 3, 64, None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"cannot be imported.*pip install -U torch torchvision timm"):
        build(Backbone(name="resnet18"), 3, 64, None)


def test_published_weights_come_from_the_hub_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    torch.manual_seed(1)
    theirs = build(Backbone(name="test_resnet"), 3, 64, None)
    snapshot = tmp_path / "models--timm--test_resnet.r160_in1k" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1234")
    save_file({**theirs.body.state_dict(), "fc.weight": torch.zeros(9, 96)}, snapshot / "model.safetensors")
    torch.manual_seed(2)
    ours = build(Backbone(name="test_resnet", pretrained=True), 3, 64, None)
    assert all(torch.equal(ours.body.state_dict()[n], t) for n, t in theirs.body.state_dict().items())


def test_frozen_features_follow_seed_and_image_alone() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    state = torch.get_rng_state()
    found = features(Backbone(name="tiny_cnn"), "half", 32, rgb, None, "cpu", 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.shape, found.dtype) == ((3, 192), np.float32)
    assert np.array_equal(found, features(Backbone(name="tiny_cnn"), "half", 32, rgb, None, "cpu", 4))
    np.testing.assert_allclose(
        features(Backbone(name="tiny_cnn"), "half", 32, rgb[2:], None, "cpu", 4)[0], found[2], atol=1e-5
    )
    assert not np.allclose(found, features(Backbone(name="tiny_cnn"), "half", 32, rgb, None, "cpu", 5))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        encoder = build(Backbone(name="tiny_cnn"), 3, 32, None).eval()
    pixels = torch.from_numpy(rgb.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(encoder(pixels).detach().numpy(), found, rtol=1e-3, atol=1e-5)


def test_grad_cam_of_the_small_network_by_hand() -> None:
    """Features are mean and maximum of each channel of the 2 × 2 map: the mean gradient of channel k over its four
    places is (w[k] + w[96 + k]) / 4."""
    of = design()
    found, x = network(of), some(of)
    with torch.no_grad():
        maps = found.maps(x)[0]
        slope = (found.last.weight[1, :96] + found.last.weight[1, 96:]) / 4
        # Where a channel has no place above zero, its four maxima share the gradient: the sum is the same.
        by_hand = (maps * slope[:, None, None]).sum(1).relu()
    grown = functional.interpolate(by_hand[:, None], (32, 32), mode="bilinear")[:, 0]
    expected = grown / grown.amax((1, 2), keepdim=True)
    shown = grad_cam(of, Loss(), 3, state_of(found), x.numpy(), 1, "cpu")
    np.testing.assert_allclose(shown, expected.numpy(), atol=1e-5)
    assert shown.dtype == np.float32
    found.last.weight.data[:] = 0
    assert not grad_cam(of, Loss(), 3, state_of(found), x.numpy(), 1, "cpu").any()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_vit3", "test_mambaout"])
def test_grad_cam_of_maps_and_tokens(name: str) -> None:
    of = design(Branch(), Branch(image="hsv", priors=(DARK,)), name=name, size=64, fusion="predictions")
    shown = np.zeros(0)
    for loss, outputs in [(Loss(type="binary"), 3), (Loss(type="ordinal"), 2)]:
        state = state_of(network(of, outputs, loss))
        shown = grad_cam(of, loss, 3, state, some(of, 3).numpy(), 2, "cpu")
        assert shown.shape == (3, 64, 64)
        assert shown.min() >= 0
        assert set(shown.max((1, 2))) <= {0.0, 1.0}
    again = grad_cam(of, loss, 3, state, some(of, 3).numpy()[1:2], 2, "cpu")
    np.testing.assert_allclose(again[0], shown[1], atol=1e-3)


def test_grad_cam_finds_what_the_answer_depends_on() -> None:
    """A network whose logit of class 0 grows with brightness looks at the bright quarter."""
    of = design(normalise="half")
    found = network(of)
    with torch.no_grad():
        for module in found.encoders[0].body.layers:
            if isinstance(module, torch.nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.zero_()
                module.running_var.fill_(1)
        found.last.weight.zero_()
        found.last.weight[0] = 1
    x = np.zeros((1, 3, 32, 32), np.uint8)
    x[:, :, 16:, :16] = 255
    shown = grad_cam(of, Loss(), 3, state_of(found), x, 0, "cpu")[0]
    assert shown[16:, :16].mean() > 3 * shown[:16, 16:].mean()
    assert shown[24:, :8].min() > 0.9
    assert shown[:8].max() < 0.3
