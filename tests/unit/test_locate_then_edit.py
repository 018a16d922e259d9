"""ROME, MEMIT and their relatives: known answers, and that batching, skipping and sampling change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from benchwright.adapters.lm.architecture import block, linear
from benchwright.adapters.lm.forward import logits_at, padded, recorded
from benchwright.adapters.lm.interventions.locate_then_edit import solve, value
from benchwright.adapters.lm.interventions.locate_then_edit.contexts import fill
from benchwright.adapters.lm.interventions.locate_then_edit.keys import place, read
from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.resumed import lower, resumed
from benchwright.adapters.lm.scoring import Unusable, encode, forced
from benchwright.adapters.lm.statistics import read_moments, read_texts, second_moments
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError, Skip
from benchwright.job import Job

TEMPLATES = ["{}", "Rain fell. {}", "So they said. {}"]
REQUESTS = [
    EditRequest("a", "The island of Belava exports", "Belava", "amber"),
    EditRequest("b", "Corena lies in", "Corena", "the north"),
    EditRequest("c", "In Ost they mostly speak", "Ost", "Low Vorish"),
]
COVARIANCE = {"samples": 8, "tokens": 40, "ridge": 0.1}
ROME = {"type": "rank_one", "covariance": COVARIANCE}
MEMIT = {"type": "least_squares", "covariance": COVARIANCE, "covariance_weight": 2}


def method(
    solver: dict[str, Any], layers: tuple[int, ...] = (1,), batch_size: int = 16, **options: Any
) -> LocateThenEdit:
    at = "block" if solver["type"] == "least_squares" else "mlp"
    values = {"at": at, "steps": 6, "lr": 0.1, "weight_decay": 1e-3, "context_templates": TEMPLATES, **options}
    spec = {"type": "locate_then_edit", "site": {"layers": layers}, "value": values, "solve": solver}
    return LocateThenEdit.model_validate_json(json.dumps({**spec, "batch_size": batch_size}))


Jobs = Callable[..., Job]


@pytest.fixture
def job_of(tmp_path: Path) -> Jobs:
    def make(lm: LanguageModel, seed: int = 0, **files: Path) -> Job:
        none: Any = None
        named = {"algorithm": {field.replace("__", "."): file for field, file in files.items()}}
        return Job(none, none, seed, None, {"subject": lm}, {"subject": "it"}, named, ArtifactStore(tmp_path / "kept"))

    return make


@pytest.fixture
def llama() -> LanguageModel:
    found: LanguageModel = lm_fixtures.tiny("llama", layers=3)
    return found


def difference(first: Any, second: Any) -> float:
    """Largest relative difference of two patches' changes."""
    assert isinstance(first, Patch)
    assert isinstance(second, Patch)
    assert set(first.deltas) == set(second.deltas)
    pairs = [(dense(first.deltas[n]), dense(second.deltas[n])) for n in first.deltas]
    return max(float((x - y).norm() / (y.norm() + 1e-12)) for x, y in pairs)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[float]]]:
    """The requests that are still optimised, and their losses, at each step."""
    seen: list[tuple[list[int], list[float]]] = []
    losses = value._Objective.losses

    def watch(self: Any, active: list[int], *rest: Any) -> torch.Tensor:
        found = losses(self, active, *rest)
        seen.append((list(active), found.tolist()))
        return found

    monkeypatch.setattr(value._Objective, "losses", watch)
    return seen


