"""Fine-tuning: which numbers move, what is asked of the model, and the bound."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.interventions.fine_tune import FineTune, Parameters
from benchwright.adapters.lm.losses import Targets
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo"),
    EditRequest("1", "Mira plays the", "Mira", "horn"),
]
FAMILIES = ["gpt2", "gpt_neox", "opt", "llama"]


def fine_tune(**fields: Any) -> FineTune:
    return FineTune(type="fine_tune", **{"parameters": Parameters(layers=(0, 1)), "lr": 1e-2, "steps": 40, **fields})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_says_the_target_and_is_then_as_it_was(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    patch, state = fine_tune().apply(lm, REQUESTS, None, JOB)
    assert state is None
    assert lm.verify() == []
    with patch.applied(lm):
        said = forced(lm, rows, 2)
    assert [f.tokens for f in said] == [row.target for row in rows]
    patch.save(tmp_path / "patch.safetensors")
    with Patch.load(tmp_path / "patch.safetensors").applied(lm):
        assert forced(lm, rows, 2) == said
    assert lm.verify() == []


def test_the_losses_are_those_of_the_definitions() -> None:
    lm = tiny("llama")
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    for row, usual, last in zip(rows, Targets(lm, rows).nll(), Targets(lm, rows, 1, "last_token").nll(), strict=True):
        logits = lm.model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        each = [-logits[at, token].item() for at, token in zip(row.places, row.target, strict=True)]
        assert usual.item() == pytest.approx(sum(each) / len(each), abs=1e-4)
        at_last = [-logits[row.start - 1, token].item() for token in row.target]
        assert last.item() == pytest.approx(sum(at_last) / len(at_last), abs=1e-4)
    assert forced(lm, rows, 2)[0].nll == pytest.approx(Targets(lm, rows, 1).nll([0]).item(), abs=1e-4)


def test_one_position_cannot_say_two_tokens() -> None:
    """FT-L's known limit: at the prompt's last position the tokens of a target share the probability."""
    lm = tiny("llama")
    patch, _ = fine_tune(objective="last_token").apply(lm, REQUESTS[:1], None, JOB)
    row = encode(lm, REQUESTS[0].prompt, REQUESTS[0].target_new)
    assert lm.tokenizer.bos_token_id in row.ids
    assert lm.tokenizer.bos_token_id not in row.target
    assert len(set(row.target)) == len(row.target) > 1
    with torch.no_grad():
        before = Targets(lm, [row], 0, "last_token").nll().item()
        with patch.applied(lm):
            after = Targets(lm, [row], 0, "last_token").nll().item()
    assert math.log(len(row.target)) < after < before


def test_only_the_chosen_parameters_move_and_none_further_than_allowed() -> None:
    lm = tiny("gpt2")
    patch, _ = fine_tune(parameters=Parameters(module="mlp_up", layers=(1,)), max_change=1e-3).apply(
        lm, REQUESTS, None, JOB
    )
    assert set(patch.deltas) == {"transformer.h.1.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.bias"}
    changes = [dense(d).abs().max().item() for d in patch.deltas.values()]
    assert changes == pytest.approx([1e-3] * 2)


def test_requests_in_one_pass_or_one_by_one() -> None:
    lm = tiny("llama")
    together, _ = fine_tune(steps=3).apply(lm, REQUESTS, None, JOB)
    apart, _ = fine_tune(steps=3, batch_size=1).apply(lm, REQUESTS, None, JOB)
    for name, delta in together.deltas.items():
        # Where a gradient is almost nothing, Adam makes a whole step of its sign: such numbers are few.
        assert (dense(delta) - dense(apart.deltas[name])).norm() < 1e-2 * dense(delta).norm()


def test_decay_pulls_weights_and_not_their_changes_to_zero() -> None:
    lm = tiny("llama")
    patch, _ = fine_tune(weight_decay=1e6, steps=1).apply(lm, REQUESTS, None, JOB)
    name = "model.layers.0.mlp.down_proj.weight"
    moved, weight = dense(patch.deltas[name]), lm.model.get_parameter(name)
    assert torch.equal(moved.sign(), -weight.sign())
