"""Change what the model is told instead of what it is: retriever × prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import DataFile, Strict
from ..wording import Form, Note
from . import Intervention

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from . import State


class All(Strict):
    """Every fact before every prompt."""

    type: Literal["all"] = "all"


class Lexical(Strict):
    """The facts that share words with a prompt: TF-IDF cosine of the prompts, see lm/retrieval.py."""

    type: Literal["lexical"]
    top_k: Annotated[int, Field(ge=1)] = 1
    """Most facts that are told."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.6
    """A prompt that no fact is so like stays as it is. By itself, a fact is found at 0.6 by prompts that name its
    subject and hardly by those that have the relation alone."""
    subject_weight: Annotated[float, Field(ge=0)] = 3.0
    """How many times more the words of a fact's subject count; 0 is plain TF-IDF."""


class Embedding(Strict):
    """The facts whose prompts have a like sentence embedding; needs the extra `embed`."""

    type: Literal["embedding"]
    weights: DataFile
    """The weights in the folder of a sentence-transformers model: `all-MiniLM-L6-v2/model.safetensors`."""
    top_k: Annotated[int, Field(ge=1)] = 1
    """Most facts that are told."""
    min_score: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """A prompt that no fact is so like (cosine) stays as it is."""


class Demonstrations(Strict):
    """Examples of edits before the notes, as IKE has them: chosen by the likeness of their prompts to the fact's, each
    edit once; see lm/demonstrations.py."""

    file: DataFile
    """A JSON list of edits in KnowEdit's or EasyEdit's form; see lm/demonstrations.py."""
    by: Annotated[Lexical | Embedding, Field(discriminator="type")]
    """How likeness is measured; `top_k` and `min_score` are not used."""
    copied: Annotated[int, Field(ge=0)] = 4
    """Examples that ask for the note itself."""
    updated: Annotated[int, Field(ge=0)] = 12
    """Examples that ask for it in other words."""
    retained: Annotated[int, Field(ge=0)] = 16
    """Examples that ask for something else, which the note does not change."""
    end: str = "\n\n"
    """What stands behind an example's answer."""


class InContext(Intervention):
    """Put the requested facts before prompts.

    With every fact before every prompt, the ceiling of what telling can do, whatever is asked. With retrieval, a
    memory: in-context editing (ICE; Cohen et al. 2023, arXiv 2307.12976); with demonstrations, IKE (Zheng et al. 2023,
    arXiv 2305.12740). A fact that is requested again replaces what was stored of it.
    """

    version: ClassVar[int] = 2
    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["in_context"]
    template: Note = "{prompt} {target_new}. "
    """The note for each fact; `{prompt}`, `{subject}` and `{target_new}` are filled in."""
    question: Form = "{question}"
    """What becomes of a prompt behind notes; `{question}` is the prompt."""
    retriever: Annotated[All | Lexical | Embedding, Field(discriminator="type")] = All()
    """Which facts stand before a prompt."""
    demonstrations: Demonstrations | None = None
    """Examples before the notes, or none."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of prompts with all facts so far and no change of weights. Raises DataError, ModelError."""
        from ..demonstrations import before
        from ..patch import Patch
        from ..prompts import Around
        from ..recall import Fact, Recalled, Retriever, remembered, restored

        facts, files = restored(state), job.files.get("algorithm", {})
        for r in requests:
            note = self.template.format(prompt=r.prompt, subject=r.subject, target_new=r.target_new)
            # Taken out first: what was told last stands last.
            facts.pop(r.fact_id, None)
            shown = before(self, r, files, job.rng("ike-kinds")) if self.demonstrations else ""
            facts[r.fact_id] = Fact(r.prompt, r.subject, note, shown)
        told = tuple(facts.values())
        memory = remembered(facts)
        if self.retriever.type == "all" and self.question == "{question}" and self.demonstrations is None:
            return Patch(prompts=Around("".join(fact.note for fact in told))), memory
        return Patch(
            prompts=Recalled(told, Retriever.of(self.retriever, files.get("retriever.weights")), self.question)
        ), memory