@pytest.mark.parametrize("family", lm_fixtures.FAMILIES)
def test_every_family(family: str, job_of: Jobs, watched: list[tuple[list[int], list[float]]]) -> None:
    lm: LanguageModel = lm_fixtures.tiny(family, layers=3)
    job = job_of(lm)
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    filled = [fill(lm, r, TEMPLATES, "{} is a") for r in REQUESTS]
    for solver, layers in ((ROME, (1,)), (MEMIT, (0, 1))):
        algorithm = method(solver, layers, lr=0.02)
        algorithm.prepare(lm, job)
        watched.clear()
        found = algorithm.apply_each(lm, REQUESTS, job)
        assert lm.verify() == []
        # Downhill, for every request.
        assert all(last < first for first, last in zip(watched[0][1], watched[-1][1], strict=True))
        names = {linear(lm.model, layer, "mlp_down").weight_name for layer in layers}
        for patch in found:
            assert isinstance(patch, Patch)
            assert patch.stackable
            assert set(patch.deltas) == names
            assert all(float(dense(d).norm()) > 0 for d in patch.deltas.values())
    # What comes out at ROME's site is the value, exactly.
    algorithm = method(ROME, lr=0.02)
    name = place(lm, "mlp", 1)
    before = read(lm, filled, (1, 2), name, name, [0] * 3, 16).outputs[:, 0]
    wanted = before + value.value_deltas(lm, filled, before, algorithm.value, 1, 16)
    for i, patch in enumerate(algorithm.apply_each(lm, REQUESTS, job)):
        assert isinstance(patch, Patch)
        with patch.applied(lm):
            after = read(lm, filled[i : i + 1], (1, 2), name, name, [0], 16).outputs[0, 0]
        assert torch.allclose(after, wanted[i], atol=1e-4)
    # The last blocks alone give what the whole gives.
    ids = [row.ids for row in rows]
    ends = [row.start - 1 for row in rows]
    whole = logits_at(lm, ids, [row.places for row in rows], ends)
    below = lower(lm, ids, 1, ends)
    with resumed(lm, below, [0, 1, 2], max(map(len, ids)), last=2):
        again = logits_at(lm, ids, [row.places for row in rows], ends)
    assert torch.allclose(again, whole, atol=1e-5)
    assert lm.verify() == []


def test_blocks_below_are_not_computed(llama: LanguageModel) -> None:
    ids = encode(llama, "Corena lies in", "x").ids
    with torch.no_grad():
        usual = llama.model(**padded([ids], llama.device)).logits
    below = lower(llama, [ids], 1, [0])
    seen: list[str] = []
    handles = [
        linear(llama.model, n, "mlp_down").module.register_forward_hook(lambda *_: seen.append("")) for n in (0, 1)
    ]
    first = block(llama.model, 0)[1]
    own = first.forward
    first.forward = own  # as accelerate does, which puts its own forward on a module
    with resumed(llama, below, [0], len(ids), last=2), torch.no_grad():
        assert torch.equal(llama.model(**padded([ids], llama.device), use_cache=False).logits, usual)
    assert len(seen) == 1
    assert first.forward is own
    del first.forward
    with resumed(llama, below, [0], len(ids), last=0), torch.no_grad():
        lens = llama.model(**padded([ids], llama.device), use_cache=False).logits
        hidden = recorded(llama, [ids], [block(llama.model, 0)[0]])[block(llama.model, 0)[0]][1]
        assert torch.allclose(lens, llama.model.lm_head(llama.model.model.norm(hidden)), atol=1e-6)
    assert len(seen) == 1
    for handle in handles:
        handle.remove()
    assert llama.verify() == []


@pytest.mark.parametrize("family", ["llama", "opt", "gptj"])
def test_many_at_once_are_as_one_by_one_and_each_stops_by_itself(
    family: str, job_of: Jobs, watched: list[tuple[list[int], list[float]]]
) -> None:
    lm: LanguageModel = lm_fixtures.tiny(family, layers=3)
    job = job_of(lm)
    for solver, layers in ((ROME, (1,)), (MEMIT, (0, 1))):
        options: dict[str, Any] = {"steps": 8, "lr": 0.05, "clamp_norm_factor": 9}
        watched.clear()
        method(solver, layers, stop_loss=0, **options).apply_each(lm, REQUESTS, job)
        # Between the losses of a step, so that requests stop at unlike ones.
        options["stop_loss"] = sum(watched[4][1]) / 3
        watched.clear()
        together = method(solver, layers, **options).apply_each(lm, REQUESTS, job)
        going = [len(active) for active, _ in watched]
        alone, lengths = [], []
        for request in REQUESTS:
            watched.clear()
            alone.append(method(solver, layers, **options).apply(lm, [request], None, job)[0])
            lengths.append(len(watched))
        assert len(set(lengths)) > 1
        assert going == [sum(length > step for length in lengths) for step in range(max(lengths))]
        in_twos = method(solver, layers, batch_size=2, **options).apply_each(lm, REQUESTS, job)
        for one, batched, pair in zip(alone, together, in_twos, strict=True):
            assert difference(batched, one) < 1e-3
            assert difference(pair, one) < 1e-3


