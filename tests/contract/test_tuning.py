"""The hyper-parameters for the embedded world are those that the tuning script found, not somebody's."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchwright.api import library
from benchwright.loading.resolve import resolve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GRIDS: dict[str, dict[str, list[Any]]] = yaml.safe_load((BENCHMARKS / "editing" / "grids.yaml").read_text("utf-8"))
RESULTS: dict[str, list[dict[str, Any]]] = json.loads((BENCHMARKS / "results" / "tuning-atlas.json").read_text("utf-8"))


@pytest.mark.parametrize("name", GRIDS)
def test_a_tuned_method_has_the_values_that_scored_best(name: str) -> None:
    known = library([])
    algorithm = resolve(known, known.get("method", name), ("atlas",)).spec.algorithm
    best = max(RESULTS[name], key=lambda row: row["mean"])
    for field, values in GRIDS[name].items():
        used = reduce(getattr, field.split("."), algorithm)
        used = list(used) if isinstance(used, tuple) else used
        assert used == best[field], field
        assert used in values, field


def test_small_networks_share_the_recipe_that_scored_best() -> None:
    rows = json.loads((BENCHMARKS / "results" / "tuning-fundus.json").read_text("utf-8"))
    best = max(rows, key=lambda row: row["mean"])
    known = library([])
    for name in ("tiny-rgb", "guidednet-small", "salstruct-single-small", "salstruct-dual-small", "mcf-small"):
        recipe = resolve(known, known.get("method", name)).spec.algorithm.recipe
        assert (recipe.lr, recipe.batch_size) == (best["lr"], best["batch_size"])
        assert recipe.augment.rotate == best["rotate"]
