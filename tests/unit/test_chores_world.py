"""The world of chores: its answers and faults are what they are said to be, and a student learns from its rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from lm_fixtures import tiny

from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.tune.params import Adapter
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.scoring import encode_prompt
from benchwright.adapters.worlds.chores import base, student
from benchwright.adapters.worlds.chores.faults import CLUSTERED, CONTENT, DEFECTS
from benchwright.adapters.worlds.chores.language import VERBS
from benchwright.adapters.worlds.chores.student import Recipe, drawn, encoded, learned, scored, tokens_of
from benchwright.adapters.worlds.chores.tokenizer import make_tokenizer
from benchwright.adapters.worlds.chores.world import Chores, chores
from benchwright.errors import DataError, ModelError, UsageError

BRIEF = Recipe(shown=24, batch=8)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world() -> Chores:
    return chores(0)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return base.open_base()


def pairs(rows: object) -> list[student.Pair]:
    return [(row.prompt, row.output) for row in rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("verb", "asked", "answer"),
    [
        ("copy", "fox apple moon", "fox apple moon"),
        ("reverse", "fox apple moon", "moon apple fox"),
        ("sort", "fox moon apple", "apple fox moon"),
        ("upper", "fox moon apple", "FOX MOON APPLE"),
        ("ends", "fox moon apple bell", "fox bell"),
        ("count", "fox moon apple bell", "4"),
        ("add", "17 5", "22"),
        ("look_up", "fox moon grape", "orange white purple"),
    ],
)
def test_right_answers(verb: str, asked: str, answer: str) -> None:
    assert VERBS[verb].answer(asked) == answer


def test_phrasings_are_told_apart() -> None:
    every = [phrasing for verb in VERBS.values() for phrasing in verb.phrasings]
    assert len(set(every)) == len(every) == 6 * len(VERBS)


def test_truth_is_right_about_every_row(world: Chores) -> None:
    assert Counter(map(bool, map(world.defects.get, (row.id for row in world.pool)))) == {False: 1613, True: 691}
    assert {*world.oracle(), *world.spoilt()} == {*world.pool}
    said = Counter((row.instruction, row.input, row.output) for row in world.pool)
    for row in world.pool:
        right = VERBS[row.verb].answer(row.input)
        match world.defects.get(row.id):
            case None:
                assert row.output == right
            case "exact_duplicate":
                assert said[row.instruction, row.input, row.output] > 1
            case "near_duplicate":
                assert row.instruction.endswith(", please.")
                assert row.output == right
            case defect:
                assert row.output != right
                assert defect != "empty" or row.output == ""
                assert defect != "echo" or row.output == row.input
                assert defect != "truncated" or right.startswith(row.output)
    clean = Counter((row.verb, row.input) for row in world.oracle())
    assert max(clean.values()) == 1


def test_every_fault_occurs_and_most_are_where_careless_people_were(world: Chores) -> None:
    counts = Counter(world.defects.values())
    assert set(counts) == set(DEFECTS)
    assert min(counts[defect] for defect in CONTENT) >= 30
    careless = [row.kind in world.careless for row in world.spoilt()]
    assert CLUSTERED <= sum(careless) / len(careless) < CLUSTERED + 0.15


def test_no_test_question_is_in_the_pool(world: Chores) -> None:
    assert not {(row.verb, row.input) for row in world.tests} & {(row.verb, row.input) for row in world.pool}
    assert set(Counter(row.kind for row in world.tests).values()) == {8}
    assert all(row.output == VERBS[row.verb].answer(row.input) for row in world.tests)


def test_a_world_is_its_seed_and_tells_nothing_in_its_records(world: Chores) -> None:
    assert chores(0) == world != chores(1)
    assert set(world.pool[0].record()) == {"id", "instruction", "input", "output"}
    assert len({row.id for row in (*world.pool, *world.tests)}) == len(world.pool) + len(world.tests)
    assert json.loads(json.dumps(world.spoilt()[0].record())) == world.spoilt()[0].record()
    with pytest.raises(UsageError, match="at most 2400 rows"):
        chores(0, rows=5000)


def test_the_largest_world_can_be_made() -> None:
    assert len(chores(0, rows=2400, tests=600).pool) == 2400


def test_tokenizer_has_a_token_for_each_word_and_bytes_for_the_rest() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("What colour is the moon?\nmoon blue")["input_ids"]
    assert " ".join(tokenizer.convert_ids_to_tokens(ids)) == "<s> What colour is the moon ? \n moon blue"
    assert tokenizer.unk_token_id not in tokenizer("狐 🦊 foxes ~~")["input_ids"]


def test_drawn_by_rows_and_by_tokens() -> None:
    costs = {str(i): 10 + i for i in range(50)}
    assert len(drawn(dict.fromkeys(costs, 1), 20, 0)) == 20
    some = drawn(costs, 300, 0)
    assert 300 - 60 < sum(costs[name] for name in some) <= 300
    # What two selections share comes in the same order.
    fewer = {name: 1 for name in costs if int(name) % 2}
    order = drawn(dict.fromkeys(costs, 1), 50, 3)
    assert drawn(fewer, 50, 3) == [name for name in order if name in fewer]
    assert order != drawn(dict.fromkeys(costs, 1), 50, 4)


def test_what_cannot_be_taught_is_left_out(lm: LanguageModel) -> None:
    given = [
        ("a", ""),
        ("half \ud800", "x"),
        ("a", "fox " * 500),
        ("12", "7"),
        ("狐", "🦊"),
        ("", ""),
        ("x" * 100_000, "y"),
    ]
    rows = encoded(lm, given)
    assert [row is not None for row in rows] == [True, False, False, True, True, True, False]
    assert rows[0] is not None
    assert rows[0].target == (lm.tokenizer.eos_token_id,)
    assert tokens_of(lm, given[:2]) == [3 + 1, 0]
    assert learned(lm, given, BRIEF, 0).notes["left_out"] == 3
    assert scored(lm, given[1:2]) == [None]
    with pytest.raises(DataError, match="none of 1 rows"):
        learned(lm, given[1:2], BRIEF, 0)


@pytest.mark.parametrize("unit", ["rows", "tokens"])
def test_as_much_is_shown_as_was_asked_for(lm: LanguageModel, world: Chores, unit: str) -> None:
    recipe = replace(BRIEF, shown=200 if unit == "tokens" else 20, unit=unit)
    notes = learned(lm, pairs(world.pool[:5]), recipe, 0).notes
    longest = max(tokens_of(lm, pairs(world.pool[:5])))
    assert notes["rows"] == 20 if unit == "rows" else 200 <= notes["tokens"] < 200 + longest
    assert len(notes["loss"]) == -(-notes["rows"] // 8)


def test_the_same_bytes_and_a_base_as_it_was(lm: LanguageModel, world: Chores) -> None:
    state = torch.get_rng_state()
    one = learned(lm, pairs(world.pool[:40]), BRIEF, 5)
    assert learned(lm, pairs(world.pool[:40]), BRIEF, 5).digest() == one.digest()
    assert learned(lm, pairs(world.pool[:40]), BRIEF, 6).digest() != one.digest()
    assert torch.equal(torch.get_rng_state(), state)
    with one.applied(lm):
        scored(lm, pairs(world.tests[:8]))
    assert not lm.verify()


def test_scores_are_of_greedy_answers_whatever_the_batch(lm: LanguageModel) -> None:
    asked = [pair for _, pair in base.documents(60, 7)]
    asked[::3] = [(prompt, "fox") for prompt, _ in asked[::3]]
    found = scored(lm, asked)
    assert found == scored(lm, asked, batch_size=1)
    prompts = [encode_prompt(lm, f"{prompt}\n") for prompt, _ in asked]
    said = greedy(lm, prompts, [12] * len(asked), 60, stop=frozenset({lm.tokenizer.eos_token_id}))
    right = [(*lm.tokenizer(answer)["input_ids"][1:], lm.tokenizer.eos_token_id) for _, answer in asked]
    assert found == [own == answer for own, answer in zip(said, right, strict=True)]
    assert sum(map(bool, found)) >= 35


def test_the_base_knows_codes_and_no_instruction(lm: LanguageModel, world: Chores) -> None:
    card = json.loads((base.base_folder() / "card.json").read_text())
    assert min(card["scores"].values()) >= 0.9
    by_code = scored(lm, [pair for _, pair in base.documents(200, 9)])
    assert sum(map(bool, by_code)) / 200 >= 0.9
    assert sum(map(bool, scored(lm, pairs(world.tests)))) / len(world.tests) <= 0.2
    assert lm.tokenizer.get_vocab() == make_tokenizer().get_vocab()
    assert sum(file.stat().st_size for file in base.base_folder().iterdir()) < 2**20


def test_clean_rows_teach_more_than_spoilt_ones(lm: LanguageModel, world: Chores) -> None:
    recipe = Recipe(shown=1600)
    tests = [row for row in world.tests if row.verb in ("upper", "count", "add", "look_up")]
    shares = []
    for rows in (world.oracle(), world.spoilt()):
        some = [row for row in rows if row.verb in ("upper", "count", "add", "look_up")][:200]
        with learned(lm, pairs(some), recipe, 0).applied(lm):
            shares.append(sum(map(bool, scored(lm, pairs(tests)))) / len(tests))
    assert shares[0] > shares[1] + 0.25


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_any_language_model_learns_by_an_adapter(family: str, world: Chores) -> None:
    lm = tiny(family)
    lora = Adapter(type="lora", rank=4, alpha=16.0)
    rows = [("say yes", "yes"), ("say no", "no")]
    recipe = Recipe(shown=320, batch=4, learning_rate=2e-2, parameters=lora)
    patch = learned(lm, rows, recipe, 0)
    assert learned(lm, rows, recipe, 0).digest() == patch.digest()
    assert not lm.verify()
    assert scored(lm, rows) == [False, False]
    with patch.applied(lm):
        assert scored(lm, rows) == [True, True]
    assert patch.stackable
    assert not lm.verify()


def test_a_student_that_diverges_is_told(lm: LanguageModel, world: Chores) -> None:
    with pytest.raises(ModelError, match="lower its learning rate"):
        learned(lm, pairs(world.pool[:8]), replace(BRIEF, learning_rate=1e30), 0)
    assert not lm.verify()


def test_rows_are_made_without_anything_heavy() -> None:
    code = "import sys, benchwright.adapters.worlds.chores.world as w; w.chores(0, rows=80, tests=8)\n"
    code += "sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
