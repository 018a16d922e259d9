"""Edits of the knowledge world: the same everywhere, disjoint by subject, and fair."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from pydantic import ValidationError

from benchwright.adapters.editing.cases import EditCase, Probe
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.editing.sources.world import CONTROLS, MIX, subjects, world_cases, world_controls
from benchwright.adapters.editing.sources.world_probes import NAMESAKES, NEIGHBOURS, fact_id
from benchwright.adapters.worlds.knowledge.making import make_world

WORLD = make_world(3)
TEST, VALIDATION = world_cases(WORLD, "test"), world_cases(WORLD, "validation")
RELATIONS = WORLD.language.relations


def known(probe: Probe) -> bool:
    """Whether the answer is what the world says, read off the fact that the probe is named by."""
    return any(
        fact_id(relation, subject) in probe.facts and probe.answers == (answer,)
        for relation, pairs in WORLD.facts.items()
        for subject, answer in pairs.items()
    )


@pytest.mark.parametrize("cases", [TEST, VALIDATION], ids=["test", "validation"])
def test_each_request_is_counterfactual_and_made_once(cases: list[EditCase]) -> None:
    ids = [c.request.fact_id for c in cases]
    assert len(set(ids)) == len(ids)
    for request in (c.request for c in cases):
        relation, subject = request.relation, request.subject
        assert request.id == request.fact == fact_id(relation, subject)
        assert request.prompt == WORLD.prompt(relation, subject)
        assert request.target_true == WORLD.facts[relation][subject]
        assert request.target_new in WORLD.objects(relation)
        assert request.target_new not in (request.target_true, subject)
    for relation in RELATIONS.values():
        new = [c.request.target_new for c in cases if c.request.relation == relation.name]
        if relation.distinct or relation.symmetric:
            assert len(new) == len(set(new))
        if relation.distinct:
            assert not set(new) & set(WORLD.facts[relation.name].values())


def test_splits_share_no_subject_and_each_type_is_split() -> None:
    of = [{c.request.subject for c in cases} for cases in (TEST, VALIDATION)]
    assert not of[0] & of[1]
    for kind in ("person", "company"):
        names = WORLD.entities[kind]
        assert sorted((*subjects(WORLD, kind, "test"), *subjects(WORLD, kind, "validation"))) == sorted(names)
        assert len(subjects(WORLD, kind, "validation")) == ceil(0.2 * len(names))


def test_relations_are_mixed_alike_from_the_first_edit_on() -> None:
    assert Counter(c.request.relation for c in TEST[:100]) == MIX
    first = Counter(c.request.relation for c in TEST[:25])
    assert all(abs(first[r] - share / 4) <= 1 for r, share in MIX.items())


def test_rephrases_were_never_trained() -> None:
    for case in TEST:
        request = case.request
        trained = {
            WORLD.prompt(request.relation, request.subject, i)
            for i in WORLD.trained_templates(request.relation, request.subject)
        }
        assert case.rephrases
        assert not set(case.rephrases) & trained


def test_locality_is_what_the_world_says_of_something_else() -> None:
    for case in TEST:
        request = case.request
        probes = [p for kind in case.locality.values() for p in kind]
        assert all(known(p) for p in probes)
        assert not any(request.fact in p.facts for p in probes)
        assert len(case.locality["neighbourhood"]) == NEIGHBOURS
        namesakes = case.locality.get("same_last_token", ())
        assert len(namesakes) <= NAMESAKES
        last = request.subject.split()[-1]
        assert all(f" {last} " in p.prompt for p in namesakes)
        assert not any(f" {last} " in p.prompt for p in case.locality["neighbourhood"])
        assert all(request.subject in p.prompt for p in case.locality["same_subject"])


def test_portability_follows_from_the_edit_and_only_from_it() -> None:
    kinds: Counter[str] = Counter()
    for case in TEST:
        request = case.request
        kinds.update(case.portability.keys())
        for probe in case.portability.get("two_hop", ()):
            (fact,) = probe.needs
            assert probe.answers == (fact.answer,)
            assert request.target_new in fact.prompt
            assert probe.facts
            assert request.subject in probe.prompt
        for probe in case.portability.get("chain_of_thought", ()):
            assert probe.generated
            assert probe.prompt.startswith("question : ")
            assert probe.prompt.endswith(" ? answer :")
        for probe in case.portability.get("alias", ()):
            assert WORLD.aliases[request.subject] in probe.prompt
            assert probe.answers == (request.target_new,)
            assert [(f.prompt, f.answer) for f in probe.needs] == [(probe.prompt, request.target_true)]
        for probe in case.portability.get("inverse", ()):
            assert request.target_new in probe.prompt
            assert probe.answers == (request.subject,)
    assert kinds.keys() == {"alias", "two_hop", "inverse", "chain_of_thought"}
    assert all(set(c.portability) >= {"inverse"} for c in TEST if c.request.relation in ("founder", "spouse"))


def test_a_two_hop_answer_differs_from_the_one_before() -> None:
    for case in TEST:
        for composition in WORLD.language.compositions.values():
            if composition.first == case.request.relation:
                then = WORLD.facts[composition.second]
                asked = {t.format(s=case.request.subject) for t in WORLD.language.hop_templates(composition)}
                found = [p for p in case.portability.get("two_hop", ()) if p.prompt in asked]
                moved = then[case.request.target_new] != then[str(case.request.target_true)]
                assert bool(found) == moved


def test_of_a_marriage_both_sides_are_touched() -> None:
    """Whoever marries somebody else leaves one behind: what the world said of either is no longer known."""
    asked = [p for case in TEST for kind in case.locality.values() for p in kind]
    seen = 0
    for marriage in (c.request for c in TEST if c.request.relation == "spouse"):
        for other in (str(marriage.target_true), marriage.target_new):
            about = [p for p in asked if p.prompt == WORLD.prompt("spouse", other)]
            assert all(marriage.fact in p.facts for p in about)
            seen += len(about)
    assert seen > 50


def test_controls_are_facts_that_no_edit_of_the_split_touches() -> None:
    for split, cases in (("test", TEST), ("validation", VALIDATION)):
        controls = world_controls(WORLD, split)  # type: ignore[arg-type]
        assert len(controls) == len({p.prompt for p in controls}) == CONTROLS
        assert all(known(p) for p in controls)
        edited = {c.request.subject for c in cases}
        assert not any(fact.split("(")[1].rstrip(")") in edited for p in controls for fact in p.facts)


def test_what_a_spec_says() -> None:
    source = WorldEdits(type="world_edits", world="atlas-small", requests=5)
    assert len(source.load({}, None)) == 5
    assert source.load({}, 3) == source.load({}, None)[:3]
    assert source.load({}, 3) == WorldEdits(type="world_edits", world="atlas-small").load({}, 3)
    assert len(source.controls({})) == CONTROLS
    with pytest.raises(ValidationError, match="unknown world 'atlas-smal'; did you mean 'atlas-small'"):
        WorldEdits(type="world_edits", world="atlas-smal")
