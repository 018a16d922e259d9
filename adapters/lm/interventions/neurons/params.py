"""The algorithm `edit_neurons`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from .....components import NOT_IDENTITY
from .. import Intervention
from ..locate_then_edit.options import NotNegative, Template, Value

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from .. import State


class EditNeurons(Intervention):
    """Knowledge neurons (Dai et al. 2022, arXiv 2104.08696, section 5.1): each neuron that the probability of the old
    answer rests on is made to write less of that answer, and more of the new one. As in the authors' code, what is made
    less is what the model says; they edit only facts that it knows, where the two are the same.

    Neurons are found in several prompts of the fact, and those are kept that most of them share. The paper has prompts
    in other words; a request has one, so that here it stands behind other texts. An answer is its first token: the
    paper knows only answers of one. Requests are carried out one after another.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["edit_neurons"]
    variant: Literal["paper", "easyedit"] = "paper"
    """`easyedit` is what EasyEdit does for GPT-2: neurons before the activation, a sum that begins at 0, the bare
    prompt alone (`share` and contexts say nothing), all tokens of the old answer at its end, encoded without the space
    before them; and what is written is changed by plain embeddings: less those of what the model says, plus those of
    the new answer (`less` and `more` say nothing; twice where it has one token)."""
    steps: Annotated[int, Field(ge=1)] = 20
    """Of the sum that stands for the integral of the gradient."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Neurons with more than this share of the largest attribution in a prompt."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Neurons are kept that are found in at least this share of the prompts. The authors' code begins with 0.7, and
    adapts it to a relation until its facts have 2 to 5 neurons on average, which needs a set of facts."""
    less: NotNegative = 1.0
    """λ₁: the embedding of what the model says is taken away this often, made as long as what the neuron writes."""
    more: NotNegative = 8.0
    """λ₂: the same of the new answer's, which is added."""
    context_templates: Annotated[tuple[Template, ...], Field(min_length=1)] | None = None
    """The prompt's contexts, the bare prompt first; sampled from the untouched model when null."""
    context_lengths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (5, 10)
    """See `locate_then_edit`, `value`."""
    context_beginnings: Annotated[tuple[str, ...], Field(min_length=1)] = ("The", "Therefore", "Because", "I", "You")
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Rows, one for each step of each prompt, that go through the model at once."""

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Contexts of the untouched model. Raises Skip where neurons are not found in it."""
        from .....errors import ModelError, Skip
        from ...graph.finding import wiring_of

        try:
            wiring_of(lm)
        except ModelError as error:
            raise Skip(str(error)) from error
        self.templates(lm, job)

    def templates(self, lm: LanguageModel, job: Job) -> tuple[str, ...]:
        """What stands around the prompt, the bare prompt first."""
        from ..locate_then_edit.prepared import sampled_contexts

        if self.variant == "easyedit":
            return ("{}",)
        if self.context_templates:
            return self.context_templates
        contexts = Value(context_lengths=self.context_lengths, context_beginnings=self.context_beginnings)
        return ("{}", *sampled_contexts(contexts, lm, job))

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """The old answer must be known, and the prompt must fit behind each context."""
        from .editing import asked

        asked(lm, request, self.templates(lm, job), self.variant)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, Any]:
        """Low-rank changes of MLP output projections; none where prompts share no neuron."""
        from ...graph.finding import wiring_of
        from ...patch import Patch
        from .editing import asked, edited

        patch, wiring = Patch(), wiring_of(lm)
        for request in requests:
            question = asked(lm, request, self.templates(lm, job), self.variant)
            with patch.applied(lm):
                made = edited(self, wiring, question)
            patch = patch.then(made)
        return patch, state