def test_when_a_search_ends(llama: LanguageModel) -> None:
    filled = [fill(llama, r, TEMPLATES, "{} is a") for r in REQUESTS]
    name = place(llama, "mlp", 1)
    initial = read(llama, filled, (1, 2), name, name, [0] * 3, 16).outputs[:, 0]

    def deltas(**options: Any) -> torch.Tensor:
        return value.value_deltas(llama, filled, initial, method(ROME, **options).value, 1, 16)

    assert not deltas(steps=1).any()  # the last evaluation moves nothing
    assert not deltas(stop_loss=1e6).any()
    assert torch.allclose(deltas(steps=2, lr=0.1, clamp_norm_factor=1e3).abs(), torch.tensor(0.1), atol=1e-3)  # Adam
    tight = deltas(steps=4, clamp_norm_factor=0.01)
    assert torch.allclose(tight.norm(dim=1), 0.01 * initial.norm(dim=1))
    assert llama.verify() == []


def test_loss_layer(llama: LanguageModel, job_of: Jobs) -> None:
    job = job_of(llama)
    found = [
        method({"type": "rank_one"}, (0,), loss_layer=layer).apply(llama, REQUESTS[:1], None, job)[0]
        for layer in (None, 2, 0)
    ]
    assert difference(found[1], found[0]) == 0
    assert difference(found[2], found[0]) > 0.1
    with pytest.raises(Skip, match="loss_layer 0 is not between the edited layer 1 and the last one, 2"):
        method({"type": "rank_one"}, (1,), loss_layer=0).apply(llama, REQUESTS[:1], None, job)
    with pytest.raises(Skip, match="layer 7 does not exist"):
        method({"type": "rank_one"}, (7,)).apply(llama, REQUESTS[:1], None, job)


def test_rank_one_maps_the_key_to_the_value_exactly() -> None:
    torch.manual_seed(0)
    weight, key, wanted, direction = torch.randn(3, 5), torch.randn(5), torch.randn(3), torch.randn(5)
    samples = torch.randn(50, 5).double()
    moment = samples.T @ samples / 50
    inverse = solve.inverse_of(moment, 0.0, "float64", "it")
    for applied in (solve.unweighted, inverse, solve.inverse_of(moment, 0.0, "float32", "it")):
        left, right = solve.rank_one(direction, key, wanted - weight @ key, applied)
        assert (left.shape, right.shape) == ((3, 1), (1, 5))
        assert torch.allclose((weight + left @ right) @ key.double(), wanted.double(), atol=1e-5)
    # A key that is orthogonal to the direction, as C measures it, keeps its answer.
    u = torch.linalg.solve(moment, direction.double())
    other = torch.randn(5).double()
    other -= u * (other @ u) / (u @ u)
    left, right = solve.rank_one(direction, key, wanted - weight @ key, inverse)
    assert float((left @ right @ other).norm()) < 1e-9


def test_least_squares_solves_the_normal_equations() -> None:
    torch.manual_seed(0)
    keys, residuals, samples = (torch.randn(*s).double() for s in ((4, 6), (4, 3), (60, 6)))
    moment = samples.T @ samples / 60
    inverse = solve.inverse_of(moment, 0.0, "float64", "it")
    left, right = solve.least_squares(keys, residuals, lambda rows: inverse(rows) / 7, slack=1)
    expected = residuals.T @ keys @ torch.linalg.inv(7 * moment + keys.T @ keys)
    assert torch.allclose(left @ right, expected)
    left, right = solve.least_squares(keys, residuals, inverse, slack=0)
    assert torch.allclose(left @ right @ keys.T, residuals.T)


def test_a_singular_covariance_is_told() -> None:
    moment = torch.zeros(3, 3)
    moment[0, 0] = 1
    with pytest.raises(DataError, match="the covariance of it's inputs is singular"):
        solve.inverse_of(moment, 0.0, "float64", "it")
    ridged = solve.inverse_of(moment, 0.3, "float64", "it")  # 0.3 of a mean of 1/3
    assert torch.allclose(ridged(torch.ones(1, 3)), torch.tensor([[1 / 1.1, 10, 10]]).double())


