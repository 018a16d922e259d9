"""A circuit analyzer is granularity × scorer × ablation × selector; every published one is a combination.

What the same name hides in different codes is a field without a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ....components import Algorithm, Strict
from ...lm.graph.params import Ablation, Target
from ..scorers.params import Gradient, Granularity, Scorer

if TYPE_CHECKING:
    from ...lm.graph.nodes import Mask
    from ..analysis import Attribution, Study

By = Literal["magnitude", "helpful"]
"""`magnitude`: the largest scores of either sign; `helpful`: those whose ablation lowers the target most."""


class TopN(Strict):
    """The n best edges (or the best nodes, whose edges among each other are at most n)."""

    type: Literal["top_n"]
    by: By


class Greedy(Strict):
    """From the logits downwards: always the best edge into a node that is in the circuit already."""

    type: Literal["greedy"]
    by: By


class Threshold(Strict):
    """All edges (or nodes) whose score is at least so large; a circuit of n edges is cut as `top_n` cuts it."""

    type: Literal["threshold"]
    by: By
    threshold: Annotated[float, Field(ge=0)]
    """In the target's unit."""


Selector = Annotated[TopN | Greedy | Threshold, Field(discriminator="type")]


class Analyzer(Algorithm):
    """Scores edges or nodes, and cuts circuits from the scores."""

    consumes: ClassVar[frozenset[str]] = frozenset({"prompt_pairs"})
    yields: ClassVar[str] = "circuit"
    type: Literal["circuit"]
    granularity: Granularity
    scorer: Scorer
    target: Target
    """The number whose change is scored."""
    ablation: Ablation
    """What an edge carries when it is taken away."""
    keys_and_values: Literal["grouped", "per_query_head"]
    """Of models whose query heads share keys and values: one destination for those that share, as the model computes
    it, or one for each query head, as codes on split copies of the model have it. Of other models both are the same."""
    reduction: Literal["mean", "mean_magnitude"]
    """Over the pairs: of the scores, or of their sizes, so that edges that help here and harm there are found."""
    selector: Selector
    prune: bool
    """Whether a circuit loses its dead ends."""

    @model_validator(mode="after")
    def _fits_together(self) -> Analyzer:
        scorer = self.scorer.type
        if self.granularity == "node" and scorer in ("path_patching", "acdc", "learned_mask", "information_flow"):
            raise ValueError(f"scorer {scorer} scores edges; write `granularity: edge`")
        if self.granularity == "node" and self.selector.type == "greedy":
            raise ValueError("selector `greedy` goes from edge to edge; choose `top_n` for nodes")
        if self.reduction == "mean_magnitude" and self.selector.by == "helpful":
            raise ValueError("`mean_magnitude` has no sign, so nothing is helpful; choose `by: magnitude`")
        if self.selector.type == "threshold" and scorer in ("acdc", "learned_mask"):
            raise ValueError(f"scorer {scorer} decides on a circuit by itself; choose selector `top_n` for its sizes")
        if (
            self.target.type == "negative_divergence"
            and isinstance(self.scorer, Gradient)
            and self.scorer.at == "clean"
        ):
            raise ValueError("negative_divergence has no gradient at the clean run; choose another target or scorer")
        return self

    def attribution(self, study: Study) -> Attribution:
        """Scores for all edges or nodes. Raises UsageError for a combination that does not exist."""
        return self.scorer.score(study, self.granularity)

    def circuit(self, attribution: Attribution, edges: int) -> Mask:
        """At most `edges` edges. See select.py."""
        from ..select import cut

        return cut(self, attribution, edges)
