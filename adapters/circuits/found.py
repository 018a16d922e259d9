"""A circuit for questions of a user's own, outside of a run: found, cut, and judged on the pairs it was found on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...alone import Wanted, job_for
from ...components import Data
from ...errors import DataError, SpecError, UsageError
from ...job import by_block
from ...kinds import TaskSpec
from ...loading.library import Library, within_reach
from ...loading.resolve import data_files, data_root, resolve, resolved_json
from ...reducers.normalised import normalised
from ...targets import find
from ..lm.graph.nodes import Graph, Mask
from ..lm.graph.pairs import Pair
from ..lm.graph.params import LogitDifference
from ..lm.graph.ungrouped import wired
from ..lm.model import LanguageModel
from .analysis import Attribution, Study
from .evaluate import Evaluated, circuit_values, model_values
from .methods.analyzer import Analyzer, Threshold
from .pairing import Answers, Paired, paired
from .params import MIB_SIZES, Circuit
from .run import HIT, count_of
from .select import own, reduced
from .sources.params import PromptPairs

Array = NDArray[np.float64]
SHARE = 0.1
"""Of all edges: the circuit of a method that does not say by itself what belongs to it."""
SAMPLES = 1000
"""Bootstrap samples of the pairs behind an interval of faithfulness."""
SIDES = 1.96
"""Standard errors on each side of a mean that hold 95 %."""


@dataclass(frozen=True)
class Asked:
    """What the command line says of questions and circuit. Exactly one of `pairs` and `task` is given."""

    pairs: Path | None = None
    examples: str | None = None
    """Which list of the file of pairs."""
    task: str | None = None
    data: str | None = None
    """Folder of the task's data files, or `hub`."""
    limit: int | None = None
    """Use only the first so many questions."""
    top_k: int | None = None
    threshold: float | None = None
    ungroup: bool = False
    batch: int = 64
    """Rows in one forward pass."""
    curve: bool = False
    """Whether circuits of all sizes are judged too."""


@dataclass(frozen=True)
class Found:
    """The circuit, and what it was cut from."""

    model: str
    method: str
    spec: Mapping[str, Any]
    """The algorithm with all its fields, as it was run."""
    analyzer: Analyzer
    attribution: Attribution
    scores: Array
    """In the order of the graph's edges, or of its sources where nodes are scored."""
    spread: Array | None
    """Half the width of each score's 95 % interval; None where there is one score for all pairs together."""
    chosen: Mask
    """The circuit before its dead ends were pruned."""
    circuit: Mask
    pairs: int
    first: Mapping[str, str]
    """The first pair as text: `clean`, `corrupt`, `right`, `wrong`."""
    skipped: Mapping[str, int]
    """Questions without a pair, by reason."""
    values: Mapping[str, float]
    """Means over the pairs. Of `model`, `circuit` and `empty` the target, and with the prefixes `accuracy.` (share of
    pairs whose right answers have a higher mean logit than the wrong ones), `hit1.`, `hit10.` (a right answer is among
    the so many most probable tokens); and `faithfulness`, NaN where the whole model is no better than nothing."""
    curve: Sequence[tuple[float, float, float, float]]
    """Share of the edges before pruning, faithfulness of that circuit, and its 95 % interval over bootstrap samples of
    the pairs."""
    surrounded: bool
    """Whether the model keeps inserted modules or a prompt, so that the graph is that of the path taken."""

    @property
    def graph(self) -> Graph:
        return self.attribution.graph

    @property
    def names(self) -> list[str]:
        """What `scores` are of."""
        return list(self.graph.sources if self.attribution.granularity == "node" else self.graph.names())


def find_circuit(
    wanted: Wanted, asked: Asked, say: Callable[[str], None], progress: Callable[[int, int], None] = lambda *_: None
) -> Found:
    """Find and judge a circuit; `say` is told what is being done, `progress` how far the scoring is.

    Raises SpecError, UsageError, DataError, ModelError.
    """
    library = within_reach(wanted.specs)
    _refuse_looks(library, wanted)
    data, files, answers = _questions(library, asked, say)
    questions = data.load(files, asked.limit)
    protocol = Circuit(type="circuit", target=LogitDifference(type="logit_difference"), ablation="patching")
    task = TaskSpec(kind="task", name="command-line", data=data, protocol=protocol)
    job, model, method = job_for(wanted, task, {"data": files})
    lm, algorithm = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(algorithm, Analyzer)
    analyzer = _as_asked(algorithm, asked)
    given = paired(lm, questions, strict=asked.pairs is not None, answers=answers)
    if not given.pairs:
        raise DataError(f"none of {len(questions)} questions is a pair for {model.name}: {_reasons(given)}")
    with wired(lm, analyzer.keys_and_values) as wiring:
        edges = len(wiring.graph.edges)
        if asked.top_k is not None and asked.top_k > edges:
            raise UsageError(f"--top-k {asked.top_k}: {model.name} has {edges} edges")
        study = Study(wiring, given.pairs, analyzer.target, analyzer.ablation, asked.batch, job.rng, progress)
        say(f"scoring {edges} edges of {model.name} on {len(given.pairs)} pairs with {method.name} …")
        attribution = analyzer.attribution(study)
        progress(1, 1)
        chosen = _cut(analyzer.model_copy(update={"prune": False}), attribution, asked)
        circuit = _cut(analyzer, attribution, asked)
        say("judging the circuit …")
        values, curve = _judged(study, analyzer, attribution, circuit, asked.curve)
    return Found(
        model.name,
        method.name,
        resolved_json(analyzer),
        analyzer,
        attribution,
        reduced(analyzer, attribution),
        _spread(analyzer, attribution),
        chosen,
        circuit,
        len(given.pairs),
        _as_text(lm, given.pairs[0]),
        Counter(given.skipped.values()),
        values,
        curve,
        lm.surrounded,
    )


