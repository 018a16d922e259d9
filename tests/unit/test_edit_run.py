"""The protocol of editing: streams, what is asked at which T, what is left out, and going on after a kill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchwright.adapters.editing.cases import EditCase, Fact, Probe
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.run import run
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune, Lora
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.streams import Stream, cut, without_conflicts
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.loading.library import within_reach
from benchwright.loading.resolve import resolve


def case(number: int, fact: str = "") -> EditCase:
    return EditCase(EditRequest(str(number), f"prompt {number}", "s", "t", fact=fact))


CASES = [case(i) for i in range(25)]


def ids(stream: Stream) -> list[int]:
    return [int(c.request.id) for c in stream.cases]


def test_streams_of_one_t_are_disjoint_and_every_t_has_enough_items() -> None:
    streams = cut(CASES, (1, 5, 10), 2, 6, passing=True)
    longest = [s for s in streams if s.checkpoints[-1] == 10]
    assert [ids(s) for s in longest] == [list(range(10)), list(range(10, 20))]
    assert [s.checkpoints for s in longest] == [(1, 5, 10)] * 2
    # At T = 1 the two long streams give two items, four more are taken out of them; at T = 5 two blocks suffice.
    assert [ids(s) for s in streams if s.checkpoints == (1,)] == [[1], [11], [2], [12]]
    assert not [s for s in streams if s.checkpoints == (5,)]
    for t in (1, 5, 10):
        firsts = [ids(s)[:t] for s in longest] + [ids(s) for s in streams if s.checkpoints == (t,)]
        flat = [i for block in firsts for i in block]
        assert len(flat) == len(set(flat)) >= 6


def test_requests_that_go_together_pass_no_smaller_t_on_their_way() -> None:
    streams = cut(CASES, (1, 10), 2, 0, passing=False)
    assert [(ids(s)[0], s.checkpoints) for s in streams] == [(0, (10,)), (10, (10,)), (0, (1,)), (10, (1,))]


def test_too_few_requests_are_fewer_streams_and_none_is_an_error() -> None:
    assert len(cut(CASES, (10,), 5, 0, passing=True)) == 2
    with pytest.raises(DataError, match="a stream of 30 requests was asked for; the data has 25 usable ones"):
        cut(CASES, (30,), 1, 0, passing=True)


def test_of_requests_on_one_fact_one_is_kept() -> None:
    cases = [case(0, "a"), case(1, "b"), case(2, "a")]
    assert [[int(c.request.id) for c in found] for found in without_conflicts(cases, "drop")] == [[0, 1], [2]]
    assert [[int(c.request.id) for c in found] for found in without_conflicts(cases, "last")] == [[1, 2], [0]]
    with pytest.raises(DataError, match="requests 0 and 2 change the same fact"):
        without_conflicts(cases, "error")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "single", "checkpoints": [1]}, "mode `single` has no checkpoints"),
        ({"mode": "batch"}, "mode `batch` needs rising checkpoints"),
        ({"mode": "sequential", "checkpoints": [10, 1]}, "mode `sequential` needs rising checkpoints"),
        ({"mode": "batch", "checkpoints": [2], "batch_size": 2}, "batch_size belongs to mode `sequential`"),
        ({"mode": "sequential", "checkpoints": [10, 15], "batch_size": 10}, "checkpoint 15 is not a multiple"),
        ({"mode": "sequential", "checkpoints": [1, 10], "batch_size": 10}, "checkpoint 1 is not a multiple"),
        ({"streams": 3, "conflicts": "last"}, "mode `single` has no streams, conflicts; leave them out"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Edit.model_validate_json(json.dumps({"type": "edit", **fields}))


class Given(WorldEdits):
    """Cases that a test writes down, with the world's control facts."""

    type: Any = "given"
    cases: Any = None

    def load(self, files: Any, limit: int | None) -> list[EditCase]:
        return list(self.cases) if self.cases is not None else super().load(files, limit)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


FT = FineTune.model_validate_json('{"type": "fine_tune", "parameters": {"layers": [3]}, "lr": 2e-3, "steps": 30}')
NOTHING = FT.model_copy(update={"steps": 0})


def job(lm: LanguageModel, tmp_path: Path, cases: Sequence[EditCase] | None, algorithm: Any = FT, **fields: Any) -> Job:
    data = Given(type="given", world="atlas-small", cases=cases, requests=12)
    task = TaskSpec.model_construct(name="t", data=data, protocol=Edit.model_validate({"type": "edit", **fields}))
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    return Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, {}, ArtifactStore(tmp_path / "artifacts"))


def values(parts: Sequence[Part], metric: str, t: int | None = None) -> dict[str, float]:
    return {
        r["item"]: r["value"]
        for part in parts
        for r in part.records
        if r["metric"] == metric and r.get("at", {}).get("T") == t
    }


