"""Plants defects in a clean set: which rows are clean, which donate, and what each planted row is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ....errors import DataError
from ..rows import Row
from .defects import CONTAMINATION, DUPLICATES, KINDS, SEVERITIES, SPOILED, Given, made

CLEAN = "clean"


@dataclass(frozen=True)
class Planted:
    """One row of a planted set, and the truth about it."""

    row: Row
    """As the pipeline sees it: its id tells nothing."""
    defect: str
    """`clean`, or the kind of defect."""
    severity: str
    """`mild` or `severe`; empty for a clean row."""
    group: str | None
    """What a duplicate and the row that it repeats share."""
    source: str
    """Id of the row that it was made from."""


def planted(
    sound: Sequence[Row],
    evaluation: Sequence[Row],
    *,
    clean: int,
    each: int,
    rng: Callable[[str], np.random.Generator],
    kinds: Sequence[str] = KINDS,
) -> list[Planted]:
    """A set of `clean` sound rows and, of every kind of defect and severity, `each` rows more, in random order.

    No row is used twice: not as clean and as donor, not for two defects; a clean row has at most one duplicate. `rng`
    gives a generator for a purpose. Raises DataError when there are too few rows.
    """
    per_kind = each * len(SEVERITIES)
    # An answer to another instruction needs a second donor.
    donors = per_kind * (len([k for k in kinds if k in SPOILED]) + ("mismatched" in kinds))
    repeated = per_kind * len([k for k in kinds if k in DUPLICATES])
    needed = {"sound rows": (clean + donors, len(sound)), "clean rows": (repeated, clean)}
    needed["items of the evaluation set"] = (per_kind if CONTAMINATION in kinds else 0, len(evaluation))
    for what, (least, there) in needed.items():
        if there < least:
            raise DataError(f"planting {each} of each defect and severity needs {least} {what}; there are {there}")
    order = rng("rows").permutation(len(sound))
    rows = [sound[i] for i in order]
    found = [Planted(row, CLEAN, "", None, row.id) for row in rows[:clean]]
    donating = iter(rows[clean:])
    originals = iter(enumerate(rows[:clean]))
    evaluated = iter([evaluation[i] for i in rng("evaluation").permutation(len(evaluation))])
    for kind in kinds:
        for severity in SEVERITIES:
            for number in range(each):
                group, other = None, None
                if kind in DUPLICATES:
                    place, row = next(originals)
                    group = f"pair-{place:04d}"
                    found[place] = replace(found[place], group=group)
                elif kind == CONTAMINATION:
                    row = next(evaluated)
                else:
                    row = next(donating)
                    other = next(donating) if kind == "mismatched" else None
                given = Given(row, other, severity == "severe", rng(f"{kind}.{severity}.{number}"), number)
                found.append(Planted(made(kind, given), kind, severity, group, row.id))
    shuffled = [found[i] for i in rng("order").permutation(len(found))]
    return [replace(p, row=_anonymous(p.row, place)) for place, p in enumerate(shuffled)]


def _anonymous(row: Row, place: int) -> Row:
    """What a pipeline sees: content alone."""
    return Row(f"row-{place:05d}", row.instruction, row.input, row.output)


def is_sound(row: Row) -> bool:
    """Whether a row can be spoiled in every way, and is not plainly spoiled already: an instruction of at least four
    words; an answer of at least twelve, which ends as a sentence does."""
    words, answer = row.instruction.split(), row.output.strip()
    return len(words) >= 4 and len(answer.split()) >= 12 and answer.endswith((".", "!", "?", '."', ".)"))