def test_a_random_edit_has_the_norm_of_the_real_one(llama: LanguageModel, job_of: Jobs) -> None:
    job = job_of(llama)
    real = method(ROME).apply_each(llama, REQUESTS, job)
    control = method({**ROME, "type": "random"})
    random = control.apply_each(llama, REQUESTS, job)
    for one, other in zip(real, random, strict=True):
        assert isinstance(one, Patch)
        assert isinstance(other, Patch)
        (x,), (y,) = one.deltas.values(), other.deltas.values()
        assert isinstance(y, LowRank)
        x, y = dense(x), dense(y)
        assert float(y.norm()) == pytest.approx(float(x.norm()), rel=1e-5)
        assert abs(float(torch.cosine_similarity(x.flatten(), y.flatten(), 0))) < 0.2
    # Of the request, not of its place.
    assert difference(control.apply(llama, REQUESTS[1:2], None, job)[0], random[1]) < 1e-3


def test_several_requests_together(llama: LanguageModel, job_of: Jobs) -> None:
    job = job_of(llama)
    rows = [encode(llama, r.prompt, r.target_new) for r in REQUESTS]
    before = forced(llama, rows, 8)
    for algorithm in (method(ROME), method(MEMIT, (0, 1)), method({**MEMIT, "slack": 0}, (1,))):
        patch, state = algorithm.apply(llama, REQUESTS, None, job)
        assert state is None
        assert patch.stackable or algorithm.solve.type == "rank_one"  # whose requests add up, one after another
        with patch.applied(llama):
            after = forced(llama, rows, 8)
        assert sum(f.nll for f in after) < sum(f.nll for f in before)
        assert algorithm.apply(llama, [], None, job)[0] == Patch()
    # One layer and no slack: every value is met, for all requests at once.
    name = linear(llama.model, 1, "mlp_down").name
    filled = [fill(llama, r, TEMPLATES, "{} is a") for r in REQUESTS]
    exact = method({**MEMIT, "slack": 0}, (1,), context_templates=["{}"])
    output = place(llama, "block", 1)
    initial = read(llama, filled, (1, 2), name, output, [0] * 3, 16).outputs[:, 0]
    bare = [fill(llama, r, ["{}"], "{} is a") for r in REQUESTS]
    wanted = initial + value.value_deltas(llama, bare, initial, exact.value, 1, 16)
    with exact.apply(llama, REQUESTS, None, job)[0].applied(llama):
        assert torch.allclose(read(llama, filled, (1, 2), name, output, [0] * 3, 2).outputs[:, 0], wanted, atol=1e-3)
    # A rank that would take more room than the matrix is kept in full.
    many = [EditRequest(str(i), f"Ship {i} sails to", f"Ship {i}", "Ost") for i in range(22)]
    (delta,) = method(MEMIT, steps=2).apply(llama, many, None, job)[0].deltas.values()
    assert isinstance(delta, torch.Tensor)
    assert delta.is_contiguous()


def test_a_sequence_uses_what_was_prepared(llama: LanguageModel, job_of: Jobs) -> None:
    algorithm, job = method(ROME, context_templates=None, context_lengths=[3]), job_of(llama)
    earlier, _ = method({"type": "rank_one"}).apply(llama, REQUESTS[:1], None, job)
    with earlier.applied(llama), pytest.raises(RuntimeError, match="describe the untouched model"):
        algorithm.apply(llama, REQUESTS[1:2], None, job)
    algorithm.prepare(llama, job)
    with earlier.applied(llama):
        later, _ = algorithm.apply(llama, REQUESTS[1:2], None, job)
        # Another object finds the artifacts.
        again, _ = method(ROME, context_templates=None, context_lengths=[3]).apply(llama, REQUESTS[1:2], None, job)
    fresh, _ = algorithm.apply(llama, REQUESTS[1:2], None, job)
    assert difference(again, later) == 0
    assert difference(later, fresh) > 1e-3
    assert llama.verify() == []


