"""The intrinsic track: each quality of a set of rows against a closed form, and the sets that are compared."""

from __future__ import annotations

from itertools import permutations
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import benchwright as bw
from benchwright.adapters.instruct.intrinsic.metrics import LIKELIHOOD, METRICS
from benchwright.adapters.instruct.intrinsic.qualities import grams, nearest_rouge, opening_surprises, qualities
from benchwright.adapters.instruct.rows import Row

WORDS = st.lists(st.sampled_from("abcde"), max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_the_nearest_text_is_rouge_score_s(texts: list[list[str]]) -> None:
    scorer = RougeScorer(["rougeL"])
    found = nearest_rouge(texts)
    expected = [0.0] * len(texts)
    for i, j in permutations(range(len(texts)), 2):
        f = scorer.score(" ".join(texts[i]), " ".join(texts[j]))["rougeL"].fmeasure
        expected[i] = max(expected[i], f)
    assert found == pytest.approx(expected, abs=1e-6)


def test_distinct_n_is_the_sum_of_new_n_grams_over_all() -> None:
    rows = [(["a", "b", "a"], ["c"]), (["a", "b"], ["c", "d"])]
    assert grams(rows, 1) == ([3.0, 1.0], [4.0, 4.0])  # a b c; d
    assert grams(rows, 2) == ([2.0, 1.0], [2.0, 2.0])  # "a b", "b a"; "c d": none across instruction and answer
    new, all_ = grams(rows, 2)
    assert sum(new) / sum(all_) == len({("a", "b"), ("b", "a"), ("c", "d")}) / 4


def test_the_entropy_of_openings() -> None:
    texts = [text.split() for text in ("write a poem now", "write the poem", "name a bird", "please name birds")]
    assert np.mean(opening_surprises(texts)) == pytest.approx(0.5 * log(2) + 0.5 * log(4))


def test_known_qualities() -> None:
    leaked = "one two three four five six seven eight nine ten eleven twelve thirteen"
    rows = [Row("0", "Say one thing", output=leaked), Row("1", "Say one thing", output=""), Row("2", "x", output="y z")]
    found = qualities(rows, [Row("e", leaked)], 0.7, 13)
    assert found["nearest_rouge"] == [1.0, 1.0, 0.0]
    assert found["near_duplicates"] == [1.0, 1.0, 0.0]
    assert found["valid"] == [1.0, 0.0, 1.0]
    assert found["contaminated"] == [1.0, 0.0, 0.0]
    assert found["output_words"] == [13.0, 0.0, 2.0]
    assert "contaminated" not in qualities(rows, [], 0.7, 13)


def test_every_set_has_every_quality() -> None:
    ids = {metric.id for metric in (*METRICS, *LIKELIHOOD)}
    for metric in ids - {"rows"}:
        base = metric.removesuffix(".random").removesuffix(".longest")
        assert {base, f"{base}.random", f"{base}.longest"} <= ids
    assert all(metric.better == "none" for metric in METRICS if metric.id.endswith((".random", ".longest")))


def test_a_cell_compares_sets_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    suite = tmp_path / "small.yaml"
    suite.write_text(
        "kind: suite\nname: small\nblocks:\n  - tasks: [intrinsic-likelihood]\n    methods: [rouge, exact-duplicates]\n"
        "    models: {scorer: stories260k}\n    limit: 40\n"
    )
    run = bw.run(str(suite), out=tmp_path / "run")
    records = run.records()
    assert len(run.cells()) == 2
    for column in ("nll_output", "ifd_loss_ratio", "mtld", "nearest_rouge", "output_words"):
        of = {
            (method, suffix): records[(records.method == method) & (records.metric == column + suffix)].value
            for method in ("rouge", "exact-duplicates")
            for suffix in ("", ".random", ".longest")
        }
        if column == "output_words":
            assert len({len(of["rouge", suffix]) for suffix in ("", ".random", ".longest")}) == 1
        # What keeps every row is equal to both of its rivals in every quality.
        assert (
            sorted(of["exact-duplicates", ""])
            == sorted(of["exact-duplicates", ".random"])
            == sorted(of["exact-duplicates", ".longest"])
        )
        assert len(of["exact-duplicates", ""]) > 20
