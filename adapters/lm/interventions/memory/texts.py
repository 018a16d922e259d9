"""What a request is learned with: contexts before it, and irrelevant texts beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .....canonical import digest
from .....errors import DataError
from .....job import Job
from ...forward import Tokens
from ...model import LanguageModel
from ...requests import EditRequest
from ...scoring import Row, Unusable, encode, encode_prompt
from ...statistics import read_texts
from ..locate_then_edit.contexts import own_texts, sample_templates
from ..locate_then_edit.options import Value

if TYPE_CHECKING:
    from .params import Wise

VERSION = 1
"""Raised when the same arguments give other texts; part of the key of the artifact."""


@dataclass(frozen=True)
class Texts:
    """What was made once of the untouched model."""

    templates: tuple[str, ...]
    """Contexts with a place for the prompt, the bare prompt first."""
    irrelevant: tuple[Tokens, ...]

    def rows(self, lm: LanguageModel, request: EditRequest) -> list[Row]:
        """The request in each context. Raises Unusable."""
        return [encode(lm, t.replace("{}", request.prompt), request.target_new) for t in self.templates]

    def beside(self, lm: LanguageModel, request: EditRequest, count: int, job: Job) -> list[Tokens]:
        """At most `count` irrelevant texts for a request: its own prompts to keep, else texts without its subject."""
        rng = job.rng("wise-irrelevant", request.id)
        own = [prompt for prompt, _ in request.keep]
        found: list[Tokens] = []
        for number in rng.permutation(len(own)):
            try:
                found.append(encode_prompt(lm, own[number]))
            except Unusable:
                continue
        for number in rng.permutation(len(self.irrelevant)) if not found else ():
            text = self.irrelevant[number]
            if not request.subject or request.subject not in lm.tokenizer.decode(text):
                found.append(text)
            if len(found) == count:
                break
        return found[:count]


def texts(method: Wise, lm: LanguageModel, job: Job) -> Texts:
    """Raises RuntimeError when they have to be made while a patch is applied, DataError for a file without texts."""
    wanted, beginnings, lengths = method.irrelevant, method.context_beginnings, method.context_lengths
    file = job.files["algorithm"]["irrelevant.file"] if wanted.file else None
    key = {
        "model": job.fingerprints["subject"],
        "seed": job.seed,
        "lengths": list(lengths),
        "beginnings": list(beginnings),
        "irrelevant": [wanted.samples, wanted.tokens, digest(file.read_bytes()) if file else None],
        "version": VERSION,
    }

    def build() -> dict[str, Any]:
        if lm.patched:
            raise RuntimeError("contexts and texts describe the untouched model; call `prepare` before patching it")
        templates = ["{}"]
        if beginnings:
            value = Value(context_lengths=lengths, context_beginnings=beginnings)
            draws = job.rng("edit-contexts").random((len(lengths) * len(beginnings), max(lengths)))
            templates += sample_templates(lm, value, draws)
        longest = min(wanted.tokens, lm.context)
        if file:
            found = read_texts(lm, file, wanted.samples, longest)
        else:
            found = own_texts(lm, job.rng("wise-texts").random((wanted.samples, longest - 1)))
        if not found:
            raise DataError(f"{file}: has no text")
        return {"templates": templates, "irrelevant": [list(text) for text in found]}

    stored = job.artifacts.get("wise-texts", key, build)
    return Texts(tuple(stored["templates"]), tuple(map(tuple, stored["irrelevant"])))
