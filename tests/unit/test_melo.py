"""MELO: what a cluster does with a new point, which block a prompt uses, and that nobody else notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.lm.blocks import ClusterIndex, LowRankBlocks
from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.memory.melo.clusters import MARGIN, Cluster, admit, clusters_of, index_of
from benchwright.adapters.lm.interventions.memory.melo.params import Melo, Targets
from benchwright.adapters.lm.interventions.memory.params import Site
from benchwright.adapters.lm.model import Asked
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable, encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny
JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is ", "Vorland", "O"),
    EditRequest("1", "Mira plays the ", "Mira", "h"),
    EditRequest("2", "The river at Belt is called ", "Belt", "T"),
]


def melo(**fields: Any) -> Melo:
    where = {"index": Site(module="mlp_down", layer=0), "targets": Targets(modules=("mlp_down",), layers=(1,))}
    return Melo(type="melo", **{**where, "radius": 0.05, "lr": 0.2, "steps": 30, **fields})


def admitted(*news: tuple[float, int]) -> list[Cluster]:
    clusters: list[Cluster] = []
    for block, (at, label) in enumerate(news):
        admit(clusters, torch.tensor([at, 0.0]), (label,), block, 1.0)
    return clusters


def shown(clusters: list[Cluster]) -> list[tuple[float, float, int, list[int]]]:
    return [(float(c.center[0]), pytest.approx(c.radius), c.label[0], c.blocks) for c in clusters]


def named(clusters: list[Cluster], *queries: float) -> list[int]:
    found: list[int] = index_of(clusters).found(torch.tensor([[q, 0.0] for q in queries])).tolist()
    return found


def test_points_found_join_and_split_clusters() -> None:
    assert shown(admitted((0, 7), (2.5, 7))) == [(0, 1, 7, [0]), (2.5, 1, 7, [1])]
    # 1.6 is within 1 + 1 and stands for the same: the centre is the mean; 0.8 is below the smallest radius.
    assert shown(admitted((0, 7), (1.6, 7))) == [(pytest.approx(0.8), 1, 7, [0, 1])]
    # At 0.8 + 1.9 the cluster's points end up further from their mean than the smallest radius.
    (one,) = admitted((0, 7), (1.6, 7), (2.7, 7))
    assert float(one.center[0]) == pytest.approx(4.3 / 3)
    assert one.radius == pytest.approx(4.3 / 3 + 1e-3)
    # Another target: both end half-way.
    assert shown(admitted((0, 7), (1.5, 8))) == [(0, 0.75 - MARGIN, 7, [0]), (1.5, 0.75 + MARGIN, 8, [1])]
    # The first cluster's points, 0.8 from their centre, are then outside and forgotten.
    old, new = admitted((0, 7), (1.6, 7), (1.8, 8))
    assert (old.points, old.blocks, old.radius) == ([], [], pytest.approx(0.5 - MARGIN))
    assert new.blocks == [2]
    # The same key with another target takes over; float noise does not make it another key.
    assert shown(admitted((0, 7), (1e-5, 8))) == [(pytest.approx(1e-5), 1, 8, [1])]


def test_a_query_uses_the_nearest_point_of_the_nearest_cluster() -> None:
    joined = admitted((0, 7), (1.6, 7), (9, 8))
    assert named(joined, 0.7, 0.9, 9.5, 5, -0.15, -0.25) == [0, 1, 2, -1, 0, -1]
    split = admitted((0, 7), (1.6, 7), (1.8, 8))
    assert named(split, 0.8, 1.29, 1.31, 2.2) == [-1, -1, 2, 2]  # a cluster without points names nothing
    again = clusters_of(index_of(split))
    assert shown(again) == shown(split)
    admit(again, torch.tensor([1.7, 0.0]), (8,), 3, 1.0)
    admit(split, torch.tensor([1.7, 0.0]), (8,), 3, 1.0)
    assert shown(again) == shown(split)


def test_rows_have_blocks_of_their_own_which_last_as_long_as_their_answer() -> None:
    blocks = LowRankBlocks(
        torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[2.0]], [[10.0]]]), "block:1", 3.0
    )
    carried: dict[object, torch.Tensor] = {}
    asked = Asked(torch.tensor([0, 0, 0]), torch.zeros(3, dtype=torch.long), None, carried)
    inputs, output = torch.ones(3, 2, 2), torch.zeros(3, 2, 1)
    assert torch.equal(blocks(inputs, output, asked), output)
    index = ClusterIndex(
        torch.tensor([[0.0], [5.0]]), torch.tensor([1.0, 1.0]), torch.tensor([[1], [2]]),
        torch.tensor([[0.0], [5.0]]), torch.tensor([0, 1]), torch.tensor([0, 1]), "block:1",
    )  # fmt: skip
    states = torch.tensor([[[5.5], [0.0]], [[3.0], [0.0]], [[0.5], [5.0]]])
    assert index(inputs, states, asked) is states
    assert carried["block:1"].tolist() == [1, -1, 0]
    assert blocks(inputs, output, asked)[..., 0].tolist() == [[30, 30], [0, 0], [6, 6]]
    later = Asked(torch.tensor([-1, -1, -1]), asked.owners, None, carried)
    index(inputs[:, :1], torch.zeros(3, 1, 1), later)
    assert blocks(inputs[:, :1], output[:, :1], later)[..., 0].tolist() == [[30], [0], [6]]


def test_two_memories_in_one_model_do_not_see_each_other() -> None:
    """As where a saved edited model is edited again."""
    lm, first, second = tiny("llama"), REQUESTS[0], REQUESTS[1]
    row = encode(lm, first.prompt, first.target_new)
    kept = melo().apply(lm, [first], None, JOB)[0]
    with kept.applied(lm):
        (before,) = forced(lm, [row], 1)
        later = melo().apply(lm, [second], None, JOB)[0]
        with later.applied(lm):
            assert forced(lm, [row], 1) == [before]
    assert before.tokens == row.target


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_edits_hold_in_a_sequence_and_what_is_far_gets_the_very_same_logits(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    far = [encode(lm, text, "a") for text in ("Another thing", "12345")]
    before = forced(lm, [*rows, *far], 8)
    *_, (_, patch, _) = carried_out(lm, melo(), REQUESTS, 1, JOB)
    with patch.applied(lm):
        after = forced(lm, [*rows, *far], 8)
        assert [f.tokens for f in after[:3]] == [row.target for row in rows]
        assert after[3:] == before[3:]
        assert [forced(lm, [row], 1)[0].tokens for row in rows] == [row.target for row in rows]
        texts = greedy(lm, [row.prompt for row in (*rows, *far)], [3] * 5, 5)
        assert texts == [greedy(lm, [row.prompt], [3], 1)[0] for row in (*rows, *far)]
    patch.save(tmp_path / "patch.safetensors")
    assert Patch.load(tmp_path / "patch.safetensors").digest() == patch.digest()
    assert forced(lm, [*rows, *far], 8) == before
    assert lm.verify() == []
    # Each alone: the same block as in the sequence, in which nothing else was active while it was trained.
    each = melo().apply_each(lm, [*REQUESTS, EditRequest("3", "a", "a", " ")], JOB)
    assert isinstance(each[3], Unusable)
    (name,) = (name for name, insert in patch.inserts.items() if isinstance(insert, LowRankBlocks))
    for i, alone in enumerate(each[:3]):
        assert isinstance(alone, Patch)
        for kind in ("into", "out"):
            own, all_of = (p.inserts[name].tensors()[kind] for p in (alone, patch))
            assert torch.allclose(own[0], all_of[i], atol=2e-3), kind


def test_a_resumed_sequence_equals_one_that_was_not() -> None:
    lm = tiny("llama")
    *_, (_, whole, _) = carried_out(lm, melo(steps=4, radius=2.0), REQUESTS, 1, JOB)
    *_, (_, patch, memory) = carried_out(lm, melo(steps=4, radius=2.0), REQUESTS[:2], 1, JOB)
    begun = restored(kept(patch, memory))
    *_, (_, resumed, _) = carried_out(lm, melo(steps=4, radius=2.0), REQUESTS[2:], 1, JOB, begun)
    assert resumed.digest() == whole.digest()


def test_requests_that_come_together_share_blocks() -> None:
    lm = tiny("llama")
    patch, state = melo(steps=1, edits_per_block=2).apply(lm, REQUESTS, None, JOB)
    (index,) = (insert for insert in patch.inserts.values() if isinstance(insert, ClusterIndex))
    assert index.blocks.tolist() == [0, 0, 1]
    (blocks,) = (insert for insert in patch.inserts.values() if isinstance(insert, LowRankBlocks))
    assert blocks.into.shape == (2, 2, 64)
    assert state is not None
    bound = 1 / 64**0.5
    # A begins uniform within the bound; one step of Adam moves B alone, for B was zero.
    assert float(blocks.into.abs().max()) <= bound
    assert float(blocks.into.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert blocks.out[blocks.out != 0].abs().tolist() == pytest.approx([0.2] * int((blocks.out != 0).sum()), rel=1e-3)


def test_the_index_must_be_below_the_blocks() -> None:
    with pytest.raises(ValidationError, match="below the blocks"):
        melo(index=Site(layer=1))
