"""WISE against what the peer's own code did on a small GPT-2 (EasyEdit 14cea82, its reset of the memory switched off).

The rows of each edit are the peer's: padded at the left, positions counted with the padding, distances over all of a
row, and one token too many in the mean of the likelihood. None of this is what is done here otherwise; see `Wise`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.forward import recorded
from benchwright.adapters.lm.interventions.memory.descent import Lesson, descended
from benchwright.adapters.lm.interventions.memory.merging import merged
from benchwright.adapters.lm.interventions.memory.params import Margins, Merge, Projection, Wise
from benchwright.adapters.lm.interventions.memory.wise import Memories, Memory, activation_of
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode_prompt
from benchwright.adapters.lm.sidememory import SideMemory, activation_function

Tensors = Mapping[str, torch.Tensor]
SHARD = 5
IGNORED = -100
"""The label of what is no target."""
NOISY = 5
"""The edit in which float noise grows most: what one rounding of the weight does to the loss after the first step is
350 times as much after fifteen. Another order of summation alone moves its losses by 4e-4."""


def near(ours: torch.Tensor, theirs: torch.Tensor, edit: int) -> bool:
    """Whether the losses of an edit, shape (steps, 2), are those of the peer; in relative terms."""
    return torch.allclose(ours, theirs, rtol=1e-3 if edit == NOISY else 1e-4)


@pytest.fixture(scope="module", params=["merge", "retrieve"])
def peer(editing: Path, request: pytest.FixtureRequest) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and numbers of the peer's run of ten edits."""
    name = f"wise_lifelong_{request.param}"
    numbers = json.loads((editing / "gpt2" / f"{name}.json").read_text(encoding="utf-8"))
    return load_file(editing / "gpt2" / f"{name}.safetensors"), numbers


def wise(numbers: Mapping[str, Any]) -> Wise:
    said = numbers["hparams"]
    assert said["inner_params"] == ["transformer.h[4].mlp.c_fc.weight"]
    assert said["save_freq"] == SHARD
    alpha, beta, gamma = said["act_margin"]
    return Wise(
        type="wise",
        site=Projection(module="mlp_up", layer=4),
        keep="retrieve" if said["retrieve"] else "merge",
        distance="activated",
        margins=Margins(alpha=alpha, beta=beta, gamma=gamma),
        lr=said["edit_lr"],
        steps=said["n_iter"],
        weight_decay=1e-5,
        norm_constraint=said["norm_constraint"],
        save_freq=said["save_freq"],
        merge_freq=said["merge_freq"],
        merge=Merge(rule=said["merge_alg"], density=said["densities"]),
    )


def lesson_of(tensors: Tensors, edit: int) -> Lesson:
    ids, mask, labels = (tensors[f"edit{edit}.{name}"].long() for name in ("input_ids", "attention_mask", "labels"))
    wanted = labels[:-1, 1:] != IGNORED
    shares = wanted / (wanted.sum(1, keepdim=True) + 1) / len(wanted)
    return Lesson(
        {"input_ids": ids, "attention_mask": mask},
        len(wanted),
        (*(tuple(row.nonzero()[:, 0].tolist()) for row in wanted), ()),
        labels[:-1, 1:][wanted],
        shares[wanted],
        torch.ones_like(ids, dtype=torch.bool),
    )


def merged_by_peer(tensors: Tensors) -> torch.Tensor:
    return tensors["after9.memory_weight0"] if "after9.memory_weight0" in tensors else tensors["after9.layer_weight"]


def test_merging_is_exact(peer: tuple[Tensors, dict[str, Any]]) -> None:
    tensors, numbers = peer
    original = tensors["original_weight"]
    shards = torch.stack([tensors[f"before_merge.memory_weight{i}"] - original for i in (0, 1)])
    found = merged(shards, [0.5, 0.5], wise(numbers).merge)
    assert torch.equal(original + found, merged_by_peer(tensors))


