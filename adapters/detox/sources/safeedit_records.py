"""SafeEdit's files (Wang et al. 2024, arXiv 2403.14472, section 2.2 and appendix A), in the form of zjunlp/SafeEdit.

A record of `SafeEdit_train`, `_val` and `_test` holds a harmful question inside an attack, a safe and an unsafe answer,
and a harmless instruction with its answer (`knowledge constrain`, so spelt); in `_test` also the four inputs that show
how far a defence carries. A record of `SafeEdit_test_ALL` is one input: a question alone, or inside an attack.

The texts are harmful: names and errors hold digests and numbers of records, never texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ....canonical import digest
from ....errors import closest
from ....records import Record, got, read_any

CATEGORIES = (
    "offensiveness",
    "bias",
    "physical",
    "mental",
    "illegal",
    "ethics",
    "privacy",
    "pornography",
    "political",
)
"""The nine kinds of harm (table 4)."""

ADVERSARIAL, TESTS, CONSTRAINT, ANY_INPUT = (
    "adversarial prompt",
    "generalization test",
    "knowledge constrain",
    "malicious input",
)
TEST_KEYS = {
    "only_q": "test input of only harmful question",
    "other_a": "test input of other attack prompt input",
    "other_q": "test input of other question input",
    "other_aq": "test input of other questions and attack prompts",
}
"""What the inputs of a case (`cases.INPUTS`) are called in a record's `generalization test`."""


@dataclass(frozen=True)
class Instance:
    """What a record says."""

    record: Record
    id: str
    category: str
    """One of `CATEGORIES`."""
    question: str
    inputs: Mapping[str, str]
    """Prompts by their names in `cases.INPUTS`."""
    template: tuple[str, ...]
    """The attack: what stands before, between and after its questions. Empty for a question alone."""
    attack_name: str = ""
    safe: str = ""
    unsafe: str = ""
    keep: tuple[tuple[str, str], ...] = ()
    """The harmless instruction, with its answer."""
    other: tuple[str, ...] = ()
    """The template of the input `other_a`, where there is one."""

    @property
    def prompt(self) -> str:
        """What an unsafe model answers as asked: the adversarial prompt, or the only input."""
        return next(iter(self.inputs.values()))

    @property
    def attack(self) -> str:
        """Digest of the attack: the same for all questions that it is put around."""
        return f"a-{digest([normalised(piece) for piece in self.template], 4)}" if self.template else "none"

    @property
    def question_name(self) -> str:
        """Digest of the question."""
        return f"q-{digest(normalised(self.question), 4)}"


def instances(file: Path) -> list[Instance]:
    """The records of a training, validation or test file. Raises DataError naming record and field."""
    records = list(_identified(read_any(file)))
    tested = any(TESTS in record.data for _, record in records)
    return [_instance(name, record, tested) for name, record in records]


def single_inputs(file: Path) -> list[Instance]:
    """The records of `SafeEdit_test_ALL`: one input each. Raises DataError naming record and field."""
    return [_single(name, record) for name, record in _identified(read_any(file))]


def _instance(name: str, record: Record, tested: bool) -> Instance:
    question, prompt = record.text("question"), record.text(ADVERSARIAL)
    template = separated(prompt, question)
    if not any(piece.strip() for piece in template):
        raise record.wrong(ADVERSARIAL, "the record's `question` inside an attack")
    inputs = {"ds": prompt, "only_q": question}
    other: tuple[str, ...] = ()
    if tested:
        tests = record.part(TESTS)
        inputs |= {key: tests.text(published) for key, published in TEST_KEYS.items()}
        _differ(tests, inputs)
        other = separated(inputs["other_a"], question)
    constraint = record.part(CONSTRAINT)
    return Instance(
        record,
        name,
        category(record),
        question,
        inputs,
        template,
        record.optional("attack name") or "",
        safe=record.text("safe generation"),
        unsafe=record.text("unsafe generation"),
        keep=((constraint.text("prompt"), constraint.text("answer")),),
        other=other,
    )


def _single(name: str, record: Record) -> Instance:
    question, prompt = record.text("question"), record.text(ANY_INPUT)
    template = separated(prompt, question)
    if not template:
        raise record.wrong(ANY_INPUT, "the record's `question`, alone or in an attack")
    alone = not any(piece.strip() for piece in template)
    attack = record.optional("attack name") or ""
    if attack and alone != (attack.casefold() == "none"):
        expected = "'None', since its input is the question alone" if alone else "an attack's, since its input has one"
        raise record.wrong("attack name", expected)
    inputs = {"only_q" if alone else "other_aq": prompt}
    return Instance(
        record, name, category(record), question, inputs, () if alone else template, "" if alone else attack
    )


def _identified(records: Iterable[Record]) -> Iterator[tuple[str, Record]]:
    """Each record with its `id`. Raises DataError for none, and for one that is there twice."""
    seen: dict[str, str] = {}
    for record in records:
        value = record.data.get("id")
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise record.wrong("id", f"a whole number or a text, {got(value)}")
        if str(value) in seen:
            raise record.wrong("id", f"one of its own, got {str(value)!r} as in {seen[str(value)]}")
        seen[str(value)] = record.place
        yield str(value), record


def _differ(tests: Record, inputs: Mapping[str, str]) -> None:
    """All inputs of a case are different prompts, by their definition."""
    seen: dict[str, str] = {}
    for name, text in inputs.items():
        if (same := seen.setdefault(normalised(text), name)) != name:
            known = TEST_KEYS.get(same, ADVERSARIAL)
            raise tests.wrong(TEST_KEYS[name], f"a prompt of its own, it is that of `{known}`")


def category(record: Record) -> str:
    """The kind of harm: one of `CATEGORIES`, which may be a word of a longer name. Raises DataError."""
    text = record.text("unsafety category")
    found = [name for name in CATEGORIES if name in re.findall("[a-z]+", text.casefold())]
    if len(found) != 1:
        near = closest(text.casefold(), CATEGORIES)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(CATEGORIES)}"
        raise record.wrong("unsafety category", f"one of SafeEdit's nine, {got(text)}; {hint}")
    return found[0]


def separated(prompt: str, question: str) -> tuple[str, ...]:
    """The pieces of a prompt around its question, two for a question that is there once; none where it is not.

    Case, kinds of space and the mark at the question's end do not matter.

    >>> separated("Now sing: what is blue?! La", "What is  blue?"), separated("Sing", "What?")
    (('Now sing: ', '! La'), ())
    """
    pieces = _pattern(question).split(prompt)
    return tuple(pieces) if len(pieces) > 1 else ()


def standing(prompt: str, question: str) -> str:
    """The question as it is written in a prompt that has it.

    >>> standing("Now sing: what is blue?! La", "What is  blue?")
    'what is blue?'
    """
    found = _pattern(question).search(prompt)
    return found.group() if found else question


def _pattern(question: str) -> re.Pattern[str]:
    words = question.strip()
    stem = words.rstrip(" ?!.") or words
    end = words[len(stem) :].strip()
    mark = f"(?:{re.escape(end)})?" if end else ""
    return re.compile(r"\s+".join(map(re.escape, stem.split())) + mark, re.IGNORECASE)


def normalised(text: str) -> str:
    """Text for comparing: case folded, single spaces."""
    return " ".join(text.casefold().split())
