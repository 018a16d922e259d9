"""How questions become the pairs that a model is asked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from circuit_fixtures import WORDS, one, question, word_model
from lm_fixtures import tiny

from benchwright.adapters.circuits.items import Question
from benchwright.adapters.circuits.pairing import (
    ALIKE,
    ALONE,
    LENGTHS,
    SAME,
    SEVERAL,
    Told,
    paired,
    told_apart,
)
from benchwright.adapters.lm.model import LanguageModel
from benchwright.errors import DataError


@pytest.fixture(scope="module")
def words() -> LanguageModel:
    return word_model()


def lone(id: str, clean: str, *answers: str, group: str = "g") -> Question:
    """A question that needs a counterpart."""
    return Question(id=id, clean=clean, answers=answers, group=group)


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.index(word) for word in text.split())


def test_a_pair_is_its_prompts_and_answers_as_tokens(words: LanguageModel) -> None:
    found = one(words, question(answers=("c", "e"), wrongs=("d",)))
    assert not found.skipped
    (pair,) = found.pairs
    assert (pair.clean, pair.corrupt, pair.answer, pair.wrong) == (ids("a is"), ids("b is"), ids("c e"), ids("d"))
    assert words.verify() == []


def test_token_ids_are_taken_as_they_are_and_checked(words: LanguageModel) -> None:
    given = question(clean=(1, 11), corrupt=(2, 11), answers=(3,), wrongs=(4, 5))
    (pair,) = one(words, given).pairs
    assert (pair.clean, pair.corrupt, pair.answer, pair.wrong) == ((1, 11), (2, 11), (3,), (4, 5))
    for bad in ({"clean": (1, 13)}, {"corrupt": (-1, 11)}, {"answers": (99,)}):
        assert one(words, replace(given, **bad)).skipped == {"q": "a token id is not in the vocabulary"}
    with pytest.raises(DataError, match=r"question 'q': .*13 is not one of 0 to 12"):
        paired(words, [replace(given, clean=(1, 13))], strict=True, answers="single")
    assert "token ids" in one(words, replace(given, answers=("c",))).skipped["q"]
    # Ids as answers behind text are what the model would have to say, too.
    assert one(words, question(answers=(3,), wrongs=(4,))).pairs[0].answer == (3,)


def test_unequal_prompts_are_shown_token_by_token(words: LanguageModel) -> None:
    bad = question(clean="a of b is", corrupt="a of c d is")
    assert one(words, bad).skipped == {"q": LENGTHS}
    expected = (
        "question 'q': clean and corrupt prompt have different numbers of tokens: clean ['a', 'of', 'b', 'is'] has 4, "
        "corrupt ['a', 'of', 'c', 'd', 'is'] has 5; out of step at position 2 (from 0): ['b'] against ['c', 'd']"
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        paired(words, [question("fine"), bad], strict=True, answers="first_differing")
    # An unknown word and another one are the same token.
    assert one(words, question(clean="x is", corrupt="y is")).skipped == {"q": SAME}


def test_what_cannot_be_asked_is_skipped_with_a_reason(words: LanguageModel) -> None:
    reasons = one(
        words,
        question("fine"),
        question("unknown", answers=("Paris",)),
        question("unknown-wrong", wrongs=("Paris",)),
        question("long", clean=" ".join("abcdefab"), corrupt=" ".join("abcdefba")),
        question("nothing", clean=" ", corrupt="a"),
        question("alike", wrongs=("c",)),
        question("beginning", answers=("New",), wrongs=("New York",)),
        question("no-wrong", wrongs=()),
    )
    assert [q.id for q in reasons.questions] == ["fine"]
    assert [pair.id for pair in reasons.pairs] == ["fine"]
    assert "does not know" in reasons.skipped["unknown"]
    assert "does not know" in reasons.skipped["unknown-wrong"]
    with pytest.raises(DataError, match=r"question 'q': .* tokenizer does not know: 'Paris' behind 'a is'"):
        paired(words, [question(wrongs=("d", "Paris"))], strict=True, answers="single")
    assert "context of 8 tokens" in reasons.skipped["long"]
    assert "no token" in reasons.skipped["nothing"]
    assert reasons.skipped["alike"] == reasons.skipped["beginning"] == ALIKE
    assert "no answer" in reasons.skipped["no-wrong"]


def test_answers_of_several_tokens_part_where_they_differ_or_are_refused(words: LanguageModel) -> None:
    given = question(answers=("New York",), wrongs=("New Jersey",))
    (pair,) = one(words, given).pairs
    assert (pair.clean, pair.corrupt) == (ids("a is New"), ids("b is New"))
    assert (pair.answer, pair.wrong) == (ids("York"), ids("Jersey"))
    assert one(words, given, answers="single").skipped == {"q": SEVERAL}
    # Nothing is put behind the prompts when the first tokens differ.
    assert one(words, question(answers=("New York",), wrongs=("Texas",))).pairs[0].clean == ids("a is")


def test_what_answers_have_in_common_must_fit_the_context(words: LanguageModel) -> None:
    fits = question(answers=("New York",), wrongs=("New Jersey",), clean="a b c d e f", corrupt="b b c d e f")
    assert len(one(words, fits).pairs[0].clean) == 7
    assert "context" in one(words, replace(fits, clean="a b c d e f a", corrupt="b b c d e f a")).skipped["q"]


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        # One against one: the first token that differs.
        ([(1, 2)], [(1, 3)], Told((1,), (2,), (3,))),
        ([(1,)], [(2, 3)], Told((), (1,), (2,))),
        ([(1,)], [(1, 2)], None),
        ([(1,)], [(1,)], None),
        # 34 to 36 against 31 to 33, digit by digit with limit 33: only the second digit tells.
        ([(3, 4), (3, 5), (3, 6)], [(3, 1), (3, 2), (3, 3)], Told((3,), (4, 5, 6), (1, 2, 3))),
        # Later than 13 below 40: more are told apart by the first digit than by the second, so 1 is left out.
        (
            [(1, 4), (1, 5), *[(t, o) for t in (2, 3) for o in range(10)]],
            [(1, 1), (1, 2), (1, 3), (0, 1)],
            Told((), (2, 3), (0,)),
        ),
        # Two odd ones that are one token part from the rest at once; the rest decides.
        ([(1, 5), (1, 6), (1, 7), (8,)], [(1, 2), (1, 3), (9,)], Told((1,), (5, 6, 7), (2, 3))),
        # No wrong one parts here, so what is shared is followed.
        ([(1, 2), (5,)], [(1, 3)], Told((1,), (2,), (3,))),
        ([(1, 2), (1, 2)], [(3,)], Told((), (1,), (3,))),
        ([], [(1,)], None),
    ],
)
def test_where_answers_are_told_apart(right: Any, wrong: Any, expected: Told | None) -> None:
    assert told_apart(right, wrong) == expected
    mirrored = told_apart(wrong, right)
    assert mirrored == (None if expected is None else Told(expected.shared, expected.wrong, expected.right))


def test_a_counterpart_is_of_the_group_as_long_and_answered_otherwise(words: LanguageModel) -> None:
    asked = [
        lone("a", "a is", "c"),
        lone("same-answer", "b is", "c"),
        lone("longer", "a of b is", "d"),
        lone("elsewhere", "e is", "d", group="h"),
        lone("also-right", "f is", "d", "c"),
        lone("alone", "d is", "e", group="i"),
        Question("paired-already", "c is", ("f",), "d is", ("a",), group="g"),
    ]
    found = one(words, *asked)
    assert set(found.skipped) == {"a", "same-answer", "longer", "elsewhere", "also-right", "alone"}
    assert set(found.skipped.values()) == {ALONE}
    (pair,) = one(words, *asked, lone("other", "d is", "e")).pairs[:1]
    assert (pair.id, pair.corrupt, pair.answer, pair.wrong) == ("a", ids("d is"), ids("c"), ids("e"))
    with pytest.raises(DataError, match="question 'a': no question of its group"):
        paired(words, asked, strict=True, answers="first_differing")


def test_a_counterpart_whose_answer_begins_otherwise_goes_first(words: LanguageModel) -> None:
    york, jersey, texas = (
        lone("1", "a is", "New York"),
        lone("2", "b is", "New Jersey"),
        lone("3", "c is", "Texas"),
    )
    found = {pair.id: pair for pair in one(words, york, jersey, texas).pairs}
    assert found["1"].corrupt == found["2"].corrupt == ids("c is")
    assert found["1"].wrong == ids("Texas")
    alone = one(words, york, jersey).pairs[0]
    assert (alone.clean, alone.answer, alone.wrong) == (ids("a is New"), ids("York"), ids("Jersey"))


def test_counterparts_depend_on_no_order_and_on_few_others() -> None:
    lm = tiny("gpt2")
    asked = [lone(f"q{i}", f"{i:02d} is", "abcdefgh"[i % 8]) for i in range(60)]
    found = {pair.id: pair for pair in one(lm, *asked).pairs}
    assert len(found) == 60
    assert {pair.id: pair for pair in one(lm, *reversed(asked)).pairs} == found
    for left_out in ("q0", "q17", "q59"):
        without = {pair.id: pair for pair in one(lm, *(q for q in asked if q.id != left_out)).pairs}
        gone = next(q for q in asked if q.id == left_out)
        tokens = tuple(lm.tokenizer(gone.clean)["input_ids"])
        changed = {id for id in without if without[id] != found[id]}
        assert changed == {id for id in found if found[id].corrupt[: len(tokens)] == tokens and id != left_out}
