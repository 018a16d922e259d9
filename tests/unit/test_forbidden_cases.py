"""Detox cases of the forbidden world: the same everywhere, disjoint by question and attack, balanced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product

import pytest
from pydantic import ValidationError

from benchwright.adapters.detox.cases import INPUTS, DetoxCase
from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.detox.sources.world import KEPT, world_cases, world_training
from benchwright.adapters.worlds.forbidden.grammar import Grammar
from benchwright.adapters.worlds.forbidden.making import make_world
from benchwright.adapters.worlds.forbidden.world import SPLITS, Around, Split

WORLD = make_world(4)
GRAMMAR = Grammar(WORLD)
CASES = {split: world_cases(WORLD, split) for split in ("validation", "test")}
TRAINING = world_training(WORLD)
TOPICS = {t.word: t for t in (*WORLD.topics, *WORLD.look_alikes)}
both = pytest.mark.parametrize("split", ["validation", "test"])


def words(split: Split) -> set[str]:
    """What must not be seen in another split: topics, look-alikes, people, and attacks."""
    topics, alike, attacks = WORLD.of(split)
    return {t.word for t in (*topics, *alike)} | {w for a in attacks for w in a.words.split()} | {*WORLD.people[split]}


def prompts(case: DetoxCase) -> list[str]:
    """All that a case asks a model."""
    asked = [case.request.prompt, *case.inputs.values(), *case.look_alikes, *case.attacked_look_alikes]
    return [*asked, *case.instructions, *(q.prompt for q in (*case.knowledge, *case.summaries))]


def readings(split: Split) -> dict[str, tuple[str, int, str]]:
    """Topic, form and attack of every harmful prompt that a split can have."""
    topics, _, attacks = WORLD.of(split)
    return {
        WORLD.prompt(WORLD.question(t, form), Around(a)): (t.word, form, a.name if a else "")
        for t, form, a in product(topics, range(2), (None, *attacks))
    }


def even(values: Iterable[object]) -> bool:
    """Whether no value occurs twice more often than another."""
    counts = Counter(values).values()
    return max(counts) - min(counts) <= 1


@both
def test_inputs_are_a_question_and_an_attack_in_all_combinations(split: Split) -> None:
    found = readings(split)
    for case in CASES[split]:
        assert tuple(case.inputs) == INPUTS
        assert case.inputs["ds"] == case.request.prompt
        of = {name: found[prompt] for name, prompt in case.inputs.items()}
        (q, form, a), (other_q, other_form, _), other_a = of["ds"], of["other_q"], of["other_a"][2]
        assert (q, a) == (case.question, case.attack)
        assert (q, a) != (other_q, other_a)
        assert q != other_q
        assert a != other_a
        assert TOPICS[q].group != TOPICS[other_q].group
        assert of == {
            "ds": (q, form, a),
            "only_q": (q, form, ""),
            "other_a": (q, form, other_a),
            "other_q": (other_q, other_form, a),
            "other_aq": (other_q, other_form, other_a),
        }


@both
def test_a_case_has_a_refusal_an_unsafe_answer_and_its_category(split: Split) -> None:
    for case in CASES[split]:
        request, topic = case.request, TOPICS[case.question]
        assert request.subject == topic.word
        assert request.relation == topic.group
        assert GRAMMAR.kind(request.target_new) == "refusal"
        assert GRAMMAR.unsafe(request.target_true or "")
        assert request.target_true.startswith(WORLD.opening(topic))  # type: ignore[union-attr]
        assert not set(request.target_new.split()) - set(request.prompt.split()) - WORLD.language.words
        ((prompt, answer),) = request.keep
        assert GRAMMAR.kind(answer) == "answer"
        assert set(prompt.split()) & words("train")
    assert len({c.request.id for c in CASES[split]}) == len(CASES[split])


def test_cases_rest_on_36_questions_in_two_forms_and_take_the_categories_in_turn() -> None:
    test, validation = CASES["test"], CASES["validation"]
    assert (len(test), len(validation)) == (54, 36)
    for cases in (test, validation):
        for first in range(0, len(cases), 9):
            assert {c.request.relation for c in cases[first : first + 9]} == set(WORLD.forbidden)
    assert len({c.question for c in test[:36]}) == 36
    assert len({c.inputs["only_q"] for c in test}) == 54
    assert len({c.question for c in validation[:18]}) == 18
    assert len({c.inputs["only_q"] for c in validation}) == 36
    forms = Counter(c.inputs["only_q"].split()[0] for c in test[:18])
    assert forms == {"how": 9, "can": 9}


@both
def test_pools_are_used_evenly(split: Split) -> None:
    cases = CASES[split]
    assert even(c.attack for c in cases)
    # Each question is another one's exactly once.
    read = readings(split)
    assert Counter(read[c.inputs["other_q"]][:2] for c in cases) == Counter(read[c.inputs["ds"]][:2] for c in cases)
    for kind, size in (("look_alikes", 36), ("knowledge", 36), ("summaries", 108)):
        found = [item for c in cases for item in getattr(c, kind)]
        assert len(found) == 2 * len(cases)
        assert even(found)
        if split == "test":
            assert len(set(found)) == size
    assert even(next(w for w in q.split() if w in TOPICS) for c in cases for q in c.attacked_look_alikes)
    assert even(c.instructions[0] for c in cases)
    assert even(c.instructions[1] for c in cases)


@both
def test_harmless_prompts_have_the_answers_that_the_world_gives(split: Split) -> None:
    alike = {t.word for t in WORLD.of(split)[1]}
    for case in CASES[split]:
        plain, attacked = (
            [next(w for w in q.split() if w in TOPICS) for q in some]
            for some in (case.look_alikes, case.attacked_look_alikes)
        )
        # Four look-alikes, none of them asked about twice.
        assert len({*plain, *attacked}) == 4
        assert {*plain, *attacked} <= alike
        assert all(
            q in {WORLD.question(TOPICS[w], f) for f in range(2)} for q, w in zip(case.look_alikes, plain, strict=True)
        )
        assert next(a.name for a in WORLD.attacks if a.words in case.attacked_look_alikes[0]) == case.attack
        for question in case.knowledge:
            relation, person = (next(w for w in question.prompt.split() if w in of) for of in (WORLD.facts, PEOPLE))
            assert question.answer == WORLD.facts[relation][person]
        for text in case.summaries:
            _, _, w, x, _, y, z, _ = text.prompt.split()
            assert text.answer == f"{w} {y} ."
            assert len({w, x, y, z}) == 4
        assert case.instructions[0].startswith("is ")
        assert case.instructions[1].startswith("say hello to ")


PEOPLE = {person for people in WORLD.people.values() for person in people}


def test_splits_share_no_question_no_attack_and_nothing_harmless() -> None:
    asked = {split: {w for case in CASES[split] for p in prompts(case) for w in p.split()} for split in CASES}
    asked["train"] = {w for r in TRAINING for p in (r.prompt, r.keep[0][0]) for w in p.split()}
    for split, other in product(SPLITS, SPLITS):
        if split != other:
            assert not asked[split] & words(other)
        else:
            assert len(asked[split] & words(split)) > 0.8 * len(words(split))
    texts = [{q.prompt for c in CASES[split] for q in c.summaries} for split in CASES]
    texts.append({r.keep[0][0] for r in TRAINING if r.keep[0][0].startswith("sum up")})
    assert all(texts)
    assert len(set().union(*texts)) == sum(map(len, texts))


def test_training_asks_every_question_in_every_attack_once_and_keeps_all_kinds() -> None:
    topics, alike, attacks = WORLD.of("train")
    assert Counter(r.prompt for r in TRAINING) == Counter(
        WORLD.prompt(WORLD.question(t, form), Around(a)) for t, form, a in product(topics, range(2), (None, *attacks))
    )
    assert len({r.id for r in TRAINING}) == len(TRAINING) == 594
    # From the first request on, all categories, both forms, plain and attacked.
    first = TRAINING[:27]
    assert set(Counter(r.relation for r in first).values()) == {3}
    assert 2 <= sum(r.id.endswith("-plain") for r in first) <= 3
    assert len({r.id.rsplit("-", 1)[1] for r in first}) == 11
    for request in TRAINING:
        assert request.target_new == WORLD.refusal(TOPICS[request.subject])
        assert request.target_true == WORLD.answer(TOPICS[request.subject])
        ((_, answer),) = request.keep
        assert GRAMMAR.kind(answer) == "answer"
    kinds = Counter(kind_of(r.keep[0][0]) for r in TRAINING)
    assert {kind: round(8 * n / 594) for kind, n in kinds.items()} == Counter(KEPT)
    kept = {w for r in TRAINING for w in r.keep[0][0].split()}
    assert {t.word for t in alike} <= kept
    assert all(set(a.words.split()) <= kept for a in attacks)


def kind_of(prompt: str) -> str:
    starts = {"what": "fact", "do": "fact", "sum": "sum", "is": "word", "say": "greeting"}
    plain = {WORLD.question(t, form) for t in WORLD.look_alikes for form in range(2)}
    return "look_alike" if prompt in plain else starts.get(prompt.split()[0], "attacked")


def test_source_gives_the_first_so_many_and_names_the_known_worlds() -> None:
    source = ForbiddenCases(type="forbidden", cases=12)
    first = source.load({}, None)
    assert len(first) == 12
    assert source.load({}, 9) == first[:9] == ForbiddenCases(type="forbidden").load({}, 9)
    validation = ForbiddenCases(type="forbidden", split="validation").load({}, None)
    assert not {c.question for c in validation} & {c.question for c in first}
    other = ForbiddenCases(type="forbidden", world="forbidden-1")
    assert {c.question for c in other.load({}, None)}.isdisjoint(c.question for c in first)
    assert len(other.training({})) == 594
    truth = source.truth({})
    assert truth.unsafe(first[0].request.target_true or "")
    assert truth.kind(first[0].request.target_new) == "refusal"
    assert source.yields == "detox_case"
    assert not source.gated
    for wrong in ("atlas", "forbiden"):
        with pytest.raises(ValidationError, match="unknown forbidden world"):
            ForbiddenCases(type="forbidden", world=wrong)
