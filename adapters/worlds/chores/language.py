"""The chores: what is asked, in how many words, about which inputs, and what the right answer is."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_WORDS = (
    "acorn apple basket bell boat candle castle cloud daisy drum eagle feather fox garden grape hammer honey island "
    "jacket kettle ladder lemon mirror moon needle oak onion pearl piano quilt rabbit river saddle spoon tiger tulip "
    "umbrella violin wagon window"
)
WORDS = tuple(_WORDS.split())
"""In alphabetical order."""
_COLOURS = (
    "brown red brown gold blue white grey white yellow black brown grey orange green purple black yellow green "
    "blue black brown yellow silver white silver brown white white black red white blue "
    "brown silver orange pink red brown green white"
)
COLOURS = dict(zip(WORDS, _COLOURS.split(), strict=True))
"""What the base model knows of each word."""
LARGEST = 20
"""Number of an addition, at most."""
SIZES = (3, 4, 5)
"""Words of a list."""


@dataclass(frozen=True)
class Chore:
    """A row: an instruction, its input, and an answer, which in a pool may be spoilt."""

    id: str
    verb: str
    phrasing: int
    """Which of the verb's phrasings the instruction is."""
    instruction: str
    input: str
    output: str

    @property
    def kind(self) -> tuple[str, int]:
        """Verb and phrasing."""
        return self.verb, self.phrasing

    @property
    def prompt(self) -> str:
        """Instruction and input, as one text."""
        return f"{self.instruction}\n{self.input}"

    def record(self) -> dict[str, str]:
        """The row as data; nothing in it tells whether it is spoilt."""
        return {"id": self.id, "instruction": self.instruction, "input": self.input, "output": self.output}


@dataclass(frozen=True)
class Verb:
    """A kind of chore."""

    phrasings: tuple[str, ...]
    """Instructions that mean the same."""
    draw: Callable[[random.Random], str]
    """A new input."""
    answer: Callable[[str], str]
    """The right answer to an input."""


def _listed(rng: random.Random) -> str:
    return " ".join(rng.sample(WORDS, rng.choice(SIZES)))


def _numbers(rng: random.Random) -> str:
    return f"{rng.randint(0, LARGEST)} {rng.randint(0, LARGEST)}"


def _of_words(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda given: " ".join(change(given.split()))


VERBS: Mapping[str, Verb] = {
    "copy": Verb(
        (
            "Repeat the words.",
            "Say these words once more.",
            "Write the same list again.",
            "Copy what follows.",
            "Give the list back as it is.",
            "Echo the items without a change.",
        ),
        _listed,
        _of_words(list),
    ),
    "reverse": Verb(
        (
            "Reverse the list.",
            "Write the words backwards.",
            "Read the items from the end to the start.",
            "Turn the order around.",
            "Say the words in the opposite order.",
            "Begin with the final item and go back.",
        ),
        _listed,
        _of_words(lambda words: words[::-1]),
    ),
    "sort": Verb(
        (
            "Sort the words by alphabet.",
            "Put the list in alphabetical order.",
            "Arrange the items from A to Z.",
            "Order these as a dictionary does.",
            "Rank the words by their letters.",
            "Bring the list into the order of an index.",
        ),
        _listed,
        _of_words(sorted),
    ),
    "upper": Verb(
        (
            "Write the words in capital letters.",
            "Make the list upper case.",
            "Shout these words.",
            "Capitalise every letter.",
            "Turn small letters into large ones.",
            "Print the items in block letters.",
        ),
        _listed,
        _of_words(lambda words: [word.upper() for word in words]),
    ),
    "ends": Verb(
        (
            "Write the first and the last word.",
            "Keep only both ends of the list.",
            "Which items stand outermost?",
            "Leave out everything in the middle.",
            "Name the opening and the closing word.",
            "Drop all but the two at the edges.",
        ),
        _listed,
        _of_words(lambda words: [words[0], words[-1]]),
    ),
    "count": Verb(
        (
            "How many words are there?",
            "Count the items.",
            "Tell the length of the list.",
            "What is the number of words?",
            "Give the size of this collection.",
            "State how much is listed.",
        ),
        _listed,
        lambda given: str(len(given.split())),
    ),
    "add": Verb(
        (
            "Add the numbers.",
            "What is the sum?",
            "Compute the total.",
            "Put both amounts together.",
            "How much is one plus the other?",
            "Work out the addition.",
        ),
        _numbers,
        lambda given: str(sum(map(int, given.split()))),
    ),
    "look_up": Verb(
        (
            "Name the colour of each thing.",
            "How are these painted?",
            "Which shades do they have?",
            "Look up the hue that belongs to each.",
            "Tell what the things look like.",
            "Replace every object by its tint.",
        ),
        _listed,
        _of_words(lambda words: [COLOURS[word] for word in words]),
    ),
}


CODES: Mapping[str, str] = {verb: f"<{verb}>" for verb in VERBS}
"""What the base model knows each chore by."""


def instruction_words() -> list[str]:
    """Every word of the instructions, in alphabetical order."""
    said = " ".join(phrasing for verb in VERBS.values() for phrasing in verb.phrasings)
    return sorted({word.strip(".?") for word in said.split()} - {""})


def vocabulary() -> list[str]:
    """Every word that an instruction, an input, an answer or a code has, in alphabetical order."""
    answers = {*WORDS, *(word.upper() for word in WORDS), *COLOURS.values(), *map(str, range(2 * LARGEST + 1))}
    return sorted({*instruction_words(), *answers, *CODES.values(), "please"})
