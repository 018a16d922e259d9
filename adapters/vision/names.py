"""Names of backbones, known without importing timm."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ...errors import unknown

TINY = "tiny_cnn"
"""The backbone that is ours."""
_REGISTERED = re.compile(r"@register_model\s+def (\w+)\(")


@cache
def architectures() -> frozenset[str]:
    """Names that timm registers, read from its source (0.1 s; importing it takes seconds); empty without timm."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return frozenset()
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))


def known_backbone(name: str) -> str:
    """`name`, when there is such a backbone; `resnet18.a1_in1k` is `resnet18` with certain weights.

    Raises ValueError with the closest names.
    """
    architecture = name.partition(".")[0]
    if architecture == TINY or architecture in architectures() or not architectures():
        return name
    raise ValueError(unknown("backbone", architecture, {TINY, *architectures()}))