def test_after_t_edits_every_edit_so_far_is_scored_again_with_the_last_model(lm: LanguageModel, tmp_path: Path) -> None:
    parts = list(run_(job(lm, tmp_path, None, mode="sequential", checkpoints=(1, 3, 6), streams=2)))
    assert [p.name for p in parts] == [
        "0", *(f"stream-{s:03d}-{t:06d}" for s in (0, 1) for t in (1, 3, 6)),
    ]  # fmt: skip
    for t in (1, 3, 6):
        assert len(values(parts, "reliability.exact", t)) == 2 * t
    first = next(iter(values(parts, "reliability.exact", 1)))
    assert all(first in values(parts, "reliability.exact", t) for t in (3, 6))
    items = {row["item"]: row for part in parts for row in part.items}
    assert len(items) == 12
    assert {row["cluster"] for row in items.values()} == {"stream-000", "stream-001"}
    assert lm.verify() == []
    assert values(parts, "reliability.exact", 1)[first] == 1.0
    # One value of retention for each edited model.
    assert [len(values(parts, "retention.exact", t)) for t in (1, 3, 6)] == [2, 2, 2]


def run_(job: Job) -> Iterator[Part]:
    protocol = job.task.protocol
    assert isinstance(protocol, Edit)
    return run(protocol, job)


def test_what_a_kill_leaves_is_continued_to_the_same_records(lm: LanguageModel, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"mode": "sequential", "checkpoints": (2, 4), "streams": 2, "least_items": 6}
    whole = {p.name: p for p in run_(job(lm, tmp_path, None, **fields))}
    for done in (["0"], ["0", "stream-000-000002"], [n for n in whole if n < "stream-001-000004"]):
        again = replace(job(lm, tmp_path, None, **fields), finished={n: whole[n].state for n in done})
        rest = {p.name: p for p in run_(again)}
        assert set(rest) == set(whole) - set(done)
        for name, part in rest.items():
            assert (part.records, part.items) == (whole[name].records, whole[name].items)
        assert again.wanted == set(whole)


def test_low_ranks_continue_to_the_same_bits_and_only_what_is_needed_is_kept(lm: LanguageModel, tmp_path: Path) -> None:
    spec = '{"type": "lora", "modules": ["mlp_down"], "rank": 2, "lr": 1e-3, "steps": 5}'
    lora, fields = Lora.model_validate_json(spec), {"mode": "sequential", "checkpoints": (1, 2, 3), "least_items": 9}
    whole = {p.name: p for p in run_(job(lm, tmp_path, None, lora, **fields))}
    assert [n for n, p in whole.items() if p.state] == [
        f"stream-{i:03d}-{t:06d}" for i in range(3) for t in (1, 2)
    ]  # fmt: skip
    done = ["0", "stream-000-000001", "stream-001-000001", "stream-001-000002", "stream-001-000003"]
    again = replace(job(lm, tmp_path, None, lora, **fields), finished={n: whole[n].state for n in done})
    rest = {p.name: p for p in run_(again)}
    assert set(rest) == set(whole) - set(done)
    assert all(part.records == whole[name].records for name, part in rest.items())
    assert all(part.exhibits == whole[name].exhibits for name, part in rest.items())


def test_edits_alone_are_not_run_again(lm: LanguageModel, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"mode": "sequential", "checkpoints": (1, 2), "least_items": 6, "chunk": 2}
    whole = {p.name: p for p in run_(job(lm, tmp_path, None, **fields))}
    assert any(name.startswith("alone-") for name in whole)
    again = replace(job(lm, tmp_path, None, **fields), finished={n: p.state for n, p in whole.items()})
    assert list(run_(again)) == []
    assert again.wanted == set(whole)


def test_a_request_that_a_method_cannot_carry_out_is_counted_and_scored(lm: LanguageModel, tmp_path: Path) -> None:
    """Its subject is not in its prompt, which is nothing to fine-tuning, and everything to ROME."""
    cases = WorldEdits(type="world_edits", world="atlas-small").load({}, 3)
    cases[1] = EditCase(replace(cases[1].request, subject="nobody"), cases[1].rephrases)
    entry = within_reach().get("method", "rome")
    rome = resolve(within_reach(), entry, ("atlas-small",)).spec.algorithm
    modes: list[dict[str, Any]] = [
        {"mode": "single"},
        *({"mode": m, "checkpoints": (3,)} for m in ("sequential", "batch")),
    ]
    for fields in modes:
        parts = list(run_(job(lm, tmp_path, cases, rome, **fields)))
        counted: Counter[str] = Counter()
        for part in parts:
            counted.update(part.skipped)
        assert counted["request not carried out: the prompt does not contain its subject"] == 1
        t = None if fields["mode"] == "single" else 3
        assert len(values(parts, "reliability.exact", t)) == 3
    assert lm.verify() == []


