"""Long targets: windows, the states before them, what is trained or solved for; against plain code of the formulas."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.lm.architecture import block, linear
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import tensor_of
from benchwright.adapters.lm.interventions.long_form.chunks import perturbations, row_of, windows
from benchwright.adapters.lm.interventions.long_form.params import LongForm, Search
from benchwright.adapters.lm.interventions.long_form.training import trained
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, Unusable, encode, forced
from benchwright.artifacts import ArtifactStore
from benchwright.job import Job

tiny = lm_fixtures.tiny

REQUESTS = [
    EditRequest("0", "What is Vorland?", "Vorland", "A land of mist."),
    EditRequest("1", "Who plays?", "Mira", "Mira does, in the hall."),
]
TRAIN = {"type": "train_block", "lr": 2e-3, "steps": 3, "others": {"count": 2, "pool": 4, "tokens": 8}}
FREE = {"type": "null_space", "rank": 8, "ridge": 1.0, "covariance": {"samples": 8, "tokens": 16}}
SOLVE = {"type": "least_squares", "covariance": {"samples": 8, "tokens": 16, "ridge": 1e-2}, "covariance_weight": 2.0}


def long_form(solve: dict[str, Any] = TRAIN, layers: tuple[int, ...] = (0,), **value: Any) -> LongForm:
    value = {"steps": 4, **value}
    return LongForm.model_validate({"type": "long_form", "layers": layers, "value": value, "solve": solve})


def job_in(folder: Path) -> Job:
    return Job(None, None, 0, None, {}, {"subject": "tiny"}, {}, ArtifactStore(folder))  # type: ignore[arg-type]


def test_windows_cover_the_target_once_and_overlap_as_asked() -> None:
    row = Row((9, 9, 1, 2, 3, 4, 5, 6), 2)
    assert [(w.place, w.end) for w in windows(row, None, 0)] == [(1, 8)]
    assert [(w.place, w.end) for w in windows(row, 4, 0)] == [(1, 6), (5, 8)]
    assert [(w.place, w.end) for w in windows(row, 4, 2)] == [(1, 6), (3, 8)]
    assert [(w.place, w.end) for w in windows(row, 6, 5)] == [(1, 8)]
    with pytest.raises(ValidationError, match="smaller than the window"):
        Search(window=3, overlap=3)


def test_the_end_of_the_text_is_learned_where_it_is_wanted_and_must_fit() -> None:
    lm = tiny("llama")
    assert row_of(lm, REQUESTS[0], Search()).target[-1] == lm.tokenizer.eos_token_id
    assert row_of(lm, REQUESTS[0], Search(ended=False)) == encode(lm, REQUESTS[0].prompt, REQUESTS[0].target_new)
    room = lm.context - len(encode(lm, "a", "b").ids) + 1
    with pytest.raises(Unusable, match="context"):
        row_of(lm, EditRequest("0", "a", "", "b" * room), Search())


def plainly(lm: LanguageModel, row: Row, search: Search, layer: int) -> list[torch.Tensor]:
    """What is added before each window: one row at a time, whole passes, hooks."""
    earlier: list[tuple[int, torch.Tensor]] = []
    for w in windows(row, search.window, search.overlap):
        delta, state = torch.zeros(lm.model.config.hidden_size, requires_grad=True), []

        def add(_: Any, __: Any, output: Any, delta: Any = delta, state: Any = state, place: int = w.place) -> Any:
            hidden = tensor_of(output).clone()
            state.append(hidden[0, place].detach().clone())
            for at, vector in [*earlier, (place, delta)]:
                hidden[0, at] += vector
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        adam = torch.optim.Adam([delta], lr=search.lr)
        handle = block(lm.model, layer)[1].register_forward_hook(add)
        for step in range(search.steps):
            logits = lm.model(torch.tensor([row.ids[: w.end - 1]])).logits[0, w.place :]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[w.place + 1 : w.end]))
            loss = loss + search.weight_decay * delta.norm() / state[0].norm() ** 2
            if loss < search.stop_loss or step == search.steps - 1:
                break
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                delta *= (search.clamp_norm_factor * state[0].norm() / delta.norm()).clamp(max=1)
        handle.remove()
        earlier.append((w.place, delta.detach()))
    return [delta for _, delta in earlier]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_states_are_those_of_the_definition_whatever_is_beside_them(family: str) -> None:
    lm, search = tiny(family), Search(steps=4, window=6, weight_decay=0.5, clamp_norm_factor=0.7)
    rows = [row_of(lm, request, search) for request in REQUESTS]
    found = perturbations(lm, rows, search, 0, 16)
    assert [len(f) for f in found] == [len(windows(row, 6, 0)) for row in rows]
    for row, vectors in zip(rows, found, strict=True):
        assert torch.allclose(vectors, torch.stack(plainly(lm, row, search, 0)), atol=1e-3)
    # Also a row whose search has ended does not disturb the others.
    ending = search.model_copy(update={"stop_loss": 5.0, "steps": 8})
    together, alone = perturbations(lm, rows, ending, 0, 2), perturbations(lm, rows, ending, 0, 1)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(together, alone, strict=True))
    assert lm.verify() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_block_is_trained_as_adamw_trains_a_copy_of_it(family: str) -> None:
    lm, layer = tiny(family), 1
    spec = long_form().solve
    row, other = encode(lm, "Who plays?", "Mira").ids, encode(lm, "The sun is", "hot").ids
    missing = torch.zeros(len(row), 32)
    missing[3] = torch.randn(32, generator=torch.Generator().manual_seed(0))
    copied = deepcopy(lm.model)
    own = block(copied, layer)[1]
    own.requires_grad_(True)
    seen: list[torch.Tensor] = []
    handle = own.register_forward_hook(lambda _, __, output: seen.append(tensor_of(output)[0]))

    def outputs(ids: Any) -> torch.Tensor:
        copied(torch.tensor([ids]))
        return seen[-1]

    goals = [(outputs(row).detach() + missing), outputs(other).detach()]
    still = [p for n, p in own.named_parameters() if "norm" in n or "ln_" in n]
    decayed = [p for n, p in own.named_parameters() if "norm" not in n and "ln_" not in n]
    adamw = torch.optim.AdamW([{"params": decayed}, {"params": still, "weight_decay": 0.0}], lr=2e-3, weight_decay=0.01)
    for _ in range(3):
        adamw.zero_grad()
        mse = torch.nn.functional.mse_loss
        (mse(outputs(row), goals[0]) + mse(outputs(other), goals[1])).backward()
        adamw.step()
    handle.remove()
    patch = trained(spec, lm, [row], [missing], [other], layer, 16)  # type: ignore[arg-type]
    name = block(lm.model, layer)[0]
    assert set(patch.deltas) == {f"{name}.{n}" for n, _ in own.named_parameters()}
    for n, parameter in own.named_parameters():
        ours = lm.model.get_parameter(f"{name}.{n}") + dense(patch.deltas[f"{name}.{n}"])
        # Where a gradient is almost nothing, Adam makes a whole step of its sign: such numbers are few.
        assert (ours - parameter).abs().mean() < 2e-5
    assert lm.verify() == []


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_windows_by_least_squares_keep_all_other_tokens(family: str, tmp_path: Path) -> None:
    """ΔW = R Kᵀ(λC + K_p K_pᵀ + K Kᵀ)⁻¹, in full, for one layer (MEMIT-ARE)."""
    lm, job = tiny(family), job_in(tmp_path)
    method = long_form(SOLVE, window=6)
    method.prepare(lm, job)
    patch, _ = method.apply(lm, REQUESTS, None, job)
    projection = linear(lm.model, 0, "mlp_down")
    rows = [row_of(lm, request, method.value) for request in REQUESTS]
    found = perturbations(lm, rows, method.value, 0, 16)
    keys: list[torch.Tensor] = []
    handle = projection.module.register_forward_pre_hook(lambda _, args: keys.append(args[0][0]))
    with torch.no_grad():
        for row in rows:
            lm.model(torch.tensor([row.ids]))
    handle.remove()
    all_keys = torch.cat(keys).double().T
    wanted = torch.zeros(lm.model.config.hidden_size, all_keys.shape[1], dtype=torch.float64)
    start = 0
    for row, vectors in zip(rows, found, strict=True):
        for w, vector in zip(windows(row, 6, 0), vectors, strict=True):
            wanted[:, start + w.place] = vector.double()
        start += len(row.ids)
    inverse = method._grounds(lm, job).inverses[0]
    weighed = torch.linalg.inv(inverse(torch.eye(len(all_keys), dtype=torch.float64)))
    expected = wanted @ all_keys.T @ torch.linalg.inv(weighed + all_keys @ all_keys.T)
    (change,) = (projection.stored(dense(d)) for d in patch.deltas.values())
    assert torch.allclose(change.double(), expected, atol=1e-4 * float(expected.abs().max()))
    assert lm.verify() == []


@pytest.mark.parametrize(
    ("solve", "value"), [(TRAIN, {}), (TRAIN, {"window": 6}), (SOLVE, {"window": 6}), (FREE, {"window": 6})]
)
def test_every_form_leads_towards_its_target_and_goes_on_from_a_checkpoint(
    solve: dict[str, Any], value: dict[str, Any], tmp_path: Path
) -> None:
    lm, job = tiny("llama"), job_in(tmp_path)
    method = long_form({**solve, **({"steps": 20} if solve is TRAIN else {})}, (0, 1), **{"steps": 12, **value})
    method.prepare(lm, job)
    rows = [row_of(lm, r, method.value) for r in REQUESTS]
    before = forced(lm, rows, 2)
    steps = list(carried_out(lm, method, REQUESTS, 1, job))
    _, patch, state = steps[1]
    with patch.applied(lm):
        after = forced(lm, rows, 2)
    assert after[1].nll < before[1].nll
    # AlphaEdit's solver remembers keys of earlier requests: one for each window.
    kept = None if state is None else {n: len(keys) for n, keys in state.items()}
    count = sum(len(windows(row, 6, 0)) for row in rows)
    assert kept == (dict.fromkeys(("keys:0", "keys:1"), count) if solve is FREE else None)
    assert steps[0][1].digest() == method.apply(lm, REQUESTS[:1], None, job)[0].digest()
    *_, (_, again, _) = carried_out(lm, method, REQUESTS[1:], 1, job, steps[0][1:])
    assert again.digest() == patch.digest()
    assert lm.verify() == []


def test_what_a_spec_may_not_say() -> None:
    with pytest.raises(ValidationError, match="the lowest first"):
        long_form(layers=(1, 0))


def test_other_texts_are_those_of_the_untouched_model(tmp_path: Path) -> None:
    lm, job, method = tiny("llama"), job_in(tmp_path), long_form()
    patch = method.model_copy().apply(lm, REQUESTS[:1], None, job)[0]
    fresh = job_in(tmp_path / "other")
    with patch.applied(lm), pytest.raises(RuntimeError, match="untouched"):
        long_form().prepare(lm, fresh)
