"""Sizes of networks against those of published ones, and against a peer's count with hooks on modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.vision.params import Backbone, Branch, DarkChannel, Design
from benchwright.adapters.vision.size import size_of

CONVOLUTIONAL = (
    "densenet121",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "mobilenetv3_small_100",
    "mobilenetv3_small_050",
    "resnet10t",
    "mobilenetv4_conv_small",
    "test_resnet",
    "test_convnext",
)
SPACES = (Branch(), Branch(image="hsv"), Branch(image="lab"))


@pytest.fixture(scope="module")
def counts(shared: Path) -> dict[str, Any]:
    """Of networks with 3 classes, at 224 pixels."""
    found: dict[str, Any] = json.loads((shared / "fixtures/iqa/param_counts.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_parameters_and_multiply_adds(counts: dict[str, Any], name: str) -> None:
    expected = counts["timm_3class"][name]
    assert size_of(Design(backbone=Backbone(name=name)), 3) == (expected["params"], expected["macs_224"])


def test_a_transformer_s_attention_is_counted(counts: dict[str, Any]) -> None:
    """Swin-T: 4.5 G as published (Liu et al. 2021); the peer's hooks on modules see 3.4 G."""
    expected = counts["timm_3class"]["swin_tiny_patch4_window7_224"]
    parameters, macs = size_of(Design(backbone=Backbone(name="swin_tiny_patch4_window7_224")), 3)
    assert parameters == expected["params"]
    assert macs == pytest.approx(4.5e9, rel=0.01)


def test_priors_at_the_start_add_no_parameter(counts: dict[str, Any]) -> None:
    branch = Branch(priors=(DarkChannel(type="dark_channel"),))
    found = size_of(Design(backbone=Backbone(name="resnet18"), branches=(branch,)), 3)
    assert found == (11_178_051, counts["timm_3class"]["resnet18"]["macs_224"])


def test_mcf_net_without_the_network_that_it_never_uses(counts: dict[str, Any]) -> None:
    """Three DenseNet121 with their heads; the public code's count has a fourth, with 1000 classes."""
    theirs = counts["mcf_net_dense121_mcs_3class"]
    trunk = 6_956_931 - (1024 * 3 + 3)
    unused = trunk + 1024 * 1000 + 1000
    design = Design(backbone=Backbone(name="densenet121"), branches=SPACES, fusion="predictions")
    parameters, macs = size_of(design, 3)
    assert unused == theirs["params_unused_dead_densenet121"] == 7_978_856
    assert parameters == theirs["params_total"] - unused == 20_880_051
    # Each branch is looked through once: three trunks, a head each, one over all features, one over all predictions.
    densenet = counts["timm_3class"]["densenet121"]["macs_224"]
    assert macs == 3 * densenet + 3 * 1024 * 3 + 12 * 3
