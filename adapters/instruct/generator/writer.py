"""The simulated writer: replies in the forms that real models use, with the number of items that each holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import yaml

from ....job import rng
from ...chat.requests import Reply, Request

if TYPE_CHECKING:
    from .params import SimulatedWriter


@cache
def words() -> Mapping[str, Sequence[str]]:
    """What it writes of: `verbs`, `things`, `turns`, and what a generator has to turn away, `unusable`."""
    found: Mapping[str, Sequence[str]] = yaml.safe_load((files(__package__) / "words.yaml").read_text(encoding="utf-8"))
    return found


@dataclass
class Writer:
    """See `ChatModel`."""

    spec: SimulatedWriter
    fingerprint: str
    prices: None = None
    paid: bool = True
    """As an endpoint's: its replies are journaled, which is what the track looks at."""

    def started(self) -> Writer:
        """It remembers nothing."""
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """In the order of the requests."""
        for i, request in enumerate(requests):
            draws = rng(self.spec.seed, "simulated_writer", request.key)
            text, contains, finish = written(self.spec, request, draws)
            tokens = [len(re.findall(r"\w+|[^\w\s]", t)) for t in ("".join(m[1] for m in request.messages), text)]
            yield i, Reply(text, finish, tokens[0], tokens[1], contains=contains)

    def verify(self) -> list[str]:
        """Nothing here can change it."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def written(spec: SimulatedWriter, request: Request, draws: np.random.Generator) -> tuple[str, int | None, str]:
    """Text, items in it and finish reason."""
    pick = _Pick(draws)
    thing = pick(words()["things"])
    simple = {
        "classification": pick((" no", "No.", "no\n", "Classification: no", "No, it is open-ended.")),
        "instances": pick(
            (
                f"Input: A note on {thing}.\nOutput: It is about {thing}.",
                f"Output: A few words on {thing} will do.",
                f"**Input:** {thing}\n**Output:** There is much to say of {thing}.",
                f"Example 1\nInput: {thing}\nOutput: First {thing}.\n\nExample 2\nInput: ink\nOutput: Then ink.",
            )
        ),
        "gain": pick(("Not equal", "Not equal.", "They are not equal.", "Equal")),
        "backtranslate": pick(("Instruction: {0}", "**Instruction:** {0}", "{0}")).format(_instruction(spec, pick, ())),
        "evolve": pick(("{0}", '"{0}"', "New instruction: {0}")).format(
            f"{_instruction(spec, pick, ())} Mention {pick(words()['things'])} as well."
        ),
        "score": pick(("It is clear. Score: {0}", "**Score:** {0}", "Good.\nSCORE: {0}/5", "Rating: [{0}]")).format(
            pick("345")
        ),
    }
    if request.purpose == "instructions":
        return _list(spec, request, pick)
    return simple.get(request.purpose, f"Here is what one can say about {thing}: it takes time, and care."), 1, "stop"


@dataclass
class _Pick:
    draws: np.random.Generator

    def __call__(self, options: Sequence[str]) -> str:
        return options[int(self.draws.integers(len(options)))]

    def share(self, share: float) -> bool:
        return float(self.draws.random()) < share


def _instruction(spec: SimulatedWriter, pick: _Pick, shown: Sequence[str]) -> str:
    if shown and pick.share(spec.unusable):
        kind = pick((*words()["unusable"], "shown"))
        return pick(shown) if kind == "shown" else kind.format(pick(words()["things"]))
    return f"{pick(words()['verbs'])} {pick(words()['things'])} {pick(words()['turns'])}."


def _list(spec: SimulatedWriter, request: Request, pick: _Pick) -> tuple[str, int, str]:
    """A list of 8 to 14 instructions, in one of nine forms."""
    shown = re.findall(r"^\d+\. Instruction: (.+)$", request.last, re.MULTILINE)
    items = [_instruction(spec, pick, shown or ("Say why.",)) for _ in range(int(pick.draws.integers(8, 15)))]
    start = len(shown) + 1
    numbered = list(enumerate(items, start=start))
    forms = {
        "plain": "\n".join(f"{n}. {item}" for n, item in numbered),
        "labelled": "\n".join(f"{n}. Instruction: {item}" for n, item in numbered),
        "separated": "###\n" + "\n###\n".join(f"{n}. Instruction: {item}" for n, item in numbered) + "\n###",
        "bold": "Sure! Here are more tasks:\n\n" + "\n\n".join(f"**{n}.** {item}" for n, item in numbered),
        "skipping": "\n".join(f"{n + (n > start + 2)}) {item}" for n, item in numbered),
        "bullets": "Here you go:\n" + "\n".join(f"- {item}" for item in items) + "\n\nLet me know if you need more!",
        "tasks": "\n".join(f"Task {n}: {item}" for n, item in numbered),
        "json": json.dumps(items, indent=1),
        "fenced": "```json\n" + json.dumps([{"instruction": item} for item in items]) + "\n```",
    }
    text = forms[pick(tuple(forms))]
    if not pick.share(spec.cut):
        return text, len(items), "stop"
    # Cut within the last item that is left: it is none.
    last = int(pick.draws.integers(2, len(items)))
    return text[: text.rindex(items[last]) + len(items[last]) // 2], last, "length"
