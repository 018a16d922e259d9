"""The parts of a transformer are found by name, in every family and in none that is not known."""

from __future__ import annotations

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm import architecture as arch
from benchwright.errors import ModelError, Skip

WIDTH = 32


@pytest.mark.parametrize("family", lm_fixtures.FAMILIES)
def test_every_part_of_every_family_is_found(family: str) -> None:
    model = lm_fixtures.tiny(family).model
    name, modules = arch.blocks(model)
    assert len(modules) == 2
    assert arch.block(model, 1) == (f"{name}.1", modules[1])
    down, up = arch.linear(model, 1, "mlp_down"), arch.linear(model, 1, "mlp_up")
    out = arch.linear(model, 1, "attention_out")
    assert down.stored(down.module.weight).shape[0] == out.stored(out.module.weight).shape[0] == WIDTH
    assert up.stored(up.module.weight).shape[1] == WIDTH
    assert up.stored(up.module.weight).shape[0] in (64, 128)
    assert down.transposed is (family == "gpt2")
    for found in (down, up, out):
        assert model.get_submodule(found.name) is found.module
        assert model.get_parameter(found.weight_name) is found.module.weight
    inputs = arch.attention_inputs(model, 0)
    assert sum(i.stored(i.module.weight).shape[0] for i in inputs) in (WIDTH * 3, WIDTH * 2)  # or grouped
    assert len(arch.norms(model, 0)) == {"gptj": 1, "phi": 1}.get(
        family, 4 if family.startswith("gemma") and family != "gemma" else 2
    )
    assert arch.final_norm(model)[1].weight.shape == (WIDTH,)
    assert arch.head(model)[1] is model.get_output_embeddings()
    assert arch.embeddings(model)[1].weight.shape[1] == WIDTH


def test_a_gate_is_found_where_there_is_one() -> None:
    assert arch.linear(lm_fixtures.tiny("llama").model, 0, "mlp_gate").module.weight.shape == (64, WIDTH)
    with pytest.raises(ModelError, match=r"GPT2LMHeadModel: block 0 has no mlp_gate \(known names: gate_proj\)"):
        arch.linear(lm_fixtures.tiny("gpt2").model, 0, "mlp_gate")


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(Skip, match="layer 2 does not exist; the model has layers 0 to 1"):
        arch.linear(lm_fixtures.tiny("llama").model, 2, "mlp_down")


def test_an_unknown_architecture_is_refused_with_a_reason() -> None:
    model = lm_fixtures.tiny("llama").model
    for layer in model.model.layers:
        layer.mixer = layer.self_attn
        del layer.self_attn
    with pytest.raises(ModelError, match="cannot tell which of its module lists are the 2 blocks"):
        arch.blocks(model)


def test_quantised_weights_are_refused_with_a_reason() -> None:
    model = lm_fixtures.tiny("llama").model
    module = model.model.layers[0].mlp.down_proj
    module.weight = torch.nn.Parameter(torch.zeros(32, 64, dtype=torch.int8), requires_grad=False)
    with pytest.raises(Skip, match=r"down_proj \(Linear\) holds quantised weights"):
        arch.linear(model, 0, "mlp_down")
