"""What AlphaEdit, RECT and PRUNE add to locate-then-edit: known answers, and sequences, on two families of model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.forward import logits_at
from benchwright.adapters.lm.interventions.locate_then_edit import solve
from benchwright.adapters.lm.interventions.locate_then_edit.constrain import bounded, largest_relative
from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job

REQUESTS = [
    EditRequest("a", "The island of Belava exports", "Belava", "amber"),
    EditRequest("b", "Corena lies in", "Corena", "the north"),
    EditRequest("c", "In Ost they mostly speak", "Ost", "Low Vorish"),
]
COVARIANCE = {"samples": 8, "tokens": 40, "ridge": 0.1}
NULL_SPACE = {"type": "null_space", "covariance": COVARIANCE, "rank": 20, "ridge": 1.0}
MEMIT = {"type": "least_squares", "covariance": COVARIANCE, "covariance_weight": 2}
ROME = {"type": "rank_one", "covariance": COVARIANCE}


def method(solver: dict[str, Any], layers: tuple[int, ...] = (1,), **fields: Any) -> LocateThenEdit:
    at = "mlp" if solver["type"] == "rank_one" else "block"
    value = {"at": at, "steps": 5, "lr": 0.1, "weight_decay": 1e-3, "context_templates": ["{}", "Rain fell. {}"]}
    spec = {"type": "locate_then_edit", "site": {"layers": layers}, "value": value, "solve": solver, **fields}
    return LocateThenEdit.model_validate_json(json.dumps(spec))


@pytest.fixture(scope="module")
def job_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LanguageModel], Job]:
    store = ArtifactStore(tmp_path_factory.mktemp("kept"))
    none: Any = None
    return lambda lm: Job(none, none, 0, None, {"subject": lm}, {"subject": type(lm.model).__name__}, {}, store)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """A model like GPT-2, and one like Llama with grouped queries."""
    found: LanguageModel = lm_fixtures.tiny(request.param, layers=3)
    return found


def difference(first: Any, second: Any) -> float:
    """Largest relative difference of two patches' changes."""
    assert isinstance(first, Patch)
    assert isinstance(second, Patch)
    assert set(first.deltas) == set(second.deltas)
    pairs = [(dense(first.deltas[n]), dense(second.deltas[n])) for n in first.deltas]
    return max(float((x - y).norm() / (y.norm() + 1e-12)) for x, y in pairs)


def test_null_space_solution_is_the_papers() -> None:
    draw = torch.Generator().manual_seed(0)
    keys, earlier, residuals, basis = (
        torch.randn(n, d, generator=draw, dtype=torch.float64) for n, d in ((3, 12), (5, 12), (3, 4), (40, 12))
    )
    moment = basis.T @ basis / 40 * torch.linspace(0.1, 2, 12)[:, None] * torch.linspace(0.1, 2, 12)
    protected = solve.largest_directions(moment, None, 5)
    projection = torch.eye(12, dtype=torch.float64) - protected @ protected.T
    ridge = 0.7
    inverse = solve.with_keys(lambda rows: solve.outside(protected)(rows) / ridge, earlier)
    left, right = solve.least_squares(keys, residuals, inverse, 1.0)
    # Equation 12 of the paper, in the form in which its authors solve it.
    system = projection @ (keys.T @ keys + earlier.T @ earlier) + ridge * torch.eye(12, dtype=torch.float64)
    expected = torch.linalg.solve(system, projection @ keys.T @ residuals).T
    assert torch.allclose(left @ right, expected, atol=1e-10)
    assert float((left @ right @ protected).abs().max()) < 1e-12
    values = torch.linalg.eigvalsh(moment)
    assert solve.largest_directions(moment, float(values[3:5].mean()), None).shape == (12, 8)
    assert solve.largest_directions(moment, None, 0).shape == (12, 0)


