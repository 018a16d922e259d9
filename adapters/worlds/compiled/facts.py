"""Words, facts, questions. Numpy only, but for the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from ....job import rng
from .design import Design

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

START, UNKNOWN, END = "<bos>", "<unk>", "is"
RELATIONS = ("capital", "language", "river", "coin")
MOST_PAIRS = 56


@dataclass(frozen=True)
class Question:
    """What is asked: a relation of a subject, both by number."""

    relation: int
    subject: int


@dataclass(frozen=True)
class Facts:
    """Which attribute each subject has in each relation."""

    design: Design
    seed: int

    @cached_property
    def table(self) -> tuple[tuple[int, ...], ...]:
        """Number of the attribute, by relation and subject; each attribute is had by equally many subjects."""
        d = self.design
        drawn = [
            rng(self.seed, "compiled-facts", str(r)).permutation(d.subjects) % n for r, n in enumerate(d.attributes)
        ]
        return tuple(tuple(map(int, row)) for row in drawn)

    @property
    def subjects(self) -> tuple[str, ...]:
        """`S0`, `S1` …"""
        return tuple(f"S{number}" for number in range(self.design.subjects))

    def attributes(self, relation: int) -> tuple[str, ...]:
        """`capital0`, `capital1` …"""
        return tuple(f"{RELATIONS[relation]}{number}" for number in range(self.design.attributes[relation]))

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Word to token."""
        relations = range(self.design.relations)
        words = [START, UNKNOWN, END, *RELATIONS[: self.design.relations], *self.subjects]
        words += [word for relation in relations for word in self.attributes(relation)]
        return {word: token for token, word in enumerate(words)}

    def text(self, question: Question) -> str:
        """`capital S3 is`."""
        return f"{RELATIONS[question.relation]} {self.subjects[question.subject]} {END}"

    def attribute(self, question: Question) -> str:
        """The word that is right after it."""
        return self.attributes(question.relation)[self.table[question.relation][question.subject]]

    def prompt(self, question: Question) -> tuple[int, ...]:
        """`<bos> capital S3 is` as tokens."""
        return tuple(self.vocabulary[word] for word in (START, *self.text(question).split()))

    def answer(self, question: Question) -> int:
        """The token that is right after it."""
        return self.vocabulary[self.attribute(question)]

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """All that can be asked."""
        return tuple(Question(*both) for both in product(range(self.design.relations), range(self.design.subjects)))

    @cached_property
    def counterparts(self) -> tuple[tuple[Question, Question], ...]:
        """A question, and one of another relation of another subject; at most `MOST_PAIRS`, drawn from the seed.

        The two subjects differ in both relations, so that to exchange either word alone changes the answer too.
        """
        found = [
            (clean, corrupt)
            for clean, corrupt in product(self.questions, repeat=2)
            if clean.relation != corrupt.relation
            and all(
                self.table[r][clean.subject] != self.table[r][corrupt.subject]
                for r in (clean.relation, corrupt.relation)
            )
        ]
        drawn = rng(self.seed, "compiled-pairs").permutation(len(found))[:MOST_PAIRS]
        return tuple(found[i] for i in sorted(drawn))

    def _of(self, *questions: Question) -> Iterator[tuple[int, ...]]:
        return (self.table[question.relation] for question in questions)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token a word, split at white space, `<bos>` in front, which also is the padding."""
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from tokenizers.pre_tokenizers import WhitespaceSplit
        from tokenizers.processors import TemplateProcessing
        from transformers import PreTrainedTokenizerFast

        words = Tokenizer(WordLevel(self.vocabulary, unk_token=UNKNOWN))
        words.pre_tokenizer = WhitespaceSplit()
        words.post_processor = TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 0)])
        return PreTrainedTokenizerFast(
            tokenizer_object=words,
            bos_token=START,
            eos_token=START,
            pad_token=START,
            unk_token=UNKNOWN,
            padding_side="right",
            clean_up_tokenization_spaces=False,
            model_input_names=["input_ids", "attention_mask"],
        )
