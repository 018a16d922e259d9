"""Splits by the hash of a patient: stable when images are added, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ....errors import DataError
from ..items import Images


def part_of(patient: str, purpose: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    return int.from_bytes(hashlib.blake2b(f"{purpose} {patient}".encode(), digest_size=8).digest()) / 2**64


def cut(images: Images, share: float, purpose: str) -> tuple[Images, Images]:
    """The images of `share` of the patients, and the others."""
    chosen = [part_of(patient, purpose) < share for patient in images.patients]
    return (
        images.some([i for i, c in enumerate(chosen) if c]),
        images.some([i for i, c in enumerate(chosen) if not c]),
    )


def check_disjoint(one: Images, other: Images, where: Path | str, elsewhere: Path | str) -> None:
    """Raises DataError when an image or a patient is in both."""
    for what, shared in (
        ("images", set(one.names) & set(other.names)),
        ("patients", set(one.patients) & set(other.patients)),
    ):
        if shared:
            raise DataError(f"{where}: {len(shared)} {what} are also in {elsewhere}, for example {min(shared)}")