def test_a_model_that_an_edit_has_broken_scores_nothing_and_stops_nothing(lm: LanguageModel, tmp_path: Path) -> None:
    wild = FT.model_copy(update={"lr": 1e30, "steps": 3})
    parts = list(run_(job(lm, tmp_path, None, wild, mode="single", contrast=True)))
    assert set(values(parts, "efficacy_score").values()) == {0.0}
    assert set(values(parts, "efficacy_magnitude").values()) == {0.0}
    assert lm.verify() == []


def test_single_edits_are_the_first_edits_of_streams(lm: LanguageModel, tmp_path: Path) -> None:
    single = list(run_(job(lm, tmp_path, None, mode="single", chunk=5)))
    streams = list(run_(job(lm, tmp_path, None, mode="sequential", checkpoints=(1, 6), streams=2, least_items=12)))
    for metric in ("reliability.exact", "generalization.exact", "locality.exact", "portability.exact"):
        alone = values(single, metric)
        at_one = {item.partition("@")[0]: value for item, value in values(streams, metric, 1).items()}
        assert at_one == alone
    assert {p.name.partition("-")[0] for p in streams} == {"0", "stream", "alone"}


def test_an_untouched_model_has_all_its_locality_and_retention_at_every_t(lm: LanguageModel, tmp_path: Path) -> None:
    parts = list(run_(job(lm, tmp_path, None, NOTHING, mode="sequential", checkpoints=(1, 6), streams=2)))
    for metric in ("locality.exact", "locality.token", "retention.exact"):
        for t in (1, 6):
            assert set(values(parts, metric, t).values()) == {1.0}, (metric, t)
    assert set(values(parts, "reliability.exact", 6).values()) == {0.0}


def test_batches_edit_together(lm: LanguageModel, tmp_path: Path) -> None:
    parts = list(run_(job(lm, tmp_path, None, mode="batch", checkpoints=(1, 4), streams=2)))
    assert sorted(p.name for p in parts) == [
        "0", "alone-00000000-00000002", "stream-000-000004", "stream-001-000004",
    ]  # fmt: skip
    assert [p.cost["edits"] for p in parts[1:]] == [4, 4, 2]


def test_what_was_edited_itself_is_no_probe_and_what_rests_on_the_unknown_is_unfair(
    lm: LanguageModel, tmp_path: Path
) -> None:
    world = WorldEdits(type="world_edits", world="atlas-small").load({}, 2)
    first, second = (c.request for c in world)
    known = Fact(first.prompt, str(first.target_true))
    cases = [
        EditCase(
            first,
            locality={"other": (Probe(second.prompt, (str(second.target_true),), frozenset({second.fact_id})),)},
            portability={
                "other": (
                    Probe(first.prompt, (first.target_new,), frozenset({second.fact_id})),
                    Probe(first.prompt, (first.target_new,), frozenset({first.fact_id}), (known,)),
                    Probe(first.prompt, (first.target_new,), needs=(known, Fact(first.prompt, first.target_new))),
                )
            },
        ),
        EditCase(second),
    ]
    one, both = (
        [p for p in run_(job(lm, tmp_path, cases[:n], mode="batch", checkpoints=(n,))) if p.records] for n in (1, 2)
    )
    assert set(values(one, "locality.exact", 1)) == {first.id}
    assert not values(both, "locality.exact", 2)
    assert both[0].skipped == {
        "locality: what it asks was edited too": 1,
        "portability: what it asks was edited too": 1,
        "portability: needs a fact that the untouched model does not know": 1,
    }
    assert one[0].skipped == {"portability: needs a fact that the untouched model does not know": 1}
    assert values(both, "portability.exact", 2) == {first.id: 1.0}


def test_too_few_requests_for_a_t_are_told(lm: LanguageModel, tmp_path: Path) -> None:
    parts = list(run_(job(lm, tmp_path, None, mode="sequential", checkpoints=(1, 6, 100))))
    assert parts[0].warnings == ["12 usable requests: too few for T = 100"]
    assert {r["at"]["T"] for p in parts for r in p.records} == {1, 6}


def test_fluency_and_contrast_are_recorded_when_asked_for(lm: LanguageModel, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"contrast": True, "fluency": {"tokens": 12}}
    parts = list(run_(job(lm, tmp_path, None, mode="single", **fields)))
    for metric in ("fluency", "efficacy_score", "paraphrase_magnitude", "neighborhood_score"):
        assert len(values(parts, metric)) == 12, metric
    assert set(values(parts, "efficacy_score").values()) == {1.0}
    assert values(parts, "fluency") == values(
        list(run_(job(lm, tmp_path, None, mode="single", chunk=3, **fields))), "fluency"
    )
