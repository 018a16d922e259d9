"""Second moments that somebody has made before, from the files that peers publish.

`FILE.safetensors` holds a square tensor for each layer. `LAYER.mlp.c_proj_float32_mom2_100000.npz` is what ROME, MEMIT
and EasyEdit write, one file for each layer: `mom2.mom2` is the *sum* of x xᵀ over `mom2.count` tokens.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError
from .architecture import Linear, linear
from .model import LanguageModel

SUM, COUNT = "mom2.mom2", "mom2.count"
SUFFIXES = (".npz", ".safetensors")


def read_moments(lm: LanguageModel, path: Path, layers: Iterable[int], role: str) -> dict[int, torch.Tensor]:
    """Moments E[x xᵀ] by layer, each of shape (inputs, inputs), from a file of several, or a folder of one for each.

    A tensor is found by the name of the module, or of its weight, with or without `.moment` behind it, else as the
    only square one whose name has the number of the layer in it; so is a file of a folder. Raises DataError when a
    layer is missing, has another shape, or is not made of plain numbers.
    """
    projections = {layer: linear(lm.model, layer, role) for layer in layers}
    if path.is_dir():
        names = {f.name: f for f in sorted(path.iterdir()) if f.suffix in SUFFIXES}
        return {n: _of_file(names[_named(path, list(names), p, n, "files")], p, n) for n, p in projections.items()}
    if path.suffix == ".npz" and len(projections) > 1:
        raise DataError(f"{path}: holds the moment of one layer, {len(projections)} are asked for; give their `folder`")
    return {n: _of_file(path, p, n) for n, p in projections.items()}


def _of_file(file: Path, projection: Linear, layer: int) -> torch.Tensor:
    if file.suffix == ".npz":
        if _number(file.name) not in (None, layer):
            raise DataError(f"{file}: is named after layer {_number(file.name)}, layer {layer} is asked for")
        return _fitting(file, SUM, published(file), projection)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
            square = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == shape[1]]
            name = _named(file, square, projection, layer, "moments")
            return _fitting(file, name, stored.get_tensor(name), projection)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot be read as safetensors ({error})") from error


def published(file: Path) -> torch.Tensor:
    """The mean of x xᵀ from a file of sums, shape (inputs, inputs), float64. Raises DataError."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if missing := {SUM, COUNT} - set(stored.files):
                have = ", ".join(stored.files)
                raise DataError(
                    f"{file}: has no {' and no '.join(sorted(missing))} (it has {have}); expected a file of ROME's"
                )
            total, count = stored[SUM], stored[COUNT]
    except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
        # A ValueError is what numpy raises for pickled objects, which can run code when they are read.
        raise DataError(f"{file}: cannot be read as plain arrays ({error})") from error
    if count.shape or not count > 0 or total.dtype.kind != "f":
        raise DataError(f"{file}: {SUM} must be floats, {COUNT} a number above 0; they are {total.dtype} and {count!r}")
    return torch.from_numpy(total).double() / float(count)


def _named(place: Path, names: list[str], projection: Linear, layer: int, what: str) -> str:
    """The one name that is the projection's, or that has the number of its layer in it."""
    own = (projection.name, projection.weight_name)
    found = [n for n in names if n.removesuffix(".moment") in own or n.startswith(f"{projection.name}_")]
    found = found or [n for n in names if _number(n) == layer]
    if len(found) != 1:
        known = ", ".join(sorted(names)) or "none"
        kind = "folder" if place.is_dir() else "file"
        raise DataError(f"{place}: has {len(found)} {what} for {projection.name}; those in the {kind}: {known}")
    return found[0]


def _fitting(file: Path, name: str, moment: torch.Tensor, projection: Linear) -> torch.Tensor:
    width = projection.stored(projection.module.weight).shape[1]
    if moment.shape != (width, width):
        raise DataError(f"{file}: {name} has shape {tuple(moment.shape)}, expected ({width}, {width})")
    return moment


def _number(name: str) -> int | None:
    """The first number in a name, which is that of its layer."""
    number = re.search(r"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])", name)
    return int(number.group()) if number else None
