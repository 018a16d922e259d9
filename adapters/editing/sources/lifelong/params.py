"""What a spec can say of data sets of lifelong editing. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..params import EditFile

if TYPE_CHECKING:
    from ...cases import EditCase


class Wise(EditFile):
    """WISE's files (Wang et al. 2024, arXiv 2405.14768): hallucination (of SelfCheckGPT) and temporal."""

    type: Literal["wise"]

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See wise.py."""
        from .wise import wise_cases

        return wise_cases(file)


class WikiBigEdit(EditFile):
    """WikiBigEdit (Thede et al. 2025, arXiv 2503.05683), one time step: changes of Wikidata as questions."""

    type: Literal["wikibigedit"]

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See wikibigedit.py."""
        from .wikibigedit import wikibigedit_cases

        return wikibigedit_cases(file)
