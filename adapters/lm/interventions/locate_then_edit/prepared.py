"""What is made once of the untouched model: contexts and covariances. Artifacts, since rivals share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .....canonical import digest
from .....errors import DataError
from .....job import Job
from ...architecture import linear
from ...model import LanguageModel
from ...statistics import VERSION, read_moments, read_texts, second_moments
from .contexts import CONTEXTS_VERSION, own_texts, sample_templates
from .options import two_groups
from .solve import Inverse, largest_directions, regular, unweighted
from .spread import Grounds

if TYPE_CHECKING:
    from .....artifacts import ArtifactStore
    from .options import Covariance, Value
    from .params import LocateThenEdit
    from .solvers import NullSpace

DIRECTIONS_VERSION = 1
"""Raised when the same moment gives other directions; part of the key of the artifact."""

SAMPLES = 2000
"""Sampled texts that a covariance is estimated from, when nothing is said."""


def grounds(method: LocateThenEdit, lm: LanguageModel, job: Job) -> Grounds:
    """Raises RuntimeError when something has to be computed while a patch is applied."""
    groups = method.value.groups() or two_groups(["{}", *sampled_contexts(method.value, lm, job)])
    layers, covariance = method.site.layers, method.solve.covariance
    if covariance is None:
        return Grounds(groups, dict.fromkeys(layers, unweighted))
    moments = _moments(covariance, method, lm, job)
    inverses: dict[int, Inverse] = {}
    for layer in layers:
        projection = linear(lm.model, layer, method.site.module)
        moment = moments[layer].to(projection.module.weight.device)
        inverses[layer] = method.solve.inverse(moment, projection.name, job.artifacts)
    return Grounds(groups, inverses)


def sampled_contexts(value: Value, lm: LanguageModel, job: Job) -> list[str]:
    """Templates that the untouched model made, without the bare prompt; an artifact."""
    lengths, beginnings = value.context_lengths, value.context_beginnings
    key = {
        "model": job.fingerprints["subject"],
        "seed": job.seed,
        "lengths": list(lengths),
        "beginnings": list(beginnings),
        "version": CONTEXTS_VERSION,
    }

    def build() -> list[str]:
        _refuse_patched(lm)
        draws = job.rng("edit-contexts").random((len(lengths) * len(beginnings), max(lengths)))
        return sample_templates(lm, value, draws)

    found: list[str] = job.artifacts.get("edit-contexts", key, build)
    return found


def _moments(covariance: Covariance, method: LocateThenEdit, lm: LanguageModel, job: Job) -> dict[int, torch.Tensor]:
    """By layer."""
    layers, role = method.site.layers, method.site.module
    files = job.files.get("algorithm", {})
    for made in ("file", "folder"):
        if getattr(covariance, made):
            return read_moments(lm, files[f"solve.covariance.{made}"], layers, role)
    text = files["solve.covariance.text"] if covariance.text else None
    key = {
        "model": job.fingerprints["subject"],
        "layers": list(layers),
        "role": role,
        "samples": covariance.samples,
        "tokens": covariance.tokens,
        "version": VERSION,
        **({"text": digest(text.read_bytes())} if text else {"seed": job.seed, "sampled": SAMPLES}),
    }

    def build() -> dict[str, object]:
        _refuse_patched(lm)
        longest = min(covariance.tokens, lm.context)
        if text:
            texts = read_texts(lm, text, covariance.samples, longest)
        else:
            texts = own_texts(lm, job.rng("covariance").random((covariance.samples or SAMPLES, longest - 1)))
        moments = second_moments(lm, layers, role, texts, batch_size=16)
        # Half of the room; the peers keep as many digits.
        return {str(layer): moment.float().cpu().numpy() for layer, moment in moments.items()}

    stored = job.artifacts.get("second-moments", key, build)
    return {layer: torch.from_numpy(stored[str(layer)]) for layer in layers}


def protected(solve: NullSpace, moment: torch.Tensor, name: str, artifacts: ArtifactStore) -> torch.Tensor:
    """Directions that a change must not answer to, shape (inputs, directions), float64; see `largest_directions`.

    An artifact: the decomposition takes minutes where the inputs are many. Raises DataError when nothing is left.
    """
    moment = regular(moment, solve.covariance.ridge)
    key = {
        "moment": digest(moment.cpu().numpy().tobytes()),
        "threshold": solve.threshold,
        "rank": solve.rank,
        "device": moment.device.type,
        "torch": torch.__version__,
        "version": DIRECTIONS_VERSION,
    }

    def build() -> dict[str, object]:
        return {"directions": largest_directions(moment, solve.threshold, solve.rank).cpu().numpy()}

    found = torch.from_numpy(artifacts.get("protected-directions", key, build)["directions"]).to(moment.device)
    if found.shape[1] >= len(moment):
        how = "raise `threshold`" if solve.rank is None else f"lower `rank`, {solve.rank}"
        raise DataError(f"all {len(moment)} directions of {name}'s inputs are protected; {how}")
    return found


def _refuse_patched(lm: LanguageModel) -> None:
    if lm.patched:
        raise RuntimeError("contexts and covariances describe the untouched model; call `prepare` before patching it")
