"""MeLLo: facts in a memory, and multi-hop questions that the model takes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import Strict
from ..wording import Form, Note
from . import Intervention
from .in_context import Embedding, Lexical

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from . import State


class Lines(Strict):
    """Each part of a step on a line of its own, after worked examples, as in the paper; the wording is ours."""

    type: Literal["lines"] = "lines"
    steps: Annotated[int, Field(ge=1)] = 4
    """Most sub-questions of a question."""
    tokens: Annotated[int, Field(ge=1)] = 32
    """Longest line."""


class Sentences(Strict):
    """For models that reason aloud in sentences of their own: a sentence is a sub-question with its answer. It is
    written, the fact most like it is put before everything, and it is written anew; no examples are needed."""

    type: Literal["sentences"]
    question: Form
    """What reasoning aloud begins with; `{question}` is the question."""
    between: Annotated[str, Field(min_length=1)] = ";"
    end: Annotated[str, Field(min_length=1)] = "."
    """What stands between sentences, and behind the last one."""
    steps: Annotated[int, Field(ge=1)] = 4
    tokens: Annotated[int, Field(ge=1)] = 16
    """Longest sentence."""


class Mello(Intervention):
    """Memory-based editing for multi-hop questions (MeLLo; Zhong et al. 2023, arXiv 2305.14795, section 5).

    It changes no weight, and is for tasks that ask multi-hop questions: any other prompt is asked with the fact most
    like it before it. The paper finds facts by Contriever's embeddings of whole statements; here the prompts of the
    facts are compared, by words or by a sentence-transformers model.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests", "chain_questions"})
    type: Literal["mello"]
    template: Note = "{prompt} {target_new}"
    """A fact as it is told; `{prompt}`, `{subject}` and `{target_new}` are filled in."""
    question: Form = "{question}"
    """What becomes of a prompt that is no multi-hop question behind the fact."""
    retriever: Annotated[Lexical | Embedding, Field(discriminator="type")] = Lexical(type="lexical", min_score=0.0)
    """How facts are found; the best one is told, if it is like enough. The paper tells it always."""
    form: Annotated[Lines | Sentences, Field(discriminator="type")] = Lines()

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of prompts with all facts so far and no change of weights. Raises ModelError."""
        from ..decomposing import Decomposing
        from ..decomposing import Form as Led
        from ..patch import Patch
        from ..recall import Fact, Retriever, remembered, restored

        facts = restored(state)
        for r in requests:
            facts.pop(r.fact_id, None)
            note = self.template.format(prompt=r.prompt, subject=r.subject, target_new=r.target_new)
            facts[r.fact_id] = Fact(r.prompt, r.subject, note)
        retriever = Retriever.of(self.retriever, job.files.get("algorithm", {}).get("retriever.weights"))
        form = Led(**self.form.model_dump())
        return Patch(prompts=Decomposing(tuple(facts.values()), retriever, self.question, form)), remembered(facts)
