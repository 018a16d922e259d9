"""A patch is a value: applied and undone exactly, stacked, combined, saved, compared."""

from __future__ import annotations

from pathlib import Path

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, stacked
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.scoring import Row, encode, forced
from benchwright.errors import DataError

STORED = ("gpt2", "llama", "opt")
"""A transposed weight, one without bias, one with."""


def patch_of(lm: LanguageModel, seed: int = 1, rank: int | None = None, layer: int = 0) -> Patch:
    found = linear(lm.model, layer, "mlp_down")
    rows, columns = found.module.weight.shape
    generator = torch.Generator().manual_seed(seed)
    if rank is None:
        return Patch({found.weight_name: torch.randn(rows, columns, generator=generator) * 0.3})
    left = torch.randn(rows, rank, generator=generator)
    return Patch({found.weight_name: LowRank(left, torch.randn(rank, columns, generator=generator) * 0.3)})


def rows(lm: LanguageModel, before: str = "") -> list[Row]:
    return [encode(lm, before + p, t) for p, t in (("The island of Belava exports", "amber"), ("A", "salt"))]


def bits(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in lm.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_undone_bit_for_bit_also_after_an_error(dtype: torch.dtype) -> None:
    lm = lm_fixtures.tiny("llama", dtype=dtype)
    before, patch = bits(lm), patch_of(lm)
    with patch.applied(lm):
        assert lm.patched
        assert not same(before, bits(lm))
        with patch_of(lm, 2).applied(lm):
            pass
        assert lm.patched
    assert same(before, bits(lm))
    with pytest.raises(RuntimeError, match="boom"), patch.applied(lm):
        raise RuntimeError("boom")
    assert same(before, bits(lm))
    assert not lm.patched
    assert lm.verify() == []


def test_a_patch_that_is_still_applied_is_a_leak() -> None:
    lm = lm_fixtures.tiny("llama")
    with patch_of(lm).applied(lm):
        assert "a patch is still applied" in lm.verify()


@pytest.mark.parametrize("family", STORED)
def test_stacked_patches_answer_as_each_alone(family: str) -> None:
    lm = lm_fixtures.tiny(family)
    patches = [patch_of(lm, 1, rank=1), Patch(), patch_of(lm, 2, rank=3), patch_of(lm, 3, rank=2, layer=1)]
    asked = [row for _ in patches for row in rows(lm)]
    owners = [i for i in range(len(patches)) for _ in rows(lm)]
    before = bits(lm)
    with stacked(lm, patches):
        together = forced(lm, asked, 3, owners)
        written = greedy(lm, [r.prompt for r in asked], [4] * len(asked), 5, owners)
    assert same(before, bits(lm))
    assert lm.verify() == []
    for i, patch in enumerate(patches):
        with patch.applied(lm):
            alone = forced(lm, rows(lm), 2)
            assert written[2 * i : 2 * i + 2] == greedy(lm, [r.prompt for r in rows(lm)], [4, 4], 2)
        for one, other in zip(together[2 * i : 2 * i + 2], alone, strict=True):
            assert one.tokens == other.tokens
            assert one.nll == pytest.approx(other.nll, abs=1e-4)
    assert len({f.nll for f in together}) > 4  # they do differ


@pytest.mark.parametrize("family", STORED)
def test_one_after_the_other_is_their_sum(family: str) -> None:
    lm = lm_fixtures.tiny(family)
    for first, second in ((patch_of(lm, 1), patch_of(lm, 2, rank=1)), (patch_of(lm, 1, 1), patch_of(lm, 2, 2))):
        with first.applied(lm), second.applied(lm):
            nested = bits(lm)
        with first.then(second).applied(lm):
            summed = bits(lm)
        for name, value in nested.items():
            torch.testing.assert_close(summed[name], value, atol=1e-6, rtol=1e-6)
    # A stream that continues from what was saved has the same bits as one that did not.
    first, second = patch_of(lm, 1, 1), patch_of(lm, 2, 2)
    again = Patch.of(first.tensors(), first.description())
    assert again.then(second).digest() == first.then(second).digest()
    later = Patch(prompts=Around("b "))
    assert Patch(prompts=Around("a ")).then(later).prompt("c") == "b c"
    assert later.then(Patch()).prompt("c") == "b c"


def test_it_is_saved_and_compared(tmp_path: Path) -> None:
    lm = lm_fixtures.tiny("gpt2")
    patch = patch_of(lm, rank=2).then(Patch(prompts=Around("Fact. ")))
    patch.save(tmp_path / "p.safetensors")
    loaded = Patch.load(tmp_path / "p.safetensors")
    assert loaded.digest() == patch.digest() != patch_of(lm, 2, rank=2).digest()
    assert loaded.digest() != Patch(patch.deltas).digest()
    assert loaded.prompt("Q") == "Fact. Q"
    (name,) = patch.deltas
    torch.testing.assert_close(loaded.tensors()[name], patch.tensors()[name])


def test_what_is_no_patch_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_text("no", encoding="utf-8")
    with pytest.raises(DataError, match="is no patch"):
        Patch.load(tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        Patch.load(tmp_path / "b.safetensors")


def test_a_model_may_keep_a_patch_for_good() -> None:
    lm, other = lm_fixtures.tiny("llama"), lm_fixtures.tiny("llama")
    patch = patch_of(lm).then(Patch(prompts=Around("Fact. ")))
    lm.keep(patch)
    assert lm.verify() == []
    assert not lm.patched
    kept = forced(lm, rows(lm), 2)
    with patch.applied(other):
        asked = [
            encode(other, patch.prompt(p), t) for p, t in (("The island of Belava exports", "amber"), ("A", "salt"))
        ]
        assert forced(other, asked, 2) == kept
    with patch_of(lm, 5).applied(lm):
        assert forced(lm, rows(lm), 2) != kept
    assert forced(lm, rows(lm), 2) == kept
    assert lm.verify() == []
