"""Near-duplicates: the exact search against brute force, what is compared, what a rejection says."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchwright.adapters.instruct.methods.duplicates import (
    Contamination,
    DedupEasyinstruct,
    ExactDuplicates,
    Minhash,
    NamedFile,
    Rouge,
    RougeEasyinstruct,
)
from benchwright.adapters.instruct.rows import Rejected, Row, Turn
from benchwright.adapters.instruct.similar import rouge
from benchwright.adapters.instruct.similar.minhash import MinHashIndex
from benchwright.adapters.instruct.similar.nearest import recall
from benchwright.adapters.instruct.similar.rouge import RougeIndex, f_measure, f_measures
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.errors import DataError

WORDS = "abcdefgh"
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=24), max_size=24)


def _through(stage: Stage, rows: Sequence[Row], **bench: Any) -> list[Outcome]:
    return list(stage.run(iter(rows), Workbench(seed=0, name="it", **bench)))


def _asked(*instructions: str) -> list[Row]:
    return [Row(str(i), text, output="o") for i, text in enumerate(instructions)]


def _kept(outcomes: list[Outcome]) -> list[str]:
    return [o.id for o in outcomes if isinstance(o, Row)]


def _lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """By the textbook's table."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = row
        row = [0]
        for j, y in enumerate(b):
            row.append(before[j] + 1 if x == y else max(before[j + 1], row[j]))
    return row[-1]


def _brute(rows: list[list[str]], threshold: float) -> list[tuple[float, int] | None]:
    """For each row the highest F with a kept row and the first row that has it; None for a row that is kept."""
    kept: list[int] = []
    found: list[tuple[float, int] | None] = []
    for i, words in enumerate(rows):
        values = [(f_measure(_lcs(words, rows[k]), len(words), len(rows[k])), -k) for k in kept]
        value, k = max(values, default=(0.0, 0))
        found.append((value, -k) if value > threshold else None)
        if found[-1] is None:
            kept.append(i)
    return found


def _indexed(rows: list[list[str]], threshold: float, first: int) -> list[tuple[float, int] | None]:
    index = RougeIndex(threshold, rows[:first])
    found: list[tuple[float, int] | None] = []
    for i, words in enumerate(rows):
        coded = index.code(words)
        near = index.nearest(coded)
        found.append(None if near is None else (near.value, int(near.id)))
        if near is None:
            index.add(coded, str(i))
    return found


@settings(max_examples=300, deadline=None)
@given(texts, st.floats(0.001, 0.999), st.integers(0, 24))
@example([list("abcdefg"), list("abcdefgijklmn"[:13])], 0.7, 0)
@example([[], [], ["a"], ["a"], ["b"]], 0.5, 2)
def test_the_search_is_exact_at_any_threshold(rows: list[list[str]], threshold: float, first: int) -> None:
    assert _indexed(rows, threshold, first) == _brute(rows, threshold)


def test_thresholds_that_pairs_meet_exactly_are_decided_as_rouge_score_does() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    met = 0
    for m in range(1, 15):
        for n in range(m, 30):
            a, b = [f"w{i}" for i in range(m)], [f"w{i}" for i in range(n)]
            truth = scorer.score(" ".join(a), " ".join(b))["rougeL"].fmeasure
            assert f_measure(m, n, m) == truth
            for threshold in {2 * m / (m + n), truth} - {1.0}:
                met += 1
                assert (_indexed([b, a], threshold, 0)[1] is not None) == (truth > threshold)
    assert met > 300


def test_seven_of_seven_and_thirteen_words_is_just_above_seven_tenths() -> None:
    rows = _asked("a b c d e f g h i j k l m", "a b c d e f g")
    rejected = _through(Rouge(type="rouge"), rows)[1]
    assert isinstance(rejected, Rejected)
    assert (rejected.value, rejected.neighbour) == (0.7000000000000001, "0")


def test_more_words_than_characters_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    rows = [[draw.choice(WORDS) for _ in range(draw.randint(0, 12))] for _ in range(60)]
    wanted = _brute(rows, 0.6)
    assert any(wanted)
    monkeypatch.setattr(rouge.sys, "maxunicode", 5)
    assert _indexed(rows, 0.6, 10) == wanted


def test_half_of_a_pair_of_surrogates_may_stand_for_a_word() -> None:
    rows = [[f"w{i}" for i in range(0xD7F0, 0xE010)], [f"w{i}" for i in range(0xD7F0, 0xE010)]]
    index = RougeIndex(0.9, [[f"w{i}" for i in range(0xE010)]])
    index.add(index.code(rows[0]), "0")
    assert index.nearest(index.code(rows[1])) == (1.0, "0")