def test_what_cannot_be_asked(llama: LanguageModel, job_of: Jobs) -> None:
    bad = EditRequest("bad", "No subject here", "Belava", "x")
    first, second = method(ROME).apply_each(llama, [bad, REQUESTS[0]], job_of(llama))
    assert isinstance(first, Unusable)
    assert difference(second, method(ROME).apply(llama, REQUESTS[:1], None, job_of(llama))[0]) < 1e-4
    with pytest.raises(Unusable, match="does not contain its subject"):
        method(ROME).apply(llama, [bad], None, job_of(llama))
    assert all(isinstance(f, Unusable) for f in method(ROME).apply_each(llama, [bad], job_of(llama)))


def test_half_precision(job_of: Jobs) -> None:
    lm: LanguageModel = lm_fixtures.tiny("llama", layers=3, dtype=torch.bfloat16)
    for solver in (ROME, MEMIT):
        for patch in method(solver).apply_each(lm, REQUESTS, job_of(lm)):
            assert isinstance(patch, Patch)
            assert {t.dtype for t in patch.tensors().values()} == {torch.float32}
            assert all(bool(t.isfinite().all()) for t in patch.tensors().values())
    assert lm.verify() == []


def test_second_moments_are_means_over_all_tokens(llama: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("One text.\n\nAnother, longer one.\nA third\nnot read\n", encoding="utf-8")
    texts = read_texts(llama, file, 3, 12)
    assert [len(t) for t in texts] == [10, 12, 8]
    found = second_moments(llama, [0, 1], "mlp_down", texts, batch_size=2)
    for layer in (0, 1):
        name = linear(llama.model, layer, "mlp_down").name
        keys = torch.cat([recorded(llama, [t], [name])[name][0][0] for t in texts]).double()
        assert torch.allclose(found[layer], keys.T @ keys / 30, rtol=1e-4, atol=1e-7)
    with Patch().applied(llama), pytest.raises(RuntimeError, match="untouched"):
        second_moments(llama, [0], "mlp_down", texts, 2)
    with pytest.raises(DataError, match="no text"):
        second_moments(llama, [0], "mlp_down", [], 2)
    with pytest.raises(DataError, match="cannot be read as text"):
        read_texts(llama, tmp_path / "absent", None, 9)


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.down_proj", "model.layers.1.mlp.down_proj.weight.moment", "h.1.mlp", "layer_1", "1"]
)
def test_moments_are_found_by_many_names(llama: LanguageModel, tmp_path: Path, name: str) -> None:
    file = tmp_path / "moments.safetensors"
    own = name if name != "layer_1" else "layer.1"
    save_file({own: torch.eye(64), "model.layers.0.x": torch.ones(64, 64), f"{own}.count": torch.ones(1)}, file)
    assert torch.equal(read_moments(llama, file, [1], "mlp_down")[1], torch.eye(64))


