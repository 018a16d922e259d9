"""Questions that a model takes apart, with a memory of facts: each step is checked against the fact most like it.

MeLLo (Zhong et al. 2023, arXiv 2305.14795, section 5). The model writes a sub-question and a tentative answer; the fact
most like the sub-question is put before it; it says whether the fact contradicts the answer, and with what it goes on;
and so forth until it writes the answer. The paper gives the model four rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from .generation import greedy
from .model import LanguageModel
from .recall import Fact, Recalled, Retriever
from .retrieval import best
from .scoring import single_tokens, tokenised

STEP, GUESS, NOTE, CHECK, NOW, ANSWER = "Step:", "Guess:", "Note:", "Check:", "So far:", "Answer:"
"""What the lines of the form `lines` begin with. The model chooses between a step and the answer; the labels of the
other lines are written for it."""
_OTHERWISE, _ELSEWHERE = "the note answers the step, and says otherwise.", "the note is about something else."
_EXAMPLES = (
    (
        "What is the capital of the country in which the composer of Finlandia was born?",
        (
            (
                "Who composed Finlandia?",
                "Jean Sibelius",
                "Finlandia was composed by Nadia Boulanger",
                "Nadia Boulanger",
            ),
            ("In which country was Nadia Boulanger born?", "France", "The capital of Peru is Cusco", "France"),
            ("What is the capital of France?", "Paris", "The capital of France is Lyon", "Lyon"),
        ),
        "Lyon",
    ),
    (
        "On which continent does the country lie whose capital is Nairobi?",
        (
            ("Which country has Nairobi as its capital?", "Kenya", "The author of Dracula is Mary Shelley", "Kenya"),
            ("On which continent does Kenya lie?", "Africa", "Kenya lies on the continent of Asia", "Asia"),
        ),
        "Asia",
    ),
    (
        "Which sport is the husband of Steffi Graf known for?",
        (
            ("Who is the husband of Steffi Graf?", "Andre Agassi", "Steffi Graf is married to Tony Hawk", "Tony Hawk"),
            ("Which sport is Tony Hawk known for?", "skateboarding", "The language of Brazil is Thai", "skateboarding"),
        ),
        "skateboarding",
    ),
)
"""Worked examples of ours: question; steps, each with a guess, a note and what it goes on with; answer."""


@dataclass(frozen=True)
class Form:
    """How the model is led through the steps."""

    type: Literal["lines", "sentences"] = "lines"
    """`lines`: as in the paper, each part of a step on a line of its own, after worked examples. `sentences`: for
    models that reason aloud in sentences of their own: a sentence is a step with its guess, and is written anew with
    the fact most like it before everything."""
    question: str = "{question}"
    """`sentences`: what reasoning aloud begins with."""
    between: str = ";"
    end: str = "."
    """`sentences`: what stands between sentences, and behind the last one."""
    steps: int = 4
    """Most steps; who has no answer by then gives none."""
    tokens: int = 32
    """Longest line or sentence."""


@dataclass(frozen=True)
class Decomposing(Recalled):
    """A memory whose fact is told before a prompt, and with which questions are taken apart (`reasoned`)."""

    type: ClassVar[str] = "decomposing"
    form: Form = Form()

    def reasoned(self, lm: LanguageModel, questions: Sequence[str], batch_size: int) -> list[str | None]:
        """The answer to each question: with `lines` the answer alone, with `sentences` all that was reasoned. Empty
        where the model found none, None where its context is too short. Greedy: the same at every call."""
        if self.form.type == "sentences":
            return self._sentences(lm, questions, batch_size)
        return self._lines(lm, questions, batch_size)

    def _lines(self, lm: LanguageModel, questions: Sequence[str], size: int) -> list[str | None]:
        texts = [f"{_examples()}Question: {question}\n" for question in questions]
        found: dict[int, str | None] = {}
        for step in range(self.form.steps + 1):
            going = [i for i in range(len(texts)) if i not in found]
            steps: dict[int, str] = {}
            for i, line in zip(going, self._written(lm, [texts[i] for i in going], ("\n",), size), strict=True):
                if line is None:
                    found[i] = None
                elif line.text.startswith(ANSWER):
                    found[i] = line.text.removeprefix(ANSWER).strip()
                elif line.text.startswith(STEP) and step < self.form.steps:
                    steps[i] = line.text.removeprefix(STEP).strip()
                    texts[i] += f"{STEP} {steps[i]}\n"
                else:
                    found[i] = ""
            for label in (GUESS, CHECK, NOW):
                going = [i for i in steps if i not in found]
                for i in going:
                    texts[i] += f"{NOTE} {self._told(steps[i])}\n{label}" if label == CHECK else label
                for i, line in zip(going, self._written(lm, [texts[i] for i in going], ("\n",), size), strict=True):
                    if line is None:
                        found[i] = None
                    else:
                        texts[i] += f" {line.text}\n"
        return [found[i] for i in range(len(texts))]

    def _sentences(self, lm: LanguageModel, questions: Sequence[str], size: int) -> list[str | None]:
        texts = [self.form.question.replace("{question}", question) for question in questions]
        said = [""] * len(texts)
        found: dict[int, str | None] = {}
        marks = (self.form.between, self.form.end)
        for _ in range(self.form.steps):
            going = [i for i in range(len(texts)) if i not in found]
            so_far = [texts[i] + said[i] for i in going]
            guesses = self._written(lm, so_far, marks, size)
            noted = [
                self._told(guess.text if guess else "") + text for guess, text in zip(guesses, so_far, strict=True)
            ]
            for i, sentence in zip(going, self._written(lm, noted, marks, size), strict=True):
                if sentence is None:
                    found[i] = None
                    continue
                said[i] += f" {sentence.text}"
                if sentence.mark == self.form.between:
                    said[i] += f" {self.form.between}"
                else:
                    found[i] = said[i].strip() if sentence.mark else ""
        return [found.get(i, "") for i in range(len(texts))]

    def _told(self, text: str) -> str:
        """The note of the fact most like a text; empty where none is like enough."""
        found = best(self._index(text), 1, self.retriever.min_score) if self.facts else []
        return self.facts[found[0]].note if found else ""

    def _written(
        self, lm: LanguageModel, texts: Sequence[str], marks: Sequence[str], size: int
    ) -> list[_Written | None]:
        """What the model goes on with, up to the first of the marks; None where there is no room."""
        from .writing import ends  # which imports patches, and these what is done with prompts

        rows = [tokenised(lm, text)[0] for text in texts]
        fit = [i for i, row in enumerate(rows) if 0 < len(row) <= lm.context - self.form.tokens]
        stop = frozenset((*ends(lm), *single_tokens(lm, marks)))
        said = greedy(lm, [rows[i] for i in fit], [self.form.tokens] * len(fit), size, stop=stop)
        found: list[_Written | None] = [None] * len(texts)
        for i, tokens in zip(fit, said, strict=True):
            text = lm.tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
            place, mark = min(((p, mark) for mark in marks if (p := text.find(mark)) >= 0), default=(len(text), ""))
            found[i] = _Written(text[:place].strip(), mark)
        return found

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Decomposing:
        facts = tuple(Fact(**fact) for fact in data["facts"])
        return cls(facts, Retriever(**data["retriever"]), data["question"], Form(**data["form"]))


@dataclass(frozen=True)
class _Written:
    text: str
    mark: str
    """Behind it; empty where it was written to its longest, or to the end of the text."""


def _examples() -> str:
    blocks = []
    for question, steps, answer in _EXAMPLES:
        lines = [f"Question: {question}"]
        for step, guess, note, now in steps:
            check = _ELSEWHERE if now == guess else _OTHERWISE
            lines += [f"{STEP} {step}", f"{GUESS} {guess}", f"{NOTE} {note}", f"{CHECK} {check}", f"{NOW} {now}"]
        blocks.append("\n".join([*lines, f"{ANSWER} {answer}"]))
    return "\n\n".join(blocks) + "\n\n"