def test_remembered_keys_are_left_alone(lm: LanguageModel, job_of: Callable[[LanguageModel], Job]) -> None:
    job = job_of(lm)
    for solver in (NULL_SPACE, {**MEMIT, "remember": True}):
        algorithm = method(solver, (0, 1))
        first, state = algorithm.apply(lm, REQUESTS[:2], None, job)
        assert {name: keys.shape[0] for name, keys in (state or {}).items()} == {"keys:0": 2, "keys:1": 2}
        with first.applied(lm):
            kept, more = algorithm.apply(lm, REQUESTS[2:], state, job)
            forgot, _ = method({**solver, "remember": False}, (0, 1)).apply(lm, REQUESTS[2:], None, job)
        name = linear(lm.model, 0, "mlp_down")
        keys = (state or {})["keys:0"]
        moved = [float((name.stored(dense(p.deltas[name.weight_name])) @ keys.T).norm()) for p in (kept, forgot)]
        assert moved[0] < moved[1]
        assert {keys.shape[0] for keys in (more or {}).values()} == {3}
    assert lm.verify() == []


@pytest.mark.parametrize(
    ("solver", "constrain"),
    [
        (NULL_SPACE, None),
        (MEMIT, {"type": "relative_change", "keep": 0.4}),
        (MEMIT, {"type": "singular_values"}),
        (ROME, {"type": "singular_values", "base": 1.2}),
    ],
)
def test_a_sequence_goes_on_from_its_checkpoint(
    lm: LanguageModel,
    job_of: Callable[[LanguageModel], Job],
    tmp_path: Path,
    solver: dict[str, Any],
    constrain: dict[str, Any] | None,
) -> None:
    algorithm, job = method(solver, constrain=constrain), job_of(lm)
    total, state = algorithm.apply(lm, REQUESTS[:1], None, job)
    save_file(dict(state or {}), tmp_path / "state.safetensors")
    stored = load_file(tmp_path / "state.safetensors") or None
    total.save(tmp_path / "patch.safetensors")
    again = Patch.load(tmp_path / "patch.safetensors")
    with total.applied(lm):
        later, _ = algorithm.apply(lm, REQUESTS[1:], state, job)
    with again.applied(lm):
        resumed, _ = algorithm.apply(lm, REQUESTS[1:], stored, job)
    assert later.digest() == resumed.digest()
    # An edit that was undone leaves no trace.
    assert algorithm.apply(lm, REQUESTS[:1], None, job)[0].digest() == total.digest()
    each = algorithm.apply_each(lm, REQUESTS, job)
    assert difference(each[0], total) < 1e-4
    assert lm.verify() == []


def test_only_the_largest_relative_changes_are_kept() -> None:
    weight = torch.tensor([[1.0, 10.0, 100.0], [0.0, 2.0, 0.0]])
    change = torch.tensor([[0.1, -5.0, 5.0], [0.1, 0.1, 0.0]])
    # Ratios: 0.1, 0.5, 0.05; infinite, 0.05, none.
    assert largest_relative(change, weight, 1 / 3).tolist() == [[0, -5, 0], [pytest.approx(0.1), 0, 0]]
    assert torch.equal(largest_relative(change, weight, 1.0), change)
    assert int((largest_relative(change, weight, 0.01) != 0).sum()) == 1


def test_singular_values_above_the_weights_largest_become_logarithms() -> None:
    draw = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(6, 3, generator=draw, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(4, 3, generator=draw, dtype=torch.float64))
    total = (left * torch.tensor([8.0, 3.0, 1.0], dtype=torch.float64)) @ right.T
    found = torch.linalg.svdvals(bounded(total, 2.0, 2.0))[:3]
    # log2(8) - log2(2) + 2 and log2(3) - log2(2) + 2; the last one stays.
    assert torch.allclose(found, torch.tensor([4.0, 2.5849625, 1.0], dtype=torch.float64))
    assert bounded(total, 9.0, 2.0) is total


