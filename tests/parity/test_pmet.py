"""PMET against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82).

The peer pads its rows at the left for PMET, but counts the places of subject and target from the left without the
padding, and has GPT-2 count positions with it. So what it made belongs to other tokens. Given the same layout, these
formulas give the same change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm import forward
from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.interventions.locate_then_edit import value
from benchwright.adapters.lm.interventions.locate_then_edit.contexts import Filled, fill
from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
from benchwright.adapters.lm.interventions.locate_then_edit.prepared import grounds
from benchwright.adapters.lm.interventions.locate_then_edit.solve import least_squares
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.resumed import added
from benchwright.job import Job


@pytest.fixture(scope="module")
def method(as_the_peer: Callable[..., LocateThenEdit]) -> LocateThenEdit:
    def solve(hyper: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "least_squares",
            "covariance": {"file": "cov_gpt2.safetensors"},
            "covariance_weight": hyper["mom2_update_weight"],
        }

    settle = {"nll_factor": 0.1, "kl": 0.01}
    return as_the_peer("pmet_batch10", solve, "attention_and_mlp", "square_root", settle=settle)


def as_the_peer_pads(rows: Sequence[Sequence[int]], device: Any) -> dict[str, torch.Tensor]:
    """In place of `forward.padded`."""
    longest = max(map(len, rows))
    ids = [[0] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def all_logits(self: Any, batch: Any, deltas: torch.Tensor) -> torch.Tensor:
    """In place of `_Objective._logits`, for one request: nothing is skipped, rows are laid out as the peer does."""
    (filled,) = self.filled
    rows = [*(r.ids[:-1] for r in filled.rows), filled.essence]
    every, columns = torch.arange(len(rows)), torch.tensor([*filled.subject, filled.essence_subject])
    with ExitStack() as hooks:
        for number, module in enumerate(self.modules):
            hooks.enter_context(added(self.lm, module, every, columns, deltas[:, number].expand(len(rows), -1)))
        logits = self.lm.model(**as_the_peer_pads(rows, self.lm.device)).logits
    return torch.cat([logits[row, list(places)] for row, places in enumerate(batch.asked)])


def at(found: tuple[torch.Tensor, torch.Tensor], columns: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and output of a module at one column of each row."""
    return found[0][torch.arange(len(columns)), columns], found[1][torch.arange(len(columns)), columns]


def wanted(lm: LanguageModel, method: LocateThenEdit, filled: Filled) -> torch.Tensor:
    """The MLP's value of one request; the peer reads what is there before in the batch that it optimises in."""
    last = method.site.layers[-1]
    names = [linear(lm.model, last, role).name for role in ("attention_out", "mlp_down")]
    seen = forward.recorded(lm, [*(r.ids[:-1] for r in filled.rows), filled.essence], names)
    initial = torch.stack([seen[name][1][0, filled.subject[0]] for name in names])
    return (initial + value._optimised(lm, [filled], initial[None], method.value, last, 5)[0])[-1]


def test_the_whole_edit_in_the_layout_of_the_peer(
    lm: LanguageModel,
    editing: Path,
    edit_requests: list[EditRequest],
    job: Job,
    method: LocateThenEdit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs, layers = load_file(editing / "gpt2" / "pmet_batch10.safetensors"), method.site.layers
    known = grounds(method, lm, job)
    filled = [fill(lm, r, known.templates, method.value.kl_prompt) for r in edit_requests]
    monkeypatch.setattr(forward, "padded", as_the_peer_pads)
    monkeypatch.setattr(value._Objective, "_logits", all_logits)
    values = torch.stack([wanted(lm, method, f) for f in filled])
    rows, columns = [r.prompt for f in filled for r in f.rows], [c for f in filled for c in f.subject]
    output = linear(lm.model, layers[-1], "mlp_down").name
    patch = Patch()
    for number, layer in enumerate(layers):
        name = linear(lm.model, layer, "mlp_down").name
        with patch.applied(lm):
            keys, _ = at(forward.recorded(lm, rows, [name])[name], columns)
            bare = forward.recorded(lm, [f.rows[0].prompt for f in filled], [output])
        missing = values - at(bare[output], [f.subject[0] for f in filled])[1]
        keys = keys.reshape(len(filled), 4, -1)
        means = torch.stack([keys[:, 0], keys[:, 1:].mean(1)]).mean(0)
        left, right = least_squares(means, missing, known.inverses[layer], 1.0)
        change = ((left / method.parts(len(layers) - number)) @ right).T.float()
        expected = theirs[f"batch10.delta.{name}.weight"]
        assert float((change - expected).norm() / expected.norm()) < 1e-3
        patch = patch.then(Patch({f"{name}.weight": change}))


def test_it_is_batch_independent_and_leaves_the_model_as_it_was(
    lm: LanguageModel, edit_requests: list[EditRequest], job: Job, method: LocateThenEdit
) -> None:
    three, one = method.apply_each(lm, edit_requests[:3], job), method.apply_each(lm, edit_requests[1:2], job)
    assert isinstance(three[1], Patch)
    assert isinstance(one[0], Patch)
    for name, change in three[1].tensors().items():
        alone = one[0].tensors()[name]
        assert float((change - alone).norm() / alone.norm()) < 1e-3
    assert lm.verify() == []
