"""Each kind of defect: what becomes of a sound row. Pure functions of the row, its donor and the draws.

Two severities of each. Of what spoils an answer, `severe` leaves less of it; of duplicates and contamination, `severe`
is closer to what it repeats.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import yaml

from ..rows import Row

Severity = Literal["mild", "severe"]
SEVERITIES: tuple[Severity, ...] = ("mild", "severe")


@dataclass(frozen=True)
class Given:
    """What a defect is made from."""

    row: Row
    """A sound row, used for nothing else; of a duplicate, the row that it repeats; of contamination, an item of the
    evaluation set."""
    other: Row | None
    """Another sound row that is used for nothing else, for a defect that needs two."""
    severe: bool
    rng: np.random.Generator
    number: int
    """How many of this kind and severity were made before: texts are taken in turn."""


@cache
def _texts() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((files(__package__) / "texts.yaml").read_text(encoding="utf-8"))
    return found


def _in_turn(given: Given, name: str) -> Any:
    texts: Sequence[Any] = _texts()[name]
    return texts[given.number % len(texts)]


def _exact_duplicate(given: Given) -> Row:
    """Verbatim; mild: but for capitals, spaces and the final mark of the instruction."""
    if given.severe:
        return given.row
    text = given.row.instruction.rstrip(" .?!")
    return replace(given.row, instruction="  ".join(text.swapcase().split(" ")))


def _near_duplicate(given: Given) -> Row:
    """One word of the instruction dropped; mild: one word in five dropped, doubled or changed for a neighbour."""
    words = given.row.instruction.split()
    edits = 1 if given.severe else max(2, len(words) // 5)
    for place in given.rng.choice(len(words), size=min(edits, len(words) - 1), replace=False):
        kind = 0 if given.severe else int(given.rng.integers(3))
        if kind == 0:
            words[place] = ""
        elif kind == 1:
            words[place] = f"{words[place]} {words[place]}"
        else:
            words[place] = words[place - 1]
    return replace(given.row, instruction=" ".join(word for word in words if word))


def _reframed_duplicate(given: Given) -> Row:
    """The instruction inside a polite phrase; mild: inside several sentences."""
    frame = _in_turn(given, "frames" if given.severe else "long_frames")
    return replace(given.row, instruction=frame.format(given.row.instruction))


def _truncated(given: Given) -> Row:
    """The answer breaks off after a third of its words; mild: before its last words."""
    words = given.row.output.split()
    left = max(1, len(words) // 3) if given.severe else max(1, len(words) - max(2, len(words) // 8))
    return replace(given.row, output=" ".join(words[:left]).rstrip(".?!,;: "))


def _mismatched(given: Given) -> Row:
    """The answer to another instruction; mild: after the first words of its own."""
    assert given.other is not None
    own = "" if given.severe else " ".join(given.row.output.split()[:4]) + " "
    return replace(given.row, output=own + given.other.output)


def _repeated(given: Given) -> Row:
    """The first sentence a dozen times; mild: the last one three times."""
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", given.row.output) if s]
    if given.severe:
        return replace(given.row, output=" ".join([sentences[0]] * 12))
    return replace(given.row, output=" ".join([*sentences, sentences[-1], sentences[-1]]))


def _empty(given: Given) -> Row:
    """Nothing; mild: a placeholder."""
    return replace(given.row, output="" if given.severe else _in_turn(given, "placeholders"))


def _echoed(given: Given) -> Row:
    """The prompt again; mild: the prompt, then the first words of the answer."""
    more = "" if given.severe else " " + " ".join(given.row.output.split()[:5])
    return replace(given.row, output=given.row.prompt + more)


def _refused(given: Given) -> Row:
    """A refusal; mild: a refusal with an offer behind it."""
    more = "" if given.severe else " " + _in_turn(given, "offers")
    return replace(given.row, output=_in_turn(given, "refusals") + more)


def _wrong_language(given: Given) -> Row:
    """The answer is in another language; mild: its second half."""
    sentences: Sequence[str] = _in_turn(given, "foreign")
    chosen = given.rng.choice(len(sentences), size=3, replace=False)
    foreign = " ".join(sentences[i] for i in chosen)
    words = given.row.output.split()
    own = "" if given.severe else " ".join(words[: max(1, len(words) // 2)]) + " "
    return replace(given.row, output=own + foreign)


def _noisy(given: Given) -> Row:
    """A quarter of the answer's characters replaced at random; mild: a twentieth."""
    letters, pool = list(given.row.output), string.ascii_letters + string.digits + "#@%&*~^"
    count = max(1, len(letters) // (4 if given.severe else 20))
    for place in given.rng.choice(len(letters), size=count, replace=False):
        letters[place] = pool[int(given.rng.integers(len(pool)))]
    return replace(given.row, output="".join(letters))


def _shuffled(given: Given) -> Row:
    """The answer's words in random order; mild: every other word trades places with the next but one."""
    words = given.row.output.split()
    if given.severe:
        return replace(given.row, output=" ".join(words[i] for i in given.rng.permutation(len(words))))
    for i in range(0, len(words) - 2, 4):
        words[i], words[i + 2] = words[i + 2], words[i]
    return replace(given.row, output=" ".join(words))


def _boilerplate(given: Given) -> Row:
    """Navigation and mark-up of a web page around the first words of the answer; mild: around all of it."""
    inside = " ".join(given.row.output.split()[:8]) if given.severe else given.row.output
    return replace(given.row, output=_in_turn(given, "boilerplate").format(inside))


def _contaminated(given: Given) -> Row:
    """An item of the evaluation set; mild: inside a polite phrase, without its answer's last words."""
    if given.severe:
        return given.row
    return replace(_truncated(given), instruction=_in_turn(given, "frames").format(given.row.instruction))


DUPLICATES: Mapping[str, Callable[[Given], Row]] = {
    "exact_duplicate": _exact_duplicate,
    "near_duplicate": _near_duplicate,
    "reframed_duplicate": _reframed_duplicate,
}
"""Defects of a pair: which of the two goes does not matter."""
SPOILED: Mapping[str, Callable[[Given], Row]] = {
    "truncated": _truncated,
    "mismatched": _mismatched,
    "repeated": _repeated,
    "empty": _empty,
    "echoed": _echoed,
    "refused": _refused,
    "wrong_language": _wrong_language,
    "noisy": _noisy,
    "shuffled": _shuffled,
    "boilerplate": _boilerplate,
}
"""Defects of an answer, planted in rows that are used for nothing else."""
CONTAMINATION = "contamination"
KINDS: tuple[str, ...] = (*DUPLICATES, *SPOILED, CONTAMINATION)


def made(kind: str, given: Given) -> Row:
    """A row with the defect `kind`."""
    if kind == CONTAMINATION:
        return _contaminated(given)
    return {**DUPLICATES, **SPOILED}[kind](given)
