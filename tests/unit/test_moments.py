"""Second moments that others have published: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.moments import read_moments
from benchwright.errors import DataError

NAME = "model.layers.{}.mlp.down_proj_float32_mom2_100000.npz"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    found: LanguageModel = lm_fixtures.tiny("llama")
    return found


def published(file: Path, total: Any, count: Any = 4) -> Path:
    """As `save_cached_state` of ROME's code writes a CombinedStat of a SecondMoment."""
    constructor = "util.runningstats.SecondMoment()"
    with file.open("wb") as stream:
        np.savez(
            stream, **{"mom2.constructor": constructor, "mom2.count": count, "mom2.mom2": total, "sample_size": 100000}
        )
    return file


def test_sums_are_divided_by_their_count(lm: LanguageModel, tmp_path: Path) -> None:
    keys = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    file = published(tmp_path / NAME.format(1), keys.T @ keys)
    found = read_moments(lm, file, [1], "mlp_down")[1]
    assert np.allclose(found.numpy(), np.mean([np.outer(k, k) for k in keys], axis=0), atol=1e-6)


def test_a_folder_has_a_file_for_each_layer(lm: LanguageModel, tmp_path: Path) -> None:
    published(tmp_path / NAME.format(1), 8 * np.eye(64, dtype=np.float32))
    published(tmp_path / NAME.format(0), 4 * np.eye(64, dtype=np.float32))
    (tmp_path / "README.txt").write_text("layer 1\n", encoding="utf-8")
    found = read_moments(lm, tmp_path, [0, 1], "mlp_down")
    assert {n: float(t[0, 0]) for n, t in found.items()} == {0: 1.0, 1: 2.0}
    save_file({"h.1.moment": 3 * torch.eye(64)}, tmp_path / "extra-1.safetensors")
    assert float(read_moments(lm, tmp_path, [1], "mlp_down")[1][0, 0]) == 2.0
    (tmp_path / NAME.format(1)).unlink()
    assert float(read_moments(lm, tmp_path, [1], "mlp_down")[1][0, 0]) == 3.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: published(f, np.eye(8, dtype=np.float32)), r"mom2.mom2 has shape \(8, 8\), expected \(64, 64\)"),
        (lambda f: published(f, np.eye(64, dtype=np.float32), 0), "mom2.count a number above 0"),
        (lambda f: published(f, np.eye(64, dtype=int)), "mom2.mom2 must be floats"),
        (lambda f: published(f, np.array([{"a": 1}], dtype=object)), "cannot be read as plain arrays"),
        (lambda f: np.savez(f, other=np.ones(3)), "has no mom2.count and no mom2.mom2 .it has other"),
        (lambda f: f.write_bytes(b"no"), "cannot be read as plain arrays"),
        (lambda f: f.write_bytes(b""), "cannot be read as plain arrays"),
        (lambda f: published(f, np.eye(64, dtype=np.float32)).write_bytes(f.read_bytes()[:500]), "cannot be read"),
    ],
)
def test_files_that_are_refused(lm: LanguageModel, tmp_path: Path, make: Any, message: str) -> None:
    file = tmp_path / NAME.format(1)
    make(file)
    with pytest.raises(DataError, match=message):
        read_moments(lm, file, [1], "mlp_down")


def test_layers_that_are_not_there(lm: LanguageModel, tmp_path: Path) -> None:
    file = published(tmp_path / NAME.format(1), np.eye(64, dtype=np.float32))
    with pytest.raises(DataError, match="holds the moment of one layer, 2 are asked for; give their `folder`"):
        read_moments(lm, file, [0, 1], "mlp_down")
    with pytest.raises(DataError, match="is named after layer 1, layer 0 is asked for"):
        read_moments(lm, file, [0], "mlp_down")
    with pytest.raises(
        DataError, match=r"has 0 files for model.layers.0.mlp.down_proj; those in the folder: model.lay"
    ):
        read_moments(lm, tmp_path, [0, 1], "mlp_down")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="those in the folder: none"):
        read_moments(lm, tmp_path / "empty", [0], "mlp_down")
