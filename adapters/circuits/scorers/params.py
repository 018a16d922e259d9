"""What a spec can say of a scorer. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ....components import Strict

if TYPE_CHECKING:
    from ..analysis import Attribution, Study

Granularity = Literal["edge", "node"]
Steps = Annotated[int, Field(ge=1, le=1000)]


class Gradient(Strict):
    """Difference of a source times gradient at a destination: EAP (Syed et al. 2023, arXiv 2310.10348) at `clean`;
    `clean_corrupted` takes the mean of the gradients at both ends. Of nodes: attribution patching."""

    type: Literal["gradient"]
    at: Literal["clean", "clean_corrupted"]

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See gradient.py."""
        from .gradient import by_gradient

        return by_gradient(self, study, granularity)


class IntegratedGradients(Strict):
    """The same with gradients along a path from corrupt to clean: EAP-IG (Hanna et al. 2024, arXiv 2403.17806).

    `inputs` moves the token embeddings; `activations` one block's heads, MLP or the embeddings at a time.
    """

    type: Literal["integrated_gradients"]
    along: Literal["inputs", "activations"]
    steps: Steps
    rule: Literal["left", "right", "midpoint", "gauss"]
    """Where on the path: k/steps from the corrupt end with k = 0 … steps-1 (EAP-IG), 1 … steps (Knowledge Circuits'
    copy), half-way between, or at the nodes of Gauss-Legendre quadrature."""

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See gradient.py."""
        from .gradient import by_integrated_gradients

        return by_integrated_gradients(self, study, granularity)


class InformationFlow(Strict):
    """Information-flow routes (Ferrando and Voita 2024, arXiv 2403.00824): how near a source is to the sum of what the
    destination reads. Looks at no counterfactual and at no target."""

    type: Literal["information_flow"]

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See routes.py. Raises UsageError for nodes."""
        from .routes import by_information_flow

        return by_information_flow(study, granularity)


class Exact(Strict):
    """Ablate each edge (or node) alone, all else as in the clean run, and see how the target changes."""

    type: Literal["exact"]

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See exact.py."""
        from .exact import exactly

        return exactly(study, granularity)


class PathPatching(Strict):
    """As `exact` on edges, but what the source writes also reaches the destination through the MLPs between them,
    which compute anew while heads stay as they were (Wang et al. 2022, arXiv 2211.00593)."""

    type: Literal["path_patching"]
    receivers: tuple[str, ...] = ()
    """Destinations that are looked at (`logits`, `a9.h9<q>` …), all when none is named; edges into others score 0, and
    without them there is no circuit down to the input."""

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See path.py."""
        from .path import by_path_patching

        return by_path_patching(self, study, granularity)


class Acdc(Strict):
    """Take one edge away after another, from the logits downwards, and leave it out if the target falls by less than
    the threshold (Conmy et al. 2023, arXiv 2304.14997)."""

    type: Literal["acdc"]
    threshold: Annotated[float, Field(gt=0)]
    """In the target's unit."""

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See acdc.py."""
        from .acdc import by_acdc

        return by_acdc(self, study, granularity)


class LearnedMask(Strict):
    """Gates on all edges, learned: the target of the gated model against the number of open gates.

    `uniform`: uniform gradient sampling (UGS, Li and Janson 2024, arXiv 2409.09951); `hard_concrete`: as Edge Pruning
    (Bhaskar et al. 2024, arXiv 2406.16778) and subnetwork probing (Cao et al. 2021) draw gates.
    """

    type: Literal["learned_mask"]
    gates: Literal["uniform", "hard_concrete"]
    steps: Steps
    lr: Annotated[float, Field(gt=0)]
    sparsity: Annotated[float, Field(ge=0)]
    """What an open gate costs, in the target's unit over the number of edges."""

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See masks.py."""
        from .masks import by_learned_mask

        return by_learned_mask(self, study, granularity)


class Random(Strict):
    """Scores that know nothing; the control of every table."""

    type: Literal["random"]

    def score(self, study: Study, granularity: Granularity) -> Attribution:
        """See routes.py."""
        from .routes import by_chance

        return by_chance(study, granularity)


Scorer = Annotated[
    Gradient | IntegratedGradients | InformationFlow | Exact | PathPatching | Acdc | LearnedMask | Random,
    Field(discriminator="type"),
]
