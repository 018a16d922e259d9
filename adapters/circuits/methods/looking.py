"""Methods that look inside a model and find no circuit; the work is in adapters/lm/inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..looking import Grid, Looked, Looking, Panel, Scene

if TYPE_CHECKING:
    import torch

    from ...lm.graph.nodes import Graph
    from ...lm.graph.pairs import Batch

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
SUBJECT_LAST, LAST = 2, 5
"""Rows of a grid of roles."""


class LogitLens(Looking):
    """Final norm and head on the stream after every block (nostalgebraist 2020)."""

    type: Literal["logit_lens"]

    def look(self, scene: Scene) -> list[Looked]:
        """See adapters/lm/inside/lens.py."""
        from ...lm.inside.lens import lens

        found: list[Looked] = [Looked() for _ in scene.pairs]
        for batch in _batches(scene):
            seen = lens(scene.wiring, batch.clean, batch.answer)
            for row, place in enumerate(batch.places):
                rank, p = _numpy(seen.rank[row]), _numpy(seen.probability[row])
                looked, span = found[place], scene.spans[place]
                looked.values |= _peak_before_end(p.T, span)
                for name, most in (("first_layer.rank1", 1), ("first_layer.rank10", 10)):
                    reached = np.flatnonzero(rank[:, -1] < most)
                    if len(reached):
                        looked.values[name] = reached[0] / len(rank)
                probability, ranks = _by_role(p.T, span), _by_role(rank.T, span)
                looked.grids = {"probability": probability, "last": probability[[SUBJECT_LAST, LAST]]}
                # Where the prompt ends with its subject, its last token has that role.
                looked.grids["last"][1], ranks[LAST] = p[:, -1], rank[:, -1]
                looked.grids["rank"] = ranks[[SUBJECT_LAST, LAST]] + 1
        return found

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """Probability by role and block; probability and rank by block."""
        from ...lm.inside.roles import ROLES

        where = (ROLES[SUBJECT_LAST], "end of the prompt")
        return (
            Panel("probability", "Logit lens: probability of the answer after each block", ROLES),
            Panel("last", "Logit lens: probability of the answer", where, "curve", "probability"),
            Panel("rank", "Logit lens: rank of the answer, 1 at best (quartiles)", where, "curve", "rank", "median"),
        )


class DirectLogitAttribution(Looking):
    """What each head and MLP adds to the logit of right less wrong answers (Elhage et al. 2021)."""

    type: Literal["direct_logit_attribution"]

    def look(self, scene: Scene) -> list[Looked]:
        """See adapters/lm/inside/direct.py."""
        from ...lm.inside.direct import direct

        found: list[Looked] = [Looked() for _ in scene.pairs]
        graph = scene.wiring.graph
        for batch in _batches(scene):
            seen = direct(scene.wiring, batch.clean, batch.answer, batch.wrong)
            for row, place in enumerate(batch.places):
                sources = _numpy(seen.sources[row])
                grid = sources[1:].reshape(graph.layers, graph.heads + 1).T
                found[place].values = {
                    **_peak(grid),
                    "direct.heads": grid[:-1].sum(),
                    "direct.mlps": grid[-1].sum(),
                    "direct.rest": sources[0] + float(seen.rest[row]),
                }
                found[place].grids["direct"] = grid
        return found

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """Heads and MLP by block."""
        rows = (*_heads(graph), "MLP")
        return (Panel("direct", "What each head and MLP adds to the logit of right less wrong answers", rows),)


class CausalTracing(Looking):
    """The subject is made noise, one state is put back (Meng et al. 2022, arXiv 2202.05262)."""

    type: Literal["causal_tracing"]
    site: Literal["stream", "mlp", "attention"]
    """What is put back: a block's output, or that of its MLP or attention."""
    window: Count
    """Blocks around the one that is shown of which it is put back; the paper has 1 for `stream` and else 10 of 48."""
    factor: Annotated[float, Field(gt=0)]
    """Size of the noise, in standard deviations of the token embeddings; 3 in the paper."""
    samples: Count
    """Of noise for each prompt; 10 in the paper."""

    def look(self, scene: Scene) -> list[Looked]:
        """See adapters/lm/inside/tracing.py."""
        import torch

        from ...lm.inside.tracing import corrupted, spread, trace

        sigma = self.factor * spread(scene.wiring)
        found = []
        for pair, span in zip(scene.pairs, scene.spans, strict=True):
            shape = (self.samples, span[1] - span[0], scene.wiring.width)
            noise = torch.from_numpy(sigma * scene.rng("noise", pair.id).standard_normal(shape))
            case = corrupted(scene.wiring, pair.clean, pair.answer, span, noise, self.site)
            seen = trace(case, span, self.window, scene.batch)
            effect = _numpy(seen.effect)
            grid = _by_role(effect, span)
            ends = grid[[SUBJECT_LAST, LAST]]
            ends[1] = effect[-1]
            values = {**_peak_before_end(effect, span), "total_effect": seen.total_effect}
            found.append(Looked(values, {"effect": grid, "ends": ends}))
        return found

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """Mean indirect effect by role and block."""
        from ...lm.inside.roles import ROLES

        title = f"Causal tracing ({self.site}): mean indirect effect"
        where = (ROLES[SUBJECT_LAST], "end of the prompt")
        return (Panel("effect", title, ROLES), Panel("ends", title, where, "curve", "indirect effect"))