def test_the_bound_is_put_on_the_total_and_lifted_for_the_next_edit(
    lm: LanguageModel, job_of: Callable[[LanguageModel], Job]
) -> None:
    job, base = job_of(lm), 1000.0
    free, held = method(ROME), method(ROME, constrain={"type": "singular_values", "base": base})
    loud = held.model_copy(update={"value": held.value.model_copy(update={"lr": 5.0, "clamp_norm_factor": 50.0})})
    quiet = free.model_copy(update={"value": loud.value})
    plain, kept, state = Patch(), Patch(), None
    for request in REQUESTS[:2]:
        with plain.applied(lm):
            plain = plain.then(quiet.apply(lm, [request], None, job)[0])
        with kept.applied(lm):
            more, state = loud.apply(lm, [request], state, job)
        kept = kept.then(more)
    name = linear(lm.model, 1, "mlp_down").weight_name
    largest = float(torch.linalg.matrix_norm(lm.model.get_parameter(name).detach(), ord=2))
    total = dense(plain.deltas[name])
    assert float(torch.linalg.matrix_norm(total, ord=2)) > 1.1 * largest
    # What is in force is the bounded sum of what edits without a bound make, not a sum of bounded ones.
    assert float((dense(kept.deltas[name]) - bounded(total, largest, base)).norm() / total.norm()) < 1e-3
    assert float(torch.linalg.matrix_norm(dense(kept.deltas[name]), ord=2)) < largest + 1


def test_edits_work_within_a_batch_as_alone(lm: LanguageModel, job_of: Callable[[LanguageModel], Job]) -> None:
    algorithm, job = method(NULL_SPACE, (0, 1)), job_of(lm)
    together = algorithm.apply_each(lm, REQUESTS, job)
    assert difference(together[1], algorithm.apply_each(lm, REQUESTS[1:2], job)[0]) < 1e-3
    row, patch = lm.tokenizer.encode(REQUESTS[1].prompt), together[1]
    assert isinstance(patch, Patch)
    before = logits_at(lm, [row], [[len(row) - 1]], [len(row) - 1])
    with patch.applied(lm):
        assert not torch.equal(logits_at(lm, [row], [[len(row) - 1]], [len(row) - 1]), before)
    assert torch.equal(logits_at(lm, [row], [[len(row) - 1]], [len(row) - 1]), before)


def test_a_share_of_each_layer(lm: LanguageModel, job_of: Callable[[LanguageModel], Job]) -> None:
    even, root = method(MEMIT, (0, 1)), method(MEMIT, (0, 1), spread="square_root")
    assert [even.parts(n) for n in (2, 1)] == [2, 1]
    assert [root.parts(n) for n in (4, 1)] == [2, 1]
    found = [m.apply(lm, REQUESTS, None, job_of(lm))[0] for m in (even, root)]
    name = linear(lm.model, 0, "mlp_down").weight_name
    assert torch.allclose(dense(found[1].deltas[name]), dense(found[0].deltas[name]) * 2**0.5, rtol=1e-4, atol=1e-7)


def test_specs_that_make_no_sense(lm: LanguageModel, job_of: Callable[[LanguageModel], Job]) -> None:
    with pytest.raises(ValidationError, match="give either threshold"):
        method({**NULL_SPACE, "threshold": 0.02})
    with pytest.raises(ValidationError, match="give either threshold"):
        method({"type": "null_space", "covariance": COVARIANCE})
    with pytest.raises(ValidationError, match="by file or by folder, not both"):
        method({**MEMIT, "covariance": {"file": "a", "folder": "b"}})
    with pytest.raises(DataError, match="are protected; lower `rank`, 9999"):
        method({**NULL_SPACE, "rank": 9999}).prepare(lm, job_of(lm))
    with pytest.raises(DataError, match="are protected; raise `threshold`"):
        method({"type": "null_space", "covariance": COVARIANCE, "threshold": 1e-12}).prepare(lm, job_of(lm))