def _refuse_looks(library: Library, wanted: Wanted) -> None:
    """Raises UsageError for a method that looks inside and finds no circuit."""
    try:
        method = resolve(library, find(library, wanted.method, ("method",)))
    except SpecError:
        return  # Perhaps it lacks what it says for this model alone; told when the model is known.
    if method.spec.algorithm.yields == "look":
        raise UsageError(
            f"method {method.name!r} looks inside and finds no circuit; run it on a task that shows what it sees: "
            f"benchwright run look-atlas {wanted.method} --model {wanted.model}"
        )


def _questions(library: Library, asked: Asked, say: Callable[[str], None]) -> tuple[Data, dict[str, Path], Answers]:
    if asked.pairs is not None:
        data = PromptPairs(type="prompt_pairs", file=str(asked.pairs), examples=asked.examples)
        return data, {"file": asked.pairs}, "first_differing"
    assert asked.task is not None
    task = resolve(library, find(library, asked.task, ("task",)))
    if task.spec.data.yields != Circuit.items:
        raise UsageError(f"--task {task.name}: its data are {task.spec.data.yields}s; prompts with answers are needed")
    files = data_files(task, data_root(task, asked.data), task.spec.data_help)
    protocol = task.spec.protocol
    if isinstance(protocol, Circuit) and protocol.circuits == "by_relation":
        say(f"task {task.name} finds a circuit for each relation; here one is found for the questions of all of them")
    answers: Answers = protocol.answers if isinstance(protocol, Circuit) else "first_differing"
    return task.spec.data, by_block({"task": files}).get("data", {}), answers


def _as_asked(analyzer: Analyzer, asked: Asked) -> Analyzer:
    """The method with what the command line says in place of its own."""
    said: dict[str, Any] = {"keys_and_values": "per_query_head"} if asked.ungroup else {}
    if asked.threshold is not None:
        said["selector"] = Threshold(type="threshold", by=analyzer.selector.by, threshold=asked.threshold)
    return analyzer.model_copy(update=said)


def _reasons(given: Paired) -> str:
    return "; ".join(f"{reason} ({count})" for reason, count in Counter(given.skipped.values()).items())


def _as_text(lm: LanguageModel, pair: Pair) -> dict[str, str]:
    def text(ids: Sequence[int]) -> str:
        return str(lm.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    right, wrong = (", ".join(text([token]).strip() for token in tokens) for tokens in (pair.answer, pair.wrong))
    return {"clean": text(pair.clean), "corrupt": text(pair.corrupt), "right": right, "wrong": wrong}


def _cut(analyzer: Analyzer, attribution: Attribution, asked: Asked) -> Mask:
    if asked.top_k is not None:
        return analyzer.circuit(attribution, asked.top_k)
    # A threshold on the scores goes before what a scorer itself decided.
    of = attribution if asked.threshold is None else replace(attribution, kept=None)
    circuit = own(analyzer, of)
    return analyzer.circuit(of, count_of(SHARE, len(attribution.graph.edges))) if circuit is None else circuit


def _spread(analyzer: Analyzer, attribution: Attribution) -> Array | None:
    found = attribution.by_pair.astype(np.float64)
    if len(found) < 2:
        return None
    found = np.abs(found) if analyzer.reduction == "mean_magnitude" else found
    half: Array = SIDES * found.std(0, ddof=1) / len(found) ** 0.5
    return half


def _judged(
    study: Study, analyzer: Analyzer, attribution: Attribution, circuit: Mask, curve: bool
) -> tuple[dict[str, float], list[tuple[float, float, float, float]]]:
    edges = len(attribution.graph.edges)
    sizes = sorted({count_of(share, edges) for share in MIB_SIZES}) if curve else []
    sized = [analyzer.circuit(attribution, count) for count in sizes]
    nothing, logits = np.zeros_like(circuit), LogitDifference(type="logit_difference")
    found = _evaluated(study, [circuit, nothing, *sized])
    told = found if study.target == logits else _evaluated(replace(study, target=logits), [circuit, nothing])
    ends = {"full": found.values[0], "empty": found.values[2]}
    n = len(study.pairs)
    weights = np.concatenate([np.ones((1, n)), study.rng("bootstrap").multinomial(n, [1 / n] * n, SAMPLES)])

    def shares(part: Array) -> Array:
        """Faithfulness on all pairs, then on each bootstrap sample."""
        return normalised({"part": part, **ends}, weights, part="part", full="full", empty="empty")

    values = {"faithfulness": shares(found.values[1])[0]}
    for row, who in enumerate(("model", "circuit", "empty")):
        values[who] = found.values[row].mean()
        values[f"accuracy.{who}"] = (told.values[row] > 0).mean()
        values[f"hit1.{who}"] = (found.ranks[row] == 0).mean()
        values[f"hit10.{who}"] = (found.ranks[row] < HIT).mean()
    points = []
    for count, part in zip(sizes, found.values[3:], strict=True):
        whole, *samples = shares(part)
        low, high = np.nanquantile(samples, (0.025, 0.975)) if np.isfinite(samples).any() else (np.nan, np.nan)
        points.append((count / edges, float(whole), float(low), float(high)))
    return {name: float(value) for name, value in values.items()}, points


def _evaluated(study: Study, masks: Sequence[Mask]) -> Evaluated:
    """The untouched model first, then the masks."""
    model, found = model_values(study), circuit_values(study, masks)
    return Evaluated(np.concatenate([model.values, found.values]), np.concatenate([model.ranks, found.ranks]))
