"""A pipeline: stages in the user's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ....components import Algorithm, ModelName, OwnModel
from ....errors import unknown
from ..stage import Stage, Workbench

if TYPE_CHECKING:
    from ..flow import Tally
    from ..rows import Rejected, Row

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Pipeline(Algorithm):
    """Rows go through the stages one after the other; each is kept, turned away with a reason, or made anew."""

    consumes: ClassVar[frozenset[str]] = frozenset({"instruction_rows"})
    type: Literal["pipeline"]
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """What is done, in this order."""
    models: dict[Name, ModelName] = Field(default_factory=dict)
    """The models that stages ask, by the name (`judge`, `writer`, `scorer`) under which the stages speak of them."""

    @model_validator(mode="after")
    def _roles_are_used(self) -> Pipeline:
        roles = {role for stage in self.stages for role in stage.roles()}
        if extra := sorted(set(self.models) - roles):
            raise ValueError(f"models: {unknown('role', extra[0], roles)}; stages name the roles that they use")
        return self

    @property
    def yields(self) -> str:  # type: ignore[override]
        """`selection`: some of the rows that were given; `generation`: rows of its own."""
        return "generation" if any(stage.generates for stage in self.stages) else "selection"

    def own_models(self) -> Mapping[str, OwnModel]:
        """See components.py."""
        kinds: dict[str, set[str]] = {}
        for stage in self.stages:
            for role, kind in stage.roles().items():
                # A language model can be asked in words as well; an endpoint tells no probabilities of a given text.
                kinds.setdefault(role, {"language_model", "chat_model"}).intersection_update(
                    {"language_model"} if kind == "language_model" else {"language_model", "chat_model"}
                )
        return {role: OwnModel(self.models.get(role), frozenset(opens)) for role, opens in kinds.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each stage: its own, or its type, with a number from the second one on."""
        seen: Counter[str] = Counter()
        found = []
        for stage in self.stages:
            name = stage.name or stage.type
            seen[name] += 1
            found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
        return tuple(found)

    def run(
        self,
        rows: Iterator[Row],
        benches: Mapping[str, Workbench],
        tally: Tally,
        turned_away: Callable[[Rejected], object],
    ) -> Iterator[Row]:
        """See flow.py."""
        from ..flow import flow

        return flow(self, rows, benches, tally, turned_away)