class KnowledgeNeurons(Looking):
    """The MLP neurons that an answer's probability rests on, and what scaling them does (Dai et al. 2022,
    arXiv 2104.08696)."""

    type: Literal["knowledge_neurons"]
    steps: Count
    """Of the sum that stands for the integral of gradients; 20 in the paper."""
    threshold: Share
    """Share of the largest attribution from which a neuron counts; 0.2 in the paper."""

    def look(self, scene: Scene) -> list[Looked]:
        """See adapters/lm/inside/neurons.py."""
        import torch

        from ...lm.inside.neurons import attribution, knowledge_neurons

        found: list[Looked] = [Looked() for _ in scene.pairs]
        for batch in _batches(scene):
            attributed = attribution(scene.wiring, batch.clean, batch.answer, self.steps, scene.batch)
            chosen = knowledge_neurons(attributed, self.threshold)
            for row, place in enumerate(batch.places):
                count = _numpy(chosen[row].sum(-1))
                best = _numpy(attributed[row].amax(-1))
                found[place] = Looked({**_peak(best[None]), "neurons": count.sum()}, {"neurons": count[None]})
            for name, factor in FACTORS.items():
                change = chosen * (factor - 1) + 1
                moved = _moved(scene, batch.clean, batch.answer, change).tolist()
                for row, place in enumerate(batch.places):
                    found[place].values[name] = moved[row]
                    if (other := scene.unrelated[place]) is not None:
                        tokens, answer = (torch.tensor([t], device=change.device) for t in (other.clean, other.answer))
                        elsewhere = float(_moved(scene, tokens, answer, change[row : row + 1]))
                        found[place].values[f"{name}.unrelated"] = abs(elsewhere)
        return found

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """Neurons by block."""
        return (Panel("neurons", "Knowledge neurons in each block", ("neurons",), "curve", "neurons"),)


FACTORS = {"suppression": 0.0, "enhancement": 2.0}
"""What the activations are multiplied with, as Dai et al. do."""


class HeadTypes(Looking):
    """Mover, relation, mixture and subject heads (Yao et al. 2024, arXiv 2405.17969)."""

    type: Literal["head_types"]
    attends: Share
    """Share of attention from which a head attends to the subject's last token, or to the relation's tokens."""
    top: Count
    """A head writes the answer when it is among so many tokens at the top of what its output unembeds to …"""
    least: Share
    """… and adds at least such a share of what the head adds that adds most to the logit of right less wrong."""

    def look(self, scene: Scene) -> list[Looked]:
        """See adapters/lm/inside/heads.py."""
        from ...lm.inside.heads import TYPES, heads, types

        found: list[Looked] = [Looked() for _ in scene.pairs]
        for batch in _batches(scene):
            seen = heads(scene.wiring, batch.clean, batch.answer, batch.wrong)
            for row, place in enumerate(batch.places):
                span = scene.spans[place]
                code = _numpy(types(seen, row, span, self.attends, self.top, self.least)).T
                shares = _numpy(seen.direct[row]).transpose(2, 1, 0)
                is_a = {name: code == number for number, name in enumerate(TYPES)}
                through = shares.sum(0)
                moving = is_a["mover"] | is_a["mixture"]
                best = np.unravel_index(shares.argmax(), shares.shape)
                found[place].values = {
                    "peak": shares.max(),
                    "peak.depth": best[2] / shares.shape[2],
                    "peak.subject_last": best[0] == span[1] - 1,
                    "margin": through[moving].sum(),
                    **{f"heads.{name}": is_a[name].sum() for name in TYPES[1:]},
                }
                relation = is_a["relation"] | is_a["mixture"]
                found[place].grids = {"movers": 1.0 * moving, "relation": 1.0 * relation, "direct": through}
        return found

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """Shares of prompts in which a head is of a type, and what it writes."""
        rows = _heads(graph)
        return (
            Panel("movers", "Share of prompts in which a head is a mover (or mixture) head", rows),
            Panel("relation", "Share of prompts in which a head is a relation (or mixture) head", rows),
            Panel("direct", "What each head adds to the logit of right less wrong answers", rows),
        )


def _batches(scene: Scene) -> Iterator[Batch]:
    from ...lm.graph.pairs import batches

    return batches(scene.pairs, scene.batch, scene.wiring.lm.device)


def _numpy(tensor: Any) -> Grid:
    found: Grid = tensor.detach().cpu().double().numpy()
    return found


def _heads(graph: Graph) -> tuple[str, ...]:
    return tuple(f"h{head}" for head in range(graph.heads))


def _peak(grid: Grid) -> dict[str, float]:
    """Of a grid of shape (…, blocks)."""
    block = grid.max(0).argmax()
    return {"peak": grid.max(), "peak.depth": block / grid.shape[1]}


def _peak_before_end(grid: Grid, span: tuple[int, int]) -> dict[str, float]:
    """Of a grid of shape (positions, blocks), the last position left out; nothing of a prompt of one token."""
    before = grid[:-1]
    if not len(before):
        return {}
    found = _peak(before)
    # A subject at the end of its prompt cannot be where the peak is.
    return found if span[1] == len(grid) else {**found, "peak.subject_last": before.max(1).argmax() == span[1] - 1}


def _by_role(grid: Grid, span: tuple[int, int]) -> Grid:
    """Means over the positions of each role, shape (roles, blocks), of a grid of shape (positions, blocks)."""
    from ...lm.inside.roles import places

    rows = [grid[at].mean(0) if at else np.full(grid.shape[1], np.nan) for at in places(len(grid), span)]
    return np.stack(rows)


def _moved(scene: Scene, tokens: torch.Tensor, answers: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """How far the answers' log-probability moves when neurons are multiplied, in nats, shape (rows,)."""
    from ...lm.inside.neurons import scaled

    after, before = (scaled(scene.wiring, tokens, answers, f) for f in (factors, factors * 0 + 1))
    return after - before