def test_the_neighbour_is_the_nearest_of_all_kept_rows_and_not_the_first_found() -> None:
    rows = _asked(
        "name four large rivers in asia", "name four large old rivers in europe now", "name four rivers in europe"
    )
    stage = Rouge(type="rouge", threshold=0.75)
    rejected = _through(stage, [*rows[:2], Row("2", "name four large old rivers in asia now")])[2]
    assert isinstance(rejected, Rejected)
    assert rejected.neighbour == "1"
    assert rejected.value == pytest.approx(2 * 7 / 16)


def test_the_search_compares_few_pairs() -> None:
    draw = random.Random(1)
    vocabulary = [f"w{i}" for i in range(2000)]
    index = RougeIndex(0.7)
    for i in range(1000):
        coded = index.code([vocabulary[int(2000 * draw.random() ** 3)] for _ in range(10)])
        index.nearest(coded)
        index.add(coded, str(i))
    assert index.compared < 0.02 * 1000 * 999 / 2


def test_texts_in_any_script_are_compared_by_unicode_words_and_not_by_ascii_ones() -> None:
    rows = _asked("请写一首关于春天的诗。", "请写一首关于春天的诗歌", "Напиши стих о весне", "напиши стих о весне!")
    assert _kept(_through(Rouge(type="rouge"), rows)) == ["0", "2"]
    assert _kept(_through(Rouge(type="rouge", tokeniser="ascii"), rows)) == ["0", "1", "2", "3"]


def test_f_of_many_is_f_of_each() -> None:
    index = RougeIndex(0.5)
    coded = [index.code(words) for words in (list("abcd"), [], list("abxd"), list("zz"))]
    assert f_measures(coded[0], coded).tolist() == [1.0, 0.0, f_measure(3, 4, 4), 0.0]


def test_the_peers_filter_yields_a_shuffled_order_and_means() -> None:
    rows = _asked("a b c d", "a b c e", "x y", "a b c d")
    outcomes = _through(RougeEasyinstruct(type="rouge-easyinstruct", threshold=0.8, seed=3), rows)
    order = list(range(4))
    random.Random(3).shuffle(order)
    assert [int((o.row if isinstance(o, Rejected) else o).id) for o in outcomes] == order
    kept = [o for o in outcomes if isinstance(o, Row)]
    assert len(kept) == 3
    assert kept[0].scores["it"] is None
    assert sorted(row.scores["it"] or 0 for row in kept) == [0, 0, 0.375]


def test_duplicates_differ_in_nothing_but_case_space_and_width() -> None:
    rows = [
        Row("0", "Name a river.", output="Rhine"),
        Row("1", "name  a river.\n", output="ＲＨＩＮＥ"),
        Row("2", "Name a river.", output="Elbe"),
        Row("3", "Name a river.", "in Asia", "Rhine"),
        Row("4", "Name a river.", output="Rhine", earlier=(Turn("user", "Hi"),)),
    ]
    outcomes = _through(ExactDuplicates(type="exact_duplicates"), rows)
    assert _kept(outcomes) == ["0", "2", "3", "4"]
    assert [o.neighbour for o in outcomes if isinstance(o, Rejected)] == ["0"]
    assert _kept(_through(ExactDuplicates(type="exact_duplicates", compare="prompt"), rows)) == ["0", "3", "4"]
    assert _kept(_through(ExactDuplicates(type="exact_duplicates", compare="instruction"), rows)) == ["0"]


def test_fields_do_not_run_into_each_other() -> None:
    rows = [Row("0", "a b", "c", "d"), Row("1", "a", "b c", "d")]
    assert _kept(_through(ExactDuplicates(type="exact_duplicates"), rows)) == ["0", "1"]


def test_the_peers_deduplicator_keeps_duplicates_and_skips_an_instance_behind_a_dropped_one() -> None:
    same = _asked("a", "a")
    stage = DedupEasyinstruct(type="dedup-easyinstruct")
    assert len(_kept(_through(stage, same))) == 2
    instances = [{"input": "a", "output": "a"}, {"input": "b", "output": ""}, {"input": "c", "output": "d"}]
    row = Row("0", "x", "a", "a", record={"instruction": "x", "instances": instances})
    (kept,) = _through(stage, [row])
    assert isinstance(kept, Row)
    assert kept.record == {"instruction": "x", "instances": instances[1:]}
    assert (kept.input, kept.output) == ("b", "")
    assert len(instances) == 3


