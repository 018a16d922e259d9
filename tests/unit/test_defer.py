"""DEFER: its gate's decision is each prompt's own, what it learns is a descent of the mixture, nobody else notices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.deferral import Deferral
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import logits_at
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.memory.defer.learning import untrained
from benchwright.adapters.lm.interventions.memory.defer.params import Defer
from benchwright.adapters.lm.interventions.memory.params import Projection
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny
JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
# One byte each: what two random layers can be brought to say.
REQUESTS = [
    EditRequest("0", "The capital of Vorland is ", "Vorland", "O"),
    EditRequest("1", "Mira plays the ", "Mira", "h"),
    EditRequest("2", "The river at Belt is called ", "Belt", "T"),
]


def defer(**fields: Any) -> Defer:
    return Defer(type="defer", site=Projection(layer=1), **{"lr": 0.05, "steps": 30, **fields})


def asked(ends: list[int], carried: dict[object, torch.Tensor] | None = None) -> Asked:
    return Asked(torch.tensor(ends), torch.zeros(len(ends), dtype=torch.long), None, {} if carried is None else carried)


def gate() -> Deferral:
    """Opens where the first number of the input is above 1; says twice the second one."""
    return Deferral(torch.tensor([1.0, 0.0]), torch.tensor([-1.0]), torch.tensor([[0.0, 2.0]]), torch.tensor([0.5]))


def test_each_row_is_decided_at_its_own_prompt_s_end_and_replaced_as_a_whole() -> None:
    inputs = torch.tensor([[[9.0, 9], [2, 3], [0, 0]], [[9, 9], [0.5, 3], [9, 9]]])
    output = torch.arange(6.0).reshape(2, 3, 1)
    found = gate()(inputs, output, asked([1, 1]))
    assert found[..., 0].tolist() == [[6.5, 6.5, 6.5], [3, 4, 5]]
    assert torch.equal(gate()(inputs[1:], output[1:], asked([1])), output[1:])
    assert torch.equal(gate()(inputs, output, asked([-1, -1])), output)  # a text without a prompt
    # The threshold itself opens: σ(0) = 0.5.
    assert float(gate()(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 1), asked([0]))) == 6.5
    shut = dataclasses.replace(gate(), threshold=0.9)
    assert torch.equal(shut(inputs, output, asked([1, 1])), output)


def test_decoding_steps_follow_the_prompt_s_decision() -> None:
    memory, carried = gate(), dict[object, torch.Tensor]()
    prompts = torch.tensor([[[2.0, 3.0]], [[0.0, 3.0]]])
    memory(prompts, torch.zeros(2, 1, 1), asked([0, 0], carried))
    later = memory(torch.full((2, 1, 2), 9.0), torch.ones(2, 1, 1), asked([-1, -1], carried))
    assert later[:, 0, 0].tolist() == [6.5, 1]
    assert gate()(prompts, torch.ones(2, 1, 1), asked([-1, -1], carried))[:, 0, 0].tolist() == [1, 1]  # another one


def test_what_is_learned_is_the_mixture_of_both() -> None:
    inputs, output = torch.tensor([[[2.0, 3.0], [7.0, 7.0]]]), torch.tensor([[[1.0], [2.0]]])
    share = float(torch.sigmoid(torch.tensor(1.0)))
    found = gate().mixed(inputs, output, asked([0]))
    assert found[0, :, 0].tolist() == pytest.approx([share * 6.5 + 1 - share, share * 6.5 + 2 * (1 - share)])


def test_the_first_update_is_adam_s_on_the_mixture_s_likelihood() -> None:
    """Against a projection that is replaced by hand: one step of Adam moves every number by the learning rate."""
    lm = tiny("llama")
    row = encode(lm, REQUESTS[0].prompt, REQUESTS[0].target_new)
    patch, _ = defer(steps=1, lr=0.01).apply(lm, REQUESTS[:1], None, JOB)
    (after,) = patch.inserts.values()
    projection = linear(lm.model, 1, "mlp_down")
    begun = {n: t.requires_grad_() for n, t in untrained(projection, JOB, lm.device).items()}
    own = projection.module.forward

    def mixed(x: torch.Tensor) -> torch.Tensor:
        query = x[0, row.start - 1]
        share = torch.sigmoid(query @ begun["gate"] + begun["gate_bias"])
        return share * (begun["weight"] @ query + begun["bias"]) + (1 - share) * own(x)

    projection.module.forward = mixed
    try:
        logits = lm.model(torch.tensor([row.ids[:-1]])).logits[0, row.start - 1 :]
    finally:
        del projection.module.forward
    torch.nn.functional.cross_entropy(logits, torch.tensor(row.target)).backward()
    for name, tensor in after.tensors().items():
        gradient = begun[name].grad
        assert gradient is not None
        step = tensor - begun[name].detach()
        large = gradient.abs() > 1e-5
        assert torch.allclose(step[large], -0.01 * gradient[large].sign(), atol=2e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_edited_prompt_gives_the_target_and_all_comes_back(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    prompts = [r.prompt for r in REQUESTS]

    def logits(prompts: list[str]) -> torch.Tensor:
        rows = [encode(lm, p, "a") for p in prompts]
        ends = [row.start - 1 for row in rows]
        with torch.inference_mode():
            return logits_at(lm, [row.ids for row in rows], [[end] for end in ends], ends)

    before = logits(prompts)
    patch, state = defer().apply(lm, REQUESTS[:1], None, JOB)
    row = encode(lm, REQUESTS[0].prompt, REQUESTS[0].target_new)
    with patch.applied(lm):
        assert forced(lm, [row], 1)[0].tokens == row.target
        # With a cache, and beside a longer prompt that is padded.
        (text,) = greedy(lm, [row.prompt], [4], 1)
        other = encode(lm, REQUESTS[2].prompt, "a").prompt
        assert greedy(lm, [row.prompt, other], [4, 4], 2)[0] == text
        assert forced(lm, [row.with_target(text)], 1)[0].tokens == text
        after = logits(prompts)
        assert torch.allclose(after, logits(prompts[::-1]).flip(0), atol=1e-4)
        assert torch.allclose(after, torch.cat([logits([p]) for p in prompts]), atol=1e-4)
    patch.save(tmp_path / "patch.safetensors")
    again = Patch.load(tmp_path / "patch.safetensors")
    assert again.digest() == patch.digest()
    assert torch.equal(logits(prompts), before)
    assert lm.verify() == []
    assert state is not None
    assert all(torch.equal(state[name], tensor) for name, tensor in memory_of(again).tensors().items())


def memory_of(patch: Patch) -> Deferral:
    (insert,) = patch.inserts.values()
    assert isinstance(insert, Deferral)
    return insert


def test_a_sequence_goes_on_from_its_checkpoint_and_not_from_the_replaced_output() -> None:
    lm: LanguageModel = tiny("gpt2")
    *_, (_, whole, state) = carried_out(lm, defer(steps=4), REQUESTS, 1, JOB)
    *_, (_, patch, memory) = carried_out(lm, defer(steps=4), REQUESTS[:2], 1, JOB)
    *_, (_, resumed, _) = carried_out(lm, defer(steps=4), REQUESTS[2:], 1, JOB, restored(kept(patch, memory)))
    assert resumed.digest() == whole.digest()
    # Whether the earlier patch is applied makes no difference: the mixture is with the projection's own output.
    bare, _ = defer(steps=4).apply(lm, REQUESTS[2:], memory, JOB)
    assert bare.digest() == whole.digest()
    assert state is not None
    assert lm.verify() == []
