"""The hyper-parameters for the embedded world are those that the tuning script found, not somebody's."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import to_jsonable_python

from benchwright.api import library
from benchwright.loading.resolve import resolve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = {"editing": "atlas", "detox": "forbidden"}
GRIDS: dict[str, dict[str, dict[str, list[Any]]]] = {
    family: yaml.safe_load((BENCHMARKS / family / "grids.yaml").read_text("utf-8")) for family in MODELS
}
RESULTS: dict[str, dict[str, list[dict[str, Any]]]] = {
    family: json.loads((BENCHMARKS / "results" / f"tuning-{model}.json").read_text("utf-8"))
    for family, model in MODELS.items()
}


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, grids in GRIDS.items() for name in grids])
def test_a_tuned_method_has_the_values_that_scored_best(family: str, name: str) -> None:
    known = library([])
    algorithm = resolve(known, known.get("method", name), (MODELS[family],)).spec.algorithm
    best = max(RESULTS[family][name], key=lambda row: row["mean"])
    for field, values in GRIDS[family][name].items():
        used = to_jsonable_python(reduce(getattr, field.split("."), algorithm))
        # A spec says of a stage what is no default; what was used has everything.
        assert laid(used, best[field]), field
        assert best[field] in values, field


def laid(used: Any, said: Any) -> bool:
    """Whether what was used is what was said, and defaults beside it."""
    if isinstance(said, dict):
        return all(laid(used[key], value) for key, value in said.items())
    if isinstance(said, list):
        return len(used) == len(said) and all(map(laid, used, said))
    return bool(used == said)


def test_small_networks_share_the_recipe_that_scored_best() -> None:
    rows = json.loads((BENCHMARKS / "results" / "tuning-fundus.json").read_text("utf-8"))
    best = max(rows, key=lambda row: row["mean"])
    known = library([])
    for name in ("tiny-rgb", "guidednet-small", "salstruct-single-small", "salstruct-dual-small", "mcf-small"):
        recipe = resolve(known, known.get("method", name)).spec.algorithm.recipe
        assert (recipe.lr, recipe.batch_size) == (best["lr"], best["batch_size"])
        assert recipe.augment.rotate == best["rotate"]
