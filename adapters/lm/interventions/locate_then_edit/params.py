"""The algorithm `locate_then_edit`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from .....components import NOT_IDENTITY
from .. import Intervention
from .constrain import Constraint, RelativeChange, SingularValues
from .options import Site, Value
from .solvers import LeastSquares, NullSpace, OneKey, RandomDirection, RankOne

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State
    from .spread import Grounds


KEYS = "keys:"
"""First word of the names of keys in a state, before the layer."""


class LocateThenEdit(Intervention):
    """Site × key × value × spread over layers × solver × constraint: ROME (Meng et al. 2022, arXiv 2202.05262), R-ROME
    (Gupta et al. 2024, arXiv 2403.07175), MEMIT (Meng et al. 2023, arXiv 2210.07229), EMMET (Gupta et al. 2024, arXiv
    2403.14236), PMET (Li et al. 2024, arXiv 2308.08742), AlphaEdit (Fang et al. 2025, arXiv 2410.02355), RECT (Gu et
    al. 2024, arXiv 2401.04700), PRUNE (Ma et al. 2025, arXiv 2405.16821).

    Requests that a solver takes one at a time (`rank_one`) are carried out one after another.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["locate_then_edit"]
    site: Site
    value: Value = Value()
    spread: Literal["even", "square_root"] = "even"
    """The share of a layer in what is missing at the last one, with n layers left, itself included: 1/n (MEMIT, section
    4.3), or 1/√n (PMET, section 3.3)."""
    solve: Annotated[RankOne | RandomDirection | LeastSquares | NullSpace, Field(discriminator="type")]
    constrain: Annotated[RelativeChange | SingularValues, Field(discriminator="type")] | None = None
    """What is done to the change that was solved for."""
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
        from .keys import moved

        for layer in self.site.layers:
            linear(lm.model, layer, self.site.module)
        moved(lm, self.value.at, self.site.layers[-1])
        self._grounds(lm, job)

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """The subject must stand in the prompt, and the prompt must fit the context behind each of its contexts."""
        from .contexts import fill

        fill(lm, request, self._grounds(lm, job).templates, self.value.kl_prompt)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, Any]:
        """Low-rank changes of the listed layers; in full where the rank is high."""
        from ...patch import Patch
        from .contexts import fill
        from .spread import keys_of, patches

        grounds = self._grounds(lm, job)
        filled = [fill(lm, r, grounds.templates, self.value.kl_prompt) for r in requests]
        rngs = [job.rng("random-edit", r.id) for r in requests]
        together = not isinstance(self.solve, OneKey)
        steps = [range(len(requests))] if together and requests else [[i] for i in range(len(requests))]
        constraint, patch = self.constrain or Constraint(), Patch()
        with constraint.lifted(lm, state).applied(lm):
            for step in steps:
                some = [filled[i] for i in step]
                with patch.applied(lm):
                    remembered = grounds.remembering(self._remembered(state))
                    (made,) = patches(self, lm, some, [0] * len(some), remembered, [rngs[i] for i in step])
                    made = constraint.each(lm, made)
                patch = patch.then(made)
        patch, state = constraint.whole(lm, patch, state)
        if self.solve.remember and requests:
            # As the model has them once it is edited: that is what later edits must leave alone.
            with patch.applied(lm):
                state = self._remembering(state, keys_of(self, lm, filled, grounds))
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
            constraint = self.constrain or Constraint()
            for i, patch in zip(usable, made, strict=True):
                found[i] = constraint.whole(lm, constraint.each(lm, patch), None)[0]
        return found

    def parts(self, left: int) -> float:
        """What is missing is divided by this for one of so many layers that are left; see `spread`."""
        return left if self.spread == "even" else left**0.5

    def _remembered(self, state: State) -> dict[int, Any]:
        """Keys of earlier requests by layer, each of shape (count, inputs)."""
        known = state or {}
        return {layer: known[f"{KEYS}{layer}"] for layer in self.site.layers if f"{KEYS}{layer}" in known}

    def _remembering(self, state: State, keys: dict[int, Any]) -> dict[str, Any]:
        import torch

        before = self._remembered(state)
        found = {n: torch.cat([before[n].to(k), k]) if n in before else k for n, k in keys.items()}
        return {**(state or {}), **{f"{KEYS}{layer}": rows.cpu() for layer, rows in found.items()}}

    def _grounds(self, lm: LanguageModel, job: Job) -> Grounds:
        """Made once for each model and seed, and kept as long as this object: factorising a covariance takes long."""
        from .prepared import grounds

        key = f"{job.fingerprints['subject']} {job.seed}"
        if key not in self._known:
            found = grounds(self, lm, job)
            self._known.clear()
            self._known[key] = found
        return self._known[key]