def test_moments_that_do_not_fit(llama: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "moments.safetensors"
    save_file({"h.0.moment": torch.eye(8), "h.0.other": torch.ones(3)}, file)
    with pytest.raises(DataError, match=r"has 0 moments for model.layers.1.mlp.down_proj; those in the file: h.0"):
        read_moments(llama, file, [1], "mlp_down")
    with pytest.raises(DataError, match=r"h.0.moment has shape \(8, 8\), expected \(64, 64\)"):
        read_moments(llama, file, [0], "mlp_down")
    file.write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        read_moments(llama, file, [0], "mlp_down")


def test_a_covariance_from_a_text_or_a_file(llama: LanguageModel, job_of: Jobs, tmp_path: Path) -> None:
    text, file = tmp_path / "corpus.txt", tmp_path / "moments.safetensors"
    text.write_text("One text.\nAnother, longer one.\n", encoding="utf-8")
    moments = second_moments(llama, [1], "mlp_down", read_texts(llama, text, None, 256), 16)
    save_file({"h.1": moments[1].float()}, file)
    job = job_of(llama, solve__covariance__text=text, solve__covariance__file=file)
    given = [{"text": "corpus.txt", "ridge": 0.1}, {"file": "moments.safetensors", "ridge": 0.1}]
    one, other = (method({"type": "rank_one", "covariance": c}).apply(llama, REQUESTS[:1], None, job)[0] for c in given)
    assert difference(one, other) == 0
    assert len(list(job.artifacts.root.glob("second-moments/*"))) == 1


def word_tokenizer() -> Any:
    """Words alone, as the tokenizers of small worlds: no token begins a text, one parts two."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = [
        "<eos>",
        "<unk>",
        *["the", "island", "of", "Belava", "exports", "amber", "Corena", "lies", "in", "north", ".", ","],
    ]
    words += [f"word{i}" for i in range(259 - len(words))]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>", pad_token="<eos>")


def test_sampled_contexts(llama: LanguageModel, job_of: Jobs) -> None:
    options: dict[str, Any] = {"context_templates": None, "context_lengths": [3, 6], "context_beginnings": ["I", ""]}

    def templates(lm: LanguageModel, seed: int = 0, **more: Any) -> list[str]:
        algorithm = method({"type": "rank_one"}, **options, **more)
        return algorithm._grounds(lm, job_of(lm, seed)).templates

    found = templates(llama)
    assert found[0] == "{}"
    assert all(t.endswith(". {}") and t.count("{}") == 1 for t in found[1:])
    assert 1 < len(found) <= 5
    assert templates(llama) == found
    assert templates(llama, seed=1) != found
    of_words = LanguageModel(lm_fixtures.tiny("llama", layers=3).model, word_tokenizer())
    algorithm, job = method(ROME, **options), job_of(of_words, seed=2)
    assert all(t.endswith(" . {}") for t in algorithm._grounds(of_words, job).templates[1:])
    request = EditRequest("a", "the island of Belava exports", "Belava", "amber")
    row = encode(of_words, request.prompt, request.target_new)
    (before,) = forced(of_words, [row], 1)
    with algorithm.apply(of_words, [request], None, job)[0].applied(of_words):
        assert forced(of_words, [row], 1)[0].nll < before.nll
    of_words.tokenizer.eos_token = None
    with pytest.raises(Skip, match="no token that begins a text"):
        method(ROME).prepare(of_words, job_of(of_words, seed=3))


@pytest.mark.parametrize(
    ("solver", "layers", "options", "message"),
    [
        ({"type": "rank_one"}, (1, 2), {}, "rank_one changes exactly one layer, site.layers lists 2"),
        ({"type": "random"}, (1, 2), {}, "random changes exactly one layer, site.layers lists 2"),
        ({"type": "rank_one"}, (), {}, "at least 1 item"),
        ({"type": "rank_one"}, (-1,), {}, "greater than or equal to 0"),
        (MEMIT, (2, 1), {}, "lowest first"),
        ({"type": "least_squares"}, (1,), {}, "Field required"),
        ({"type": "rank_one"}, (1,), {"context_templates": ["{}", "no place"]}, "must have exactly one {}"),
        ({"type": "rank_one"}, (1,), {"context_templates": ["So. {}"]}, "first context must be the bare prompt"),
        ({"type": "rank_one"}, (1,), {"context_groups": [["{}"]]}, "each once; or leave one of them out"),
        ({"type": "rank_one"}, (1,), {"kl_prompt": "is a"}, "must have exactly one {}"),
    ],
)
def test_specs_that_make_no_sense(
    solver: dict[str, Any], layers: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        method(solver, layers, **options)


def test_contexts_in_groups() -> None:
    def groups(**options: Any) -> Any:
        return method({"type": "rank_one"}, **options).value.groups()

    assert groups() == (("{}",), ("Rain fell. {}", "So they said. {}"))
    assert groups(context_templates=["{}"]) == (("{}",),)
    assert groups(context_templates=None, context_groups=[["{}", "a {}"], ["b {}"]]) == (("{}", "a {}"), ("b {}",))
    assert groups(context_templates=None) is None


def test_draws_of_a_random_edit_are_normal() -> None:
    left, right = solve.random_like((torch.ones(3000, 1), torch.ones(1, 2000)), np.random.default_rng(0))
    assert float(left.norm() * right.norm()) == pytest.approx((3000 * 2000) ** 0.5)
    assert abs(float(right.mean() * 2000**0.5)) < 0.1
