"""The algorithm `locate_then_edit`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from .....components import NOT_IDENTITY
from .. import Intervention
from .options import Site, Value
from .solvers import LeastSquares, OneKey, RandomDirection, RankOne

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State
    from .spread import Grounds


class LocateThenEdit(Intervention):
    """Site × key × value × spread over layers × solver: ROME (Meng et al. 2022, arXiv 2202.05262), R-ROME (Gupta et al.
    2024, arXiv 2403.07175), MEMIT (Meng et al. 2023, arXiv 2210.07229), EMMET (Gupta et al. 2024, arXiv 2403.14236).

    Requests that a solver takes one at a time (`rank_one`) are carried out one after another.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["locate_then_edit"]
    site: Site
    value: Value = Value()
    solve: Annotated[RankOne | RandomDirection | LeastSquares, Field(discriminator="type")]
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16
    """Requests whose rows (one for each context) go through the model at once."""
    _known: dict[str, Grounds] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> LocateThenEdit:
        if isinstance(self.solve, OneKey) and len(self.site.layers) > 1:
            count = len(self.site.layers)
            raise ValueError(f"solve type {self.solve.type} changes exactly one layer, site.layers lists {count}")
        return self

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Contexts and covariance of the untouched model. Raises Skip before, when it lacks one of the layers."""
        from ...architecture import linear

        for layer in self.site.layers:
            linear(lm.model, layer, self.site.module)
        self._grounds(lm, job)

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """The subject must stand in the prompt, and the prompt must fit the context behind each of its contexts."""
        from .contexts import fill

        fill(lm, request, self._grounds(lm, job).templates, self.value.kl_prompt)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, Any]:
        """Low-rank changes of the listed layers; in full where the rank is high."""
        from ...patch import Patch
        from .contexts import fill
        from .spread import patches

        grounds = self._grounds(lm, job)
        filled = [fill(lm, r, grounds.templates, self.value.kl_prompt) for r in requests]
        rngs = [job.rng("random-edit", r.id) for r in requests]
        if requests and isinstance(self.solve, LeastSquares):
            return patches(self, lm, filled, [0] * len(filled), grounds, rngs)[0], state
        patch = Patch()
        for one, rng in zip(filled, rngs, strict=True):
            with patch.applied(lm):
                (next_one,) = patches(self, lm, [one], [0], grounds, [rng])
            patch = patch.then(next_one)
        return patch, state

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """All values in one optimisation; see value.py."""
        from ...scoring import Unusable
        from .contexts import fill
        from .spread import patches

        grounds = self._grounds(lm, job)
        found: list[Any] = []
        for request in requests:
            try:
                found.append(fill(lm, request, grounds.templates, self.value.kl_prompt))
            except Unusable as error:
                found.append(error)
        usable = [i for i, f in enumerate(found) if not isinstance(f, Unusable)]
        if usable:
            rngs = [job.rng("random-edit", requests[i].id) for i in usable]
            made = patches(self, lm, [found[i] for i in usable], range(len(usable)), grounds, rngs)
            for i, patch in zip(usable, made, strict=True):
                found[i] = patch
        return found

    def _grounds(self, lm: LanguageModel, job: Job) -> Grounds:
        """Made once for each model and seed, and kept as long as this object: factorising a covariance takes long."""
        from .prepared import grounds

        key = f"{job.fingerprints['subject']} {job.seed}"
        if key not in self._known:
            found = grounds(self, lm, job)
            self._known.clear()
            self._known[key] = found
        return self._known[key]
