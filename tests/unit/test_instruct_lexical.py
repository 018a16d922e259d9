"""Words, lengths, diversity, code, rules, and choices without judgement."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruct_fixtures import LONG, ODD
from lexicalrichness import LexicalRichness
from pydantic import ValidationError

from benchwright.adapters.instruct.code import Complexity, cirs, complexity, complexity_easyinstruct
from benchwright.adapters.instruct.lexical import mtld, mtld_easyinstruct
from benchwright.adapters.instruct.methods.choosing import Longest, Random, RandomEasyinstruct
from benchwright.adapters.instruct.methods.code import Cirs, CirsEasyinstruct
from benchwright.adapters.instruct.methods.lexical import (
    Length,
    LengthEasyinstruct,
    Mtld,
    MtldEasyinstruct,
    Rules,
    Span,
)
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.adapters.instruct.texts import ascii_words, is_code, scripts, unicode_words


def _through(stage: Stage, rows: Sequence[Row], seed: int = 0) -> list[Outcome]:
    return list(stage.run(iter(rows), Workbench(seed=seed, name="it")))


def _kept(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.id for o in outcomes if isinstance(o, Row)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don’t stop, can't STOP!", ["dont", "stop", "cant", "stop"]),
        ("snake_case x2 3.5", ["snake", "case", "x2", "3", "5"]),
        ("Straße ＦＵＬＬ ﬁne", ["strasse", "full", "fine"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("春天abc来", ["春", "天", "abc", "来"]),
        ("カタ ひら", ["カ", "タ", "ひ", "ら"]),
        ("한국어 말", ["한국어", "말"]),
        ("🐱 \ud800 —", []),
    ],
)
def test_words_in_any_script(text: str, words: list[str]) -> None:
    assert unicode_words(text) == words


def test_ascii_words_are_those_of_rouge_score() -> None:
    from rouge_score.tokenize import tokenize

    for text in ("Don't stop, été 春 İx_Y2--z", "", "\ud800", "A\tb\nC"):
        assert ascii_words(text) == tokenize(text, None)


def test_mtld_of_a_text_that_can_be_counted_by_hand() -> None:
    # a b a: 2/3 <= 0.72, a factor after three words; "c d" is left, with a ratio of 1. Backward: d c a b a, at the
    # end 4/5: (1 - 0.8) / (1 - 0.72) of a factor.
    assert mtld(["a", "b", "a", "c", "d"]) == pytest.approx((5 / 1 + 5 / (0.2 / 0.28)) / 2)


def test_mtld_is_not_defined_where_no_word_comes_twice() -> None:
    assert mtld([]) is None
    assert mtld(["a", "b"]) is None
    assert mtld_easyinstruct("a b") == 2
    assert mtld_easyinstruct("12 34 !") is None


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab c-–1.d'", min_size=1, max_size=60))
def test_the_peers_mtld_is_that_of_lexicalrichness(text: str) -> None:
    if (lexicon := LexicalRichness(text)).words:
        assert mtld_easyinstruct(text) == lexicon.mtld(threshold=0.72)
    else:
        assert mtld_easyinstruct(text) is None


def test_rows_without_mtld_are_kept_unless_they_are_not_wanted() -> None:
    rows = [Row("0", "i", output="all words differ"), Row("1", "i", output="a b a c d")]
    outcomes = _through(Mtld(type="mtld"), rows)
    assert [o.scores["it"] for o in outcomes if isinstance(o, Row)] == [None, pytest.approx(6.0)]
    outcomes = _through(Mtld(type="mtld", undefined="reject", minimum=6.5), rows)
    assert [o.reason for o in outcomes if isinstance(o, Rejected)] == ["has no score", "below the minimum"]
    assert _kept(_through(MtldEasyinstruct(type="mtld-easyinstruct"), [Row("0", "123")])) == []


def test_lengths_are_inclusive_and_say_what_is_too_long() -> None:
    rows = [
        Row("0", "one two", output="a b c"),
        Row("1", "one two three", output="a"),
        Row("2", "one", output="春天来了"),
    ]
    outcomes = _through(Length(type="length", instruction=Span(most=2), output=Span(least=1, most=3)), rows)
    assert _kept(outcomes) == ["0"]
    rejected = [(o.reason, o.value) for o in outcomes if isinstance(o, Rejected)]
    assert rejected == [("instruction too long", 3.0), ("output too long", 4.0)]
    chinese = [Row("0", "请写一首诗", output="春天来了")]
    assert _kept(_through(Length(type="length", instruction=Span(least=3)), chinese)) == ["0"]
    assert _kept(_through(LengthEasyinstruct(type="length-easyinstruct"), chinese)) == []
    with pytest.raises(ValidationError, match="`most` is below `least`"):
        Span(least=3, most=2)


def test_a_random_choice_knows_no_order_and_grows() -> None:
    rows = [Row(f"row {i}", "x") for i in range(200)]
    mixed = random.Random(0).sample(rows, 200)
    some = _kept(_through(Random(type="random", n=20), rows))
    assert len(some) == 20
    assert set(_kept(_through(Random(type="random", n=20), mixed))) == set(some)
    assert set(_kept(_through(Random(type="random", n=40), rows))) > set(some)
    assert _kept(_through(Random(type="random", n=20), rows, seed=1)) != some
    assert some == [row.id for row in rows if row.id in some]
    assert len(_kept(_through(Random(type="random", n=300), rows))) == 200
    assert _kept(_through(Random(type="random", share=0.1), rows)) == some
    assert _kept(_through(Random(type="random", share=0.5), [])) == []


def test_every_row_is_as_likely_to_be_drawn() -> None:
    rows = [Row(str(i), "x") for i in range(10)]
    counts = dict.fromkeys((row.id for row in rows), 0)
    for seed in range(300):
        for id in _kept(_through(Random(type="random", n=3), rows, seed)):
            counts[id] += 1
    assert all(abs(count - 90) < 5 * math.sqrt(300 * 0.3 * 0.7) for count in counts.values())


def test_the_peers_choice_is_pythons() -> None:
    rows = [Row(str(i), "x") for i in range(20)]
    drawn = _kept(_through(RandomEasyinstruct(type="random-easyinstruct", n=5), rows))
    assert drawn == [rows[i].id for i in random.Random(42).sample(range(20), 5)]
    assert len(_kept(_through(RandomEasyinstruct(type="random-easyinstruct", n=50), rows))) == 20


def test_the_longest_are_kept_and_of_equal_ones_the_earlier() -> None:
    rows = [Row(str(i), "x", output=text) for i, text in enumerate(("a b", "a", "a b c", "c d", "abcdefgh"))]
    outcomes = _through(Longest(type="longest", n=2), rows)
    assert _kept(outcomes) == ["0", "2"]
    assert {(o.row.id, o.value) for o in outcomes if isinstance(o, Rejected)} == {("1", 1), ("3", 2), ("4", 1)}
    assert _kept(_through(Longest(type="longest", n=1, unit="characters"), rows)) == ["4"]


CODE = "```python\nfor i in [x for x in range(9) if x]:\n    if i and i > 1:\n        print(i)\n```"


def test_what_a_piece_of_code_counts() -> None:
    assert complexity("```py\nx = 1 + 2\n```") == Complexity(
        nodes=8,  # Module, Assign, Name, Store, BinOp, Constant, Add, Constant
        depth=4,
        kinds=7,
        logic=2 / 2 * 3 / 3,  # Assign and Add; x, 1 and 2; no decision
    )
    found = complexity(CODE)
    assert found is not None
    # For, If, comprehension, its if, `and`: V = 6. Operators: For, Call, If, And, Gt, Expr.
    # Operands: i, x, x, range, 9, x, i, i, 1, print, i.
    assert found.logic == pytest.approx(6 / 2 * 11 / 6 * 6)


def test_code_is_found_in_fences_of_python_only_and_survives_what_is_no_python() -> None:
    assert complexity("no code") is None
    assert complexity("```js\nlet x = 1;\n```") is None
    assert complexity("```python\nthis is no python\n```") is None
    assert complexity("```python\nno python at all\n```\n```PY\nx = 1\n```") == complexity("```py\nx = 1\n```")
    assert complexity("```python\nx = 1") == complexity("```py\nx = 1\n```")
    assert complexity("```python\n    x = 1\n```") == complexity("```py\nx = 1\n```")
    assert complexity("```python\n" + "(" * 5000 + ")" * 5000 + "\n```") is None
    assert complexity_easyinstruct("```py\nx = 1\n```") is None
    assert complexity_easyinstruct("```python\nx = = 1\ny = 2\n```") == complexity_easyinstruct(
        "```python\n# x = = 1\ny = 2\n```"
    )


def test_scores_are_relative_and_in_the_middle_for_equal_pieces() -> None:
    small, large = Complexity(5, 3, 4, 1.0), Complexity(15, 5, 8, 3.0)
    assert cirs([small, small]).score.tolist() == [0.25, 0.25]
    sigmoid = 1 / (1 + math.e)
    assert cirs([small, large]).score.tolist() == pytest.approx([sigmoid**2, (1 - sigmoid) ** 2])
    assert cirs([]).score.tolist() == []


def test_rows_without_code_have_no_score() -> None:
    rows = [Row("0", "x", output="no"), Row("1", "x", output=CODE), Row("2", "x", output="```python\nx = 1\n```")]
    outcomes = _through(Cirs(type="cirs"), rows)
    assert _kept(outcomes) == ["0", "1", "2"]
    scores = [o.scores["it"] for o in outcomes if isinstance(o, Row)]
    assert scores[0] is None
    assert (scores[1] or 0) > (scores[2] or 1)
    assert _kept(_through(Cirs(type="cirs", undefined="reject"), rows)) == ["1", "2"]


def test_scripts_and_code() -> None:
    assert scripts("aé я 春は 1!") == {"LATIN": 2, "CYRILLIC": 1, "HAN": 2}
    assert is_code("def f(x):\n    return x")
    assert not is_code("A sentence; and another one.")


@pytest.mark.parametrize(
    "stage",
    [
        Length(type="length"),
        LengthEasyinstruct(type="length-easyinstruct"),
        Random(type="random", n=2),
        RandomEasyinstruct(type="random-easyinstruct", n=2),
        Longest(type="longest", n=2),
        Mtld(type="mtld"),
        MtldEasyinstruct(type="mtld-easyinstruct"),
        Cirs(type="cirs"),
        CirsEasyinstruct(type="cirs-easyinstruct"),
        Rules(type="rules"),
    ],
    ids=lambda stage: str(stage.type),
)
def test_odd_and_long_rows_go_through(stage: Stage) -> None:
    rows = [Row(str(i), text, text, text) for i, text in enumerate([*ODD, *LONG])]
    assert len(_through(stage, rows)) == len(rows)