def test_ten_edits_and_their_merge(peer: tuple[Tensors, dict[str, Any]], lm: LanguageModel) -> None:
    """Each edit goes on from the peer's weights: at a learning rate of 1 float noise is doubled at every step, and the
    losses of a sequence of its own are apart by more than a percent after eight edits."""
    tensors, numbers = peer
    spec = wise(numbers)
    projection = linear(lm.model, spec.site.layer, spec.site.module)
    original = projection.stored(tensors["original_weight"])
    assert torch.equal(projection.stored(projection.module.weight), original)
    memories = Memories(Memory(torch.zeros_like(original)))
    for edit, theirs in enumerate(numbers["edits"]):
        shard, last = edit // SHARD, edit % SHARD == SHARD - 1
        mask = projection.stored(tensors[f"mask{shard}"].reshape(tensors["original_weight"].shape)).bool()
        change = memories.current.change
        made = descended(spec, lm, projection, lesson_of(tensors, edit), change, mask, activation_of(lm))
        ours, losses = torch.tensor(made.losses), torch.tensor(theirs["losses"])
        assert ours.shape == losses.shape
        assert torch.allclose(ours[:10], losses[:10], rtol=1e-5)
        assert near(ours, losses, edit)
        name = f"before_merge.memory_weight{shard}" if last else f"after{edit}.new_weight"
        reached = projection.stored(tensors[name])
        assert float((original + made.change - reached).norm() / reached.norm()) < 1e-4
        # The peer takes the distance before the last update, not after it.
        memories.learned(spec, reached - original, made.distances[-2])
        every = [m.least for m in (*memories.merged, *memories.shards, memories.current)]
        if spec.keep == "retrieve":
            assert [min(v, 1e9) for v in every] == pytest.approx(
                [*theirs["memory_min_act"], theirs["editing_min_act"]], rel=1e-4
            )
        else:  # all of the peer's shards have one threshold
            assert min(every) == pytest.approx(theirs["editing_min_act"], rel=1e-4)
    (one,) = memories.merged
    # Of entries that are equal at the edge of the density, their order in memory decides which are kept.
    wrong = (original + one.change - projection.stored(merged_by_peer(tensors))).abs() > 1e-7
    assert float(wrong.float().mean()) < 1e-3
    assert (memories.shards, float(memories.current.change.abs().max())) == ([], 0)
    assert lm.verify() == []


@pytest.mark.parametrize("peer", ["merge"], indirect=True)
def test_a_sequence_of_its_own_agrees_for_three_edits(peer: tuple[Tensors, dict[str, Any]], lm: LanguageModel) -> None:
    """Of the first shard. The second begins with the noisy edit, and its third edit goes another way: so it does where
    the peer's own operations are repeated, on the weight and not on its change, in the peer's order."""
    tensors, numbers = peer
    spec = wise(numbers)
    projection = linear(lm.model, spec.site.layer, spec.site.module)
    original = projection.stored(tensors["original_weight"])
    mask = projection.stored(tensors["mask0"].reshape(tensors["original_weight"].shape)).bool()
    change = torch.zeros_like(original)
    for edit in range(3):
        made = descended(spec, lm, projection, lesson_of(tensors, edit), change, mask, activation_of(lm))
        change = made.change
        assert near(torch.tensor(made.losses), torch.tensor(numbers["edits"][edit]["losses"]), edit)
        reached = projection.stored(tensors[f"after{edit}.new_weight"])
        assert float((original + change - reached).norm() / reached.norm()) < 1e-4


def test_the_router_decides_for_each_prompt_by_the_peer_s_rule(
    peer: tuple[Tensors, dict[str, Any]], lm: LanguageModel, edit_requests: list[EditRequest]
) -> None:
    """The memory is used where Δ = mean over tokens of |act(W'x) - act(Wx)| exceeds act_ratio times the smallest Δ of
    an edit; here by formula, from the peer's memory and the peer's smallest Δ."""
    tensors, numbers = peer
    spec = wise(numbers)
    projection = linear(lm.model, spec.site.layer, spec.site.module)
    original = projection.stored(tensors["original_weight"])
    change = projection.stored(merged_by_peer(tensors)) - original
    threshold = numbers["hparams"]["act_ratio"] * min(theirs["editing_min_act"] for theirs in numbers["edits"])
    # Beside the ten prompts, their words without the subjects and in another order.
    asked = [r.prompt for r in edit_requests]
    asked += [r.prompt.replace(r.subject, "it") for r in edit_requests] + [p[::-1] for p in asked]
    rows = [encode_prompt(lm, prompt) for prompt in asked]
    apart = []
    for row in rows:
        x = recorded(lm, [row], [projection.name])[projection.name][0][0].double()
        before, after = (x @ w.double().T + projection.module.bias.double() for w in (original, original + change))
        act = activation_function(activation_of(lm))
        apart.append(float((act(after) - act(before)).norm(dim=1).mean()))
    # The median, so that there are decisions of both kinds.
    for bound in (threshold, sorted(apart)[len(apart) // 2] + 1e-3):
        memory = SideMemory(change[None], torch.tensor([bound]), activation_of(lm))
        wanted = [0 if distance > bound else -1 for distance in apart]
        together = recorded(lm, rows, [projection.name])[projection.name]
        ends = torch.tensor([len(row) for row in rows])
        inside = torch.arange(together[0].shape[1]) < ends[:, None]
        assert memory.routed(*together, inside).tolist() == wanted
        for row, decision in zip(rows, wanted, strict=True):
            alone = recorded(lm, [row], [projection.name])[projection.name]
            assert memory.routed(*alone, torch.ones(1, len(row), dtype=torch.bool)).tolist() == [decision]
    assert len(set(wanted)) == 2
