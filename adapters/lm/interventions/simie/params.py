"""What a spec can say of SimIE. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .. import Intervention
from ..fine_tune.params import FineTune, Lora
from ..locate_then_edit.params import LocateThenEdit

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State


class SimIE(Intervention):
    """SimIE (Guo et al. 2025, ICML, Towards Lifelong Model Editing via Simulating Ideal Editor), around an editor.

    The editor carries out each request alone: request t would make the weight W̃_t. K_t, of shape (inputs, tokens), is
    what goes into the projection at all tokens of the request's prompt and target before that edit. The change that
    the sequence has made by then, D, is the ridge solution of D K_s = (W̃_s - W_0) K_s for all s up to t,

        D_t = Σ (W̃_s - W_0) K_s K_sᵀ (λ I + Σ K_s K_sᵀ)⁻¹,

    which for λ towards 0 is the solution of smallest norm. It is found recursively: with P_0 = λ I and
    P_t = P_{t-1} + K_t K_tᵀ, D_t = D_{t-1} + (W̃_t - W_0 - D_{t-1}) K_t K_tᵀ P_t⁻¹. Requests that come together are
    carried out one after another. The formula is that of the abstract and of the published code.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["simie"]
    editor: Annotated[LocateThenEdit | FineTune | Lora, Field(discriminator="type")]
    """The editor; it must change weights of projections alone, no bias."""
    ridge: Annotated[float, Field(gt=0)] = 10.0
    """λ, in the squared units of a projection's inputs; 1e4 in EasyEdit, 10 for MEMIT on Llama 2 in the authors'
    code."""
    start: Literal["untouched", "current"] = "untouched"
    """The model on which the editor works and K_t is taken: as it was before the sequence, as EasyEdit ships it, or as
    the sequence has left it, the authors' other setting."""

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """See the editor."""
        self.editor.prepare(lm, self._inner(job))

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """See the editor. The request must fit the model's context."""
        self.editor.check(lm, request, self._inner(job))
        super().check(lm, request, job)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """Changes of the weights that the editor changes. Raises Unusable, Skip."""
        from .ideal import carried_out

        return carried_out(self, lm, requests, state, self._inner(job))

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """See `Intervention.apply_each`; the editor may work on many requests at once."""
        from .ideal import each_alone

        return each_alone(self, lm, requests, self._inner(job))

    def _inner(self, job: Job) -> Job:
        """The job as the editor expects it: its data files by the names of its own fields."""
        own = job.files.get("algorithm", {})
        mine = {name.removeprefix("editor."): file for name, file in own.items()}
        return replace(job, files={**job.files, "algorithm": mine})
