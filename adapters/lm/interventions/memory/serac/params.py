"""What a spec can say of SERAC. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator

from ......components import DataFile, Strict
from ....wording import Form
from ... import Intervention
from ..params import Count, Positive

if TYPE_CHECKING:
    import numpy as np

    from ......job import Job
    from ....model import LanguageModel
    from ....patch import Patch
    from ....requests import EditRequest
    from ... import State


class Words(Strict):
    """The words of a prompt, without their order; nothing is known of them before training."""

    type: Literal["words"] = "words"
    places: Annotated[int, Field(ge=2)] = 8192
    """Words are hashed to so many vectors."""


class Sentence(Strict):
    """The unit vector of a pretrained encoder; needs the extra `embed`. What is trained is a linear map of it."""

    type: Literal["sentence"]
    weights: DataFile
    """The weights in the folder of a sentence-transformers model: `all-MiniLM-L6-v2/model.safetensors`."""


class ScopeTraining(Strict):
    """How the classifier learns from the task's training split."""

    steps: Count = 1000
    """Updates."""
    batch: Count = 32
    """Requests of an update: of each a prompt in its scope, and two out of it, where there are such."""
    lr: Positive = 1e-2
    """Adam's. Everything is trained from its draws; the paper fine-tunes a pretrained encoder with 1e-5."""


class Serac(Intervention):
    """SERAC (Mitchell et al. 2022, arXiv 2206.06520): requests in a memory, a classifier of their scope, and a
    counterfactual model that answers in the scope of one, with the request before the prompt.

    The classifier is the paper's embedding classifier: exp(-|φ(z) - φ(x)|²) is the probability that x is in the scope
    of the request with prompt z. It is trained in `prepare` on the task's training split, by binary cross-entropy:
    inside are the other prompts of the same subject and target, outside a prompt that the request keeps and one of
    another request. Of the most probable request, if it has 0.5, the prompt is answered.

    A variant in both models. φ is linear, in words or in the vector of a pretrained encoder, where the paper
    fine-tunes a DistilBERT. The counterfactual model is the model itself, untrained: what the published code calls
    `freeze_cntr`, where the paper trains a smaller one (T5 small, BERT base, BlenderBot 90M) on targets in scope.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests", "training_requests"})
    type: Literal["serac"]
    template: Annotated[str, Field(min_length=1)] = "{prompt} {target_new} "
    """The request as it stands before a prompt; `{prompt}`, `{subject}` and `{target_new}` are filled in."""
    question: Form = "{question}"
    """What becomes of the prompt behind a request; `{question}` is the prompt."""
    encoder: Annotated[Words | Sentence, Field(discriminator="type")] = Words()
    width: Count = 64
    """Of φ."""
    spread: Positive = 1.0
    """Before training: the mean length of a word's vector; with `sentence`, the length of a text's."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    training: ScopeTraining = ScopeTraining()
    _known: list[Any] = PrivateAttr(default_factory=list)

    @field_validator("template")
    @classmethod
    def _tells(cls, template: str) -> str:
        if "{target_new}" not in template:
            raise ValueError("expected `{target_new}` in it")
        return template

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Train the classifier. Raises Skip where there is nothing to learn from, ModelError."""
        self._classifier(job)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of prompts with all requests so far, and no change of weights. Raises Skip, ModelError."""
        from ....patch import Patch
        from ....recall import Fact, remembered, restored
        from ....scope import Scoped
        from .training import features

        facts = restored(state)
        for r in requests:
            note = self.template
            for name, text in (("subject", r.subject), ("target_new", r.target_new), ("prompt", r.prompt)):
                note = note.replace(f"{{{name}}}", text)
            # Taken out first: of two that are equally near, the later one is told.
            facts.pop(r.fact_id, None)
            facts[r.fact_id] = Fact(r.prompt, r.subject, note)
        weight = self._classifier(job)
        told = Scoped(tuple(facts.values()), features(self, job), weight, self.threshold, self.question)
        return Patch(prompts=told), remembered(facts)

    def _classifier(self, job: Job) -> np.ndarray:
        """Read once for each seed and training split, and kept as long as this object."""
        from .training import trained

        if not self._known or self._known[0] != job.seed or self._known[1] is not job.training:
            self._known[:] = [job.seed, job.training, trained(self, job)]
        weight: np.ndarray = self._known[2]
        return weight
