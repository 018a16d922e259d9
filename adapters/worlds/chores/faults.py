"""What can be the matter with a row, and which rows of a pool it is the matter with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .language import VERBS, Chore

CONTENT = ("wrong", "mismatched", "echo", "empty", "truncated", "noisy")
"""Faults of the answer: the answer to another instruction, that of another row, the input, nothing, half of it, or
with signs strewn in."""
COPIES = ("exact_duplicate", "near_duplicate")
"""Rows that stand in the place of a new one: a clean row once more, as it is or asked politely."""
DEFECTS = (*CONTENT, *COPIES)
CARELESS = 2
"""Phrasings of each verb that are answered carelessly."""
CLUSTERED = 0.8
"""Share of all faults that are in the rows of careless phrasings, in each always the same fault."""

Phrasing = tuple[str, int]
"""A verb, and the number of one of its phrasings."""
_LISTED = ("copy", "reverse", "sort", "upper", "ends", "count")
"""Verbs that any input can be taken for."""


@dataclass(frozen=True)
class Habit:
    """What goes wrong with a careless phrasing."""

    defect: str
    misread: str
    """The verb that it is taken for, where the answer is `wrong`."""


def habits(rng: random.Random) -> dict[Phrasing, Habit]:
    """The careless phrasings, drawn for a world."""
    deck = [*CONTENT] * -(-CARELESS * len(VERBS) // len(CONTENT))
    rng.shuffle(deck)
    found = {}
    for verb, its in VERBS.items():
        # To copy is to echo; half of a digit is nothing.
        never = {"copy": "echo", "count": "truncated"}.get(verb)
        for number in sorted(rng.sample(range(len(its.phrasings)), CARELESS)):
            defect = deck.pop(next(i for i, d in enumerate(deck) if d != never))
            found[verb, number] = Habit(defect, rng.choice([v for v in _LISTED if v != verb]))
    return found


def planted(
    rows: Sequence[Chore], count: int, careless: Mapping[Phrasing, Habit], rng: random.Random
) -> tuple[list[Chore], dict[str, str]]:
    """The rows, `count` of them spoilt, and what is the matter with these: row id to one of `DEFECTS`."""
    at_home = [row for row in rows if row.kind in careless]
    chosen = rng.sample(at_home, min(len(at_home), round(CLUSTERED * count)))
    wanted = {row.id: careless[row.kind].defect for row in chosen}
    others = rng.sample([row for row in rows if row.id not in wanted], count - len(wanted))
    wanted |= {row.id: rng.choice(DEFECTS) for row in others}
    clean = [row for row in rows if row.id not in wanted]
    made, defects = list(rows), {}
    for i, row in enumerate(rows):
        if row.id in wanted:
            misread = careless[row.kind].misread if row.kind in careless else ""
            made[i], defects[row.id] = _spoilt(row, wanted[row.id], misread, clean, rng)
    return made, defects


def _spoilt(row: Chore, defect: str, misread: str, clean: Sequence[Chore], rng: random.Random) -> tuple[Chore, str]:
    """The row with this fault, or with another one where this one would leave it right, as half of a digit."""
    while True:
        other = rng.choice(clean)
        if defect in COPIES:
            polite = other.instruction.rstrip(".?") + ", please."
            instruction = polite if defect == "near_duplicate" else other.instruction
            return replace(other, id=row.id, instruction=instruction), defect
        output = faulty(row, defect, misread or rng.choice(_LISTED), other.output, rng)
        if output != row.output:
            return replace(row, output=output), defect
        defect, misread = rng.choice(CONTENT), ""


def faulty(row: Chore, defect: str, misread: str, other: str, rng: random.Random) -> str:
    """A faulty answer; now and then it is the right one by chance. `other`: the answer of another row."""
    match defect:
        case "wrong":
            return VERBS[misread].answer(row.input)
        case "mismatched":
            return other
        case "echo":
            return row.input
        case "empty":
            return ""
        case "truncated":
            return row.output[: len(row.output) // 2].rstrip() or row.output
        case _:
            words = row.output.split()
            for sign in ("~~", "##", "%%"):
                words.insert(rng.randint(0, len(words)), sign)
            return " ".join(words)
