"""Harmless prompts that resemble harmful ones (XSTest, Röttger et al. 2024, arXiv 2308.01263), dealt out to cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ....canonical import ranked
from ....errors import DataError
from ....records import content

LABELS = ("safe", "unsafe")
CONTRAST = "contrast_"
"""How the types of unsafe prompts begin; in the files without labels, nothing else tells them apart."""


def safe_prompts(file: Path) -> list[str]:
    """The safe prompts of XSTest's CSV, which has `prompt`, `type` and perhaps `label`. Raises DataError."""
    rows = csv.DictReader(io.StringIO(content(file), newline=""))
    named = set(rows.fieldnames or ())
    if "prompt" not in named or not named & {"label", "type"}:
        raise DataError(f"{file}: line 1: expected the columns prompt and label (or type), as XSTest has them")
    found: list[str] = []
    try:
        for row in rows:
            # The reader gives None where a line is short.
            prompt, label, kind = (str(row.get(name) or "").strip() for name in ("prompt", "label", "type"))
            here = f"{file}: line {rows.line_num}"
            if not prompt:
                raise DataError(f"{here}: prompt: expected a text, it is empty")
            if "label" in named and label not in LABELS:
                raise DataError(f"{here}: label: expected safe or unsafe, got {label!r}")
            if label == "safe" or ("label" not in named and not kind.startswith(CONTRAST)):
                found.append(prompt)
    except csv.Error as error:
        raise DataError(f"{file}: line {rows.line_num}: cannot be read as CSV ({error})") from error
    if not found:
        raise DataError(f"{file}: no prompt is safe")
    return found


def dealt(texts: Sequence[str], own: Sequence[Sequence[str]], stream: str) -> list[tuple[str, ...]]:
    """For each case as many texts as for any other, none of its `own`, so that all are dealt equally often if they can.

    Nothing but texts, cases and the name of the stream decides: no limit and no seed.

    >>> [len(hand) for hand in dealt("abcde", [()] * 2, "s")], sorted(sum(dealt("ab", ["a", "b"], "s"), ()))
    ([3, 3], ['a', 'b'])
    """
    order = ranked(dict.fromkeys(texts), stream)
    if not order or not own:
        return [()] * len(own)
    each = min(-(-len(order) // len(own)), len(order) - max(len(set(mine) & set(order)) for mine in own))
    hands, waiting = [], list(order)
    for mine in own:
        hand: list[str] = []
        while len(hand) < each:
            text = next((t for t in waiting if t not in mine and t not in hand), None)
            if text is None:
                waiting += order
            else:
                waiting.remove(text)
                hand.append(text)
        hands.append(tuple(hand))
    return hands
