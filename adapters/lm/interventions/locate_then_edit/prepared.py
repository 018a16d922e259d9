"""What is made once of the untouched model: contexts and covariances. Artifacts, since rivals share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .....canonical import digest
from .....job import Job
from ...architecture import linear
from ...generation import sampled
from ...model import LanguageModel
from ...statistics import VERSION, read_moments, read_texts, second_moments
from .contexts import CONTEXTS_VERSION, sample_templates, text_start
from .options import two_groups
from .solve import Inverse, inverse_of, unweighted
from .spread import Grounds

if TYPE_CHECKING:
    from .options import Covariance, Value
    from .params import LocateThenEdit

SAMPLES = 2000
"""Sampled texts that a covariance is estimated from, when nothing is said."""


def grounds(method: LocateThenEdit, lm: LanguageModel, job: Job) -> Grounds:
    """Raises RuntimeError when something has to be computed while a patch is applied."""
    groups = method.value.groups() or two_groups(["{}", *_sampled_contexts(method.value, lm, job)])
    layers, covariance = method.site.layers, method.solve.covariance
    if covariance is None:
        return Grounds(groups, dict.fromkeys(layers, unweighted))
    moments = _moments(covariance, method, lm, job)
    inverses: dict[int, Inverse] = {}
    for layer in layers:
        projection = linear(lm.model, layer, method.site.module)
        moment = moments[layer].to(projection.module.weight.device)
        inverses[layer] = inverse_of(moment, covariance.ridge, method.solve.precision, projection.name)
    return Grounds(groups, inverses)


def _sampled_contexts(value: Value, lm: LanguageModel, job: Job) -> list[str]:
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
    if covariance.file:
        return read_moments(lm, files["solve.covariance.file"], layers, role)
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
            count = covariance.samples or SAMPLES
            start = text_start(lm)
            draws = job.rng("covariance").random((count, longest - 1))
            own = sampled(lm, [start] * count, [longest - 1] * count, 64, lm.model.config.vocab_size, draws)
            texts = [(*start, *t) for t in own]
        moments = second_moments(lm, layers, role, texts, batch_size=16)
        # Half of the room; the peers keep as many digits.
        return {str(layer): moment.float().cpu().numpy() for layer, moment in moments.items()}

    stored = job.artifacts.get("second-moments", key, build)
    return {layer: torch.from_numpy(stored[str(layer)]) for layer in layers}


def _refuse_patched(lm: LanguageModel) -> None:
    if lm.patched:
        raise RuntimeError("contexts and covariances describe the untouched model; call `prepare` before patching it")