@pytest.mark.parametrize("verify", [True, False])
def test_minhash_finds_copies_and_leaves_strangers(verify: bool) -> None:
    draw = random.Random(2)
    rows = [[f"w{draw.randrange(500)}" for _ in range(40)] for _ in range(50)]
    near = [[*words[:39], "new"] for words in rows]
    instructions = [" ".join(words) for words in (*rows, *near)] + ["", "", "word", "word"]
    outcomes = _through(Minhash(type="minhash", threshold=0.7, ngram=2, verify=verify), _asked(*instructions))
    assert _kept(outcomes) == [str(i) for i in (*range(50), 100, 101, 102)]
    rejected = [o for o in outcomes if isinstance(o, Rejected)]
    assert [o.neighbour for o in rejected] == [str(i) for i in (*range(50), 102)]
    assert rejected[0].value == pytest.approx(38 / 40, abs=0 if verify else 0.15)


def test_recall_counts_what_the_other_index_misses() -> None:
    rows = [list("abcdefgh"), list("abcdefgh"), list("abcdxfgh"), list("qrstuvwx")]
    exact = recall(rows, RougeIndex(0.7), MinHashIndex(0.95, ngram=3))
    assert (exact.wanted, exact.found, exact.extra, exact.value) == (2, 1, 0, 0.5)
    assert recall([], RougeIndex(0.7), MinHashIndex(0.95, ngram=3)).value is None


def _evaluation(folder: Path, *records: Any) -> dict[str, Path]:
    file = folder / "asked.jsonl"
    file.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return {"evaluations.0.file": file}


def _contamination(**options: Any) -> Contamination:
    named = NamedFile(name="exam", file="asked.jsonl", fields=("question", "answer"))
    return Contamination(type="contamination", evaluations=(named,), **options)


def test_thirteen_words_in_common_contaminate_and_twelve_do_not(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(20)]
    files = _evaluation(tmp_path, {"question": "short"}, {"id": "q7", "question": " ".join(words), "answer": ""})
    rows = [
        Row("0", "tell me", output="Well: " + ", ".join(words[3:16]).upper() + "!"),
        Row("1", "tell me", output=" ".join(words[3:15])),
        Row("2", "short", output=" ".join(words[:10]) + " and " + " ".join(words[10:])),
    ]
    outcomes = _through(_contamination(), rows, files=files)
    assert _kept(outcomes) == ["1", "2"]
    (rejected,) = (o for o in outcomes if isinstance(o, Rejected))
    assert (rejected.reason, rejected.neighbour, rejected.value) == ("n-grams of exam", "exam/q7", 1.0)


def test_a_short_item_is_looked_for_as_a_whole_and_a_very_short_one_not_at_all(tmp_path: Path) -> None:
    eight = "one two three four five six seven eight"
    files = _evaluation(tmp_path, {"question": eight}, {"question": "nine ten"})
    rows = [Row("0", f"say {eight} again"), Row("1", "nine ten"), Row("2", eight.rsplit(" ", 1)[0])]
    assert _kept(_through(_contamination(), rows, files=files)) == ["1", "2"]


def test_a_paraphrased_question_is_near_by_rouge(tmp_path: Path) -> None:
    files = _evaluation(tmp_path, {"question": "Which river runs through the town of Cologne?"})
    rows = [Row("0", "Which river runs through the city of Cologne?"), Row("1", "Name a river")]
    assert _kept(_through(_contamination(), rows, files=files)) == ["0", "1"]
    outcomes = _through(_contamination(rouge=0.8), rows, files=files)
    assert _kept(outcomes) == ["1"]
    assert isinstance(outcomes[0], Rejected)
    assert (outcomes[0].reason, outcomes[0].neighbour) == ("near an item of exam", "exam/0")
    assert outcomes[0].value == pytest.approx(7 / 8)


def test_an_evaluation_without_the_named_text_is_an_error_that_says_where(tmp_path: Path) -> None:
    files = _evaluation(tmp_path, {"question": "a"}, {"prompt": "b"})
    with pytest.raises(DataError, match=r"asked\.jsonl: line 2: .*question or answer.*`fields`"):
        _through(_contamination(), _asked("a"), files=files)


ODD = ["", " ", "12 34", "请写一首关于春天的诗。", "🐱🐱", "\ud800 half \udfff", "ไม่มีช่องว่าง", "x " * 50_000, "\x00\x07"]


@pytest.mark.parametrize(
    "stage",
    [
        ExactDuplicates(type="exact_duplicates"),
        DedupEasyinstruct(type="dedup-easyinstruct"),
        Rouge(type="rouge"),
        RougeEasyinstruct(type="rouge-easyinstruct"),
        Minhash(type="minhash"),
        _contamination(rouge=0.7),
    ],
    ids=lambda stage: str(stage.type),
)
def test_odd_rows_go_through(stage: Stage, tmp_path: Path) -> None:
    files = _evaluation(tmp_path, {"question": "a"})
    rows = [Row(str(i), text, text, text) for i, text in enumerate(ODD)]
    assert len(_through(stage, rows, files=files)) == len(ODD)
