"""SimIE: its recursion is the ridge solution, and its editor works on the model that it should."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import recorded
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune, Lora, Parameters
from benchwright.adapters.lm.interventions.simie.params import SimIE
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable, encode
from benchwright.errors import Skip
from benchwright.job import Job

tiny = lm_fixtures.tiny
JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is ", "Vorland", "O"),
    EditRequest("1", "Mira plays the ", "Mira", "h"),
    EditRequest("2", "The river at Belt is called ", "Belt", "T"),
]


def simie(**fields: Any) -> SimIE:
    editor = Lora(type="lora", modules=("mlp_down",), layers=(1,), steps=4, lr=0.02, rank=2)
    return SimIE(type="simie", **{"editor": editor, "ridge": 5.0, **fields})


def keys(lm: LanguageModel, request: EditRequest, layer: int = 1) -> torch.Tensor:
    """K, shape (inputs, tokens), float64."""
    name = linear(lm.model, layer, "mlp_down").name
    row = encode(lm, request.prompt, request.target_new)
    return recorded(lm, [row.ids], [name])[name][0][0].double().T


def changes(lm: LanguageModel, method: SimIE, requests: list[EditRequest], patch: Patch) -> list[torch.Tensor]:
    """Of the one weight that a patch changes, as (outputs, inputs), and what the editor makes of each request."""
    projection = linear(lm.model, 1, "mlp_down")
    found = [patch, *(method.editor.apply(lm, [r], None, JOB)[0] for r in requests)]
    return [projection.stored(dense(p.deltas[projection.weight_name])).double() for p in found]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_sequence_is_the_ridge_solution_of_the_edits_of_the_untouched_model(family: str) -> None:
    lm, method = tiny(family), simie()
    *_, (_, patch, state) = carried_out(lm, method, REQUESTS, 1, JOB)
    assert lm.verify() == []
    found, *alone = changes(lm, method, REQUESTS, patch)
    k = [keys(lm, r) for r in REQUESTS]
    wanted = sum(d @ x @ x.T for d, x in zip(alone, k, strict=True))
    wanted = wanted @ torch.linalg.inv(5.0 * torch.eye(len(k[0])).double() + sum(x @ x.T for x in k))
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5
    # Together, they are carried out one after another all the same.
    together, _ = method.apply(lm, REQUESTS, None, JOB)
    assert torch.allclose(changes(lm, method, [], together)[0], found, atol=1e-5)
    assert state is not None
    assert lm.verify() == []


def test_with_next_to_no_ridge_every_edit_holds_at_all_tokens_of_its_request() -> None:
    """The solution of smallest norm: one request's tokens are fewer than the inputs, so that it is exact there."""
    lm, method = tiny("llama"), simie(ridge=1e-6)
    patch, _ = method.apply(lm, REQUESTS[:1], None, JOB)
    found, alone = changes(lm, method, REQUESTS[:1], patch)
    k = keys(lm, REQUESTS[0])
    assert torch.allclose(found @ k, alone @ k, atol=1e-4)
    assert float(found.norm()) < float(alone.norm())
    # And with a large one, nothing is changed.
    small, _ = simie(ridge=1e9).apply(lm, REQUESTS[:1], None, JOB)
    assert float(changes(lm, method, [], small)[0].norm()) < 1e-4 * float(alone.norm())


def test_the_editor_may_go_on_from_the_current_model() -> None:
    lm, method = tiny("llama"), simie(start="current")
    *_, (_, patch, _) = carried_out(lm, method, REQUESTS[:2], 1, JOB)
    first, _ = method.apply(lm, REQUESTS[:1], None, JOB)
    one, _ = changes(lm, method, REQUESTS[:1], first)
    projection, shift, gram = linear(lm.model, 1, "mlp_down"), one, 5.0 * torch.eye(64).double()
    gram += keys(lm, REQUESTS[0]) @ keys(lm, REQUESTS[0]).T
    with first.applied(lm):
        edit = method.editor.apply(lm, REQUESTS[1:2], None, JOB)[0]
        k = keys(lm, REQUESTS[1])
    gram += k @ k.T
    shift = shift + projection.stored(dense(edit.deltas[projection.weight_name])).double() @ k @ k.T @ gram.inverse()
    assert torch.allclose(changes(lm, method, [], patch)[0], shift, atol=1e-5)
    assert lm.verify() == []


@pytest.mark.parametrize("start", ["untouched", "current"])
def test_a_resumed_sequence_equals_one_that_was_not(start: str) -> None:
    lm, method = tiny("gpt2"), simie(start=start)
    *_, (_, whole, state) = carried_out(lm, method, REQUESTS, 1, JOB)
    *_, (_, patch, memory) = carried_out(lm, method, REQUESTS[:1], 1, JOB)
    *_, (_, resumed, again) = carried_out(lm, method, REQUESTS[1:], 1, JOB, restored(kept(patch, memory)))
    assert resumed.digest() == whole.digest()
    assert state is not None
    assert again is not None
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_each_alone_is_a_sequence_of_one() -> None:
    lm, method = tiny("llama"), simie()
    each = method.apply_each(lm, [*REQUESTS, EditRequest("3", "a", "a", " ")], JOB)
    assert isinstance(each[3], Unusable)
    for request, patch in zip(REQUESTS, each[:3], strict=True):
        assert isinstance(patch, Patch)
        alone, _ = method.apply(lm, [request], None, JOB)
        assert torch.allclose(*(changes(lm, method, [], p)[0] for p in (alone, patch)), atol=1e-6)


def test_an_editor_that_moves_a_bias_is_refused_and_its_files_are_its_own(tmp_path: Path) -> None:
    method = simie(editor=FineTune(type="fine_tune", parameters=Parameters(layers=(1,)), steps=1))
    with pytest.raises(Skip, match=r"weights of projections alone; this one changes .*bias"):
        method.apply(tiny("gpt2"), REQUESTS[:1], None, JOB)
    files = {"algorithm": {"editor.solve.covariance.file": tmp_path}}
    inner = method._inner(dataclasses.replace(JOB, files=files))
    assert inner.files == {"algorithm": {"solve.covariance.file": tmp_path}}
