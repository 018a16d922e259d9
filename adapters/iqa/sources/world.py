"""The embedded world as a task's images: made once, then read from the artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ....artifacts import ArtifactStore, artifact_root
from ....canonical import digest
from ..items import NO_IMAGES, Grading, Images
from ..pictures import ArrayPicture
from .params import FundusWorld

LEVELS = ((0.0, "none"), (0.34, "mild"), (0.67, "moderate"), (1.0, "severe"))
"""Largest severity over the axes, up to and including, and its name."""
CANARIES = 4
"""Eyes whose look stands for that of all."""
START = {"test": 0, "train": 1_000_000, "validation": 2_000_000, "sweep": 3_000_000}
"""Number of the first eye of each split: no eye is in two."""


def load(spec: FundusWorld, limit: int | None) -> Grading:
    """See `FundusWorld.load`. `limit` cuts the sweep as well, to so many eyes."""
    test = spec.test if limit is None else min(limit, spec.test)
    eyes = 0 if spec.sweep is None else spec.sweep.eyes if limit is None else min(limit, spec.sweep.eyes)
    splits = {
        name: _images(spec, name, n)
        for name, n in (("test", test), ("train", spec.train), ("validation", spec.validation))
    }
    counts = {
        name: [int(n) for n in np.bincount(images.labels, minlength=3)]
        for name, images in splits.items()
        if len(images)
    }
    train = splits["train"] if spec.train else None
    return Grading(splits["test"], train, splits["validation"], _sweep(spec, eyes), {"label_counts": counts})


def _images(spec: FundusWorld, split: str, number: int) -> Images:
    if not number:
        return NO_IMAGES
    wanted = [(START[split] + i, None) for i in range(number)]
    return _made(spec, wanted, [f"{split}-{i:05d}" for i in range(number)])


def _sweep(spec: FundusWorld, eyes: int) -> Images:
    from ...worlds.fundus import AXES

    if spec.sweep is None or not eyes:
        return NO_IMAGES
    wanted, names = [], []
    for axis in AXES:
        for severity in spec.sweep.severities:
            for eye in range(eyes):
                wanted.append((START["sweep"] + eye, {axis: severity}))
                names.append(f"sweep-{axis}-{severity:.2f}-{eye:03d}")
    return _made(spec, wanted, names)


def _made(spec: FundusWorld, wanted: Sequence[tuple[int, Mapping[str, float] | None]], names: Sequence[str]) -> Images:
    from ...worlds.fundus import AXES

    key = {"seed": spec.seed, "size": spec.size, "wanted": wanted, "version": spec.version, "canary": _canary()}
    arrays = ArtifactStore(artifact_root()).get("fundus-world", key, lambda: _make(spec, wanted))
    made_from = digest(key)
    quality = arrays["quality"].astype(np.float32) / 255
    pictures = tuple(
        ArrayPicture(f"{made_from} {i}", names[i], arrays["rgb"][i], arrays["fov"][i], quality[i])
        for i in range(len(names))
    )
    groups = tuple(
        _groups(dict(zip(AXES, row, strict=True)), name) for row, name in zip(arrays["severity"], names, strict=True)
    )
    # A sweep shows one eye many times: it is the unit that is resampled.
    patients = tuple(f"eye-{number}" for number, _ in wanted)
    return Images(tuple(names), arrays["label"].astype(int), patients, groups, pictures)


def _canary() -> str:
    """Digest of a few small eyes that show every flaw: another one whenever they are painted otherwise."""
    from ...worlds.fundus import AXES
    from ...worlds.fundus.world import sample

    eyes = [sample(0, number, 64, dict.fromkeys(AXES, 0.5)) for number in range(CANARIES)]
    return digest([[digest(eye.rgb.tobytes()), digest(eye.quality.tobytes()), eye.label] for eye in eyes])


def _make(spec: FundusWorld, wanted: Sequence[tuple[int, Mapping[str, float] | None]]) -> dict[str, np.ndarray]:
    from ...worlds.fundus import AXES
    from ...worlds.fundus.world import sample

    made = [sample(spec.seed, number, spec.size, severity) for number, severity in wanted]
    return {
        "rgb": np.stack([s.rgb for s in made]),
        "fov": np.stack([s.fov for s in made]),
        "quality": np.stack([np.round(s.quality * 255).astype(np.uint8) for s in made]),
        "severity": np.array([[s.severity[a] for a in AXES] for s in made]),
        "label": np.array([s.label for s in made]),
    }


def _groups(severity: Mapping[str, float], name: str) -> dict[str, Any]:
    """Worst axis and level; of a sweep the axis and the severity, said in the name since severity 0 has no axis."""
    return dict(_attributes(severity, name))


def _attributes(severity: Mapping[str, float], name: str) -> Iterator[tuple[str, Any]]:
    if name.startswith("sweep-"):
        _, axis, value, _ = name.split("-")
        yield "sweep", f"{axis} {value}"
        return
    worst = max(severity, key=lambda axis: severity[axis])
    yield "severity", next(level for most, level in LEVELS if severity[worst] <= most)
    yield "degradation", worst if severity[worst] > 0 else "none"
