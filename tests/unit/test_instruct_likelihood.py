"""Perplexity, the three quantities called IFD, and DEITA's grades, against closed forms and direct computations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tokenizers import normalizers, processors

from benchwright.adapters.instruct.likelihood import losses, mean_loss, perplexity, read, windows
from benchwright.adapters.instruct.methods.deita import DeitaComplexity, DeitaQuality, expected_grade
from benchwright.adapters.instruct.methods.likelihood import (
    IfdCherry,
    IfdDataJuicer,
    IfdSuperfiltering,
    ModelScored,
    Perplexity,
    PerplexityEasyInstruct,
    filled,
)
from benchwright.adapters.instruct.rows import Rejected, Row, Turn
from benchwright.adapters.instruct.stage import Outcome, Workbench
from benchwright.adapters.lm.loading import open_folder
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.params import Seeded
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import ModelError

OPENING = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
STAGES: tuple[ModelScored, ...] = (
    Perplexity(type="perplexity"),
    Perplexity(type="perplexity", of="output_given_prompt", window=64, stride=48),
    PerplexityEasyInstruct(type="perplexity-easyinstruct", maximum=None),
    IfdCherry(type="ifd-cherry"),
    IfdSuperfiltering(type="ifd-superfiltering"),
    IfdDataJuicer(type="ifd-data-juicer"),
    DeitaComplexity(type="deita-complexity"),
    DeitaQuality(type="deita-quality"),
)
ROWS = [
    Row("plain", "Name a colour.", output="Blue, as the sky is."),
    Row("input", "Add.", "2 and 3", "5, or five in a word"),
    Row("long", "Count.", output=" ".join(map(str, range(150)))),
    Row("last", "Say hello.", output="Hello there, my friend!"),
]
EDGES = ("", "1", "12345", "春眠不觉晓", "🦜🦜", "half \ud83d of it", "x" * 100_000)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """Reads 640 bytes."""
    return Seeded(type="seeded", context=640, width=32, layers=1).open(OPENING)


def run(stage: ModelScored, lm: LanguageModel, rows: list[Row]) -> list[Outcome]:
    return list(stage.run(iter(rows), Workbench(0, "s", models={"scorer": lm})))


def scores(stage: ModelScored, lm: LanguageModel, rows: list[Row]) -> list[float | None]:
    return [(o.row if isinstance(o, Rejected) else o).scores["s"] for o in run(stage, lm, rows)]


def token_losses(lm: LanguageModel, text: str) -> list[float]:
    """By transformers itself, of each token but the first."""
    ids = lm.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = lm.model(ids).logits[0, :-1]
    return [float(x) for x in torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("tokens", "start", "window", "stride"), [(50, 1, 8, 3), (8, 1, 8, 7), (9, 1, 8, 1), (40, 25, 8, 5)]
)
def test_windows_score_every_token_once(tokens: int, start: int, window: int, stride: int) -> None:
    pieces = list(windows(tokens, start, window, stride))
    assert [i for p in pieces for i in range(p.first, p.end)] == list(range(start, tokens))
    assert all(p.end - p.begin <= window for p in pieces)
    assert all(p.first - p.begin >= min(window - stride, p.first) for p in pieces if p.first < p.end)


def test_perplexity_is_what_transformers_computes(lm: LanguageModel) -> None:
    text = ROWS[0].output
    (found,) = scores(Perplexity(type="perplexity"), lm, [ROWS[0]])
    assert found == pytest.approx(math.exp(mean(token_losses(lm, text))), rel=1e-5)
    (found,) = scores(Perplexity(type="perplexity", of="output_given_prompt"), lm, [ROWS[0]])
    given = token_losses(lm, ROWS[0].instruction + "\n" + text)[-len(text) :]
    assert found == pytest.approx(math.exp(mean(given)), rel=1e-5)


def test_perplexity_of_a_long_text_weighs_tokens_and_not_windows(lm: LanguageModel) -> None:
    text = "ab c" * 50  # 201 tokens with the one in front
    (found,) = scores(Perplexity(type="perplexity", window=64, stride=48), lm, [Row("a", "", output=text)])
    ids = lm.tokenizer(text).input_ids
    nll, done = [], 1
    for begin in range(0, 201, 48):
        end = min(begin + 64, 201)
        with torch.no_grad():
            logp = lm.model(torch.tensor([ids[begin:end]])).logits[0].log_softmax(-1)
        nll += [-float(logp[i - begin - 1, ids[i]]) for i in range(done, end)]
        done = end
        if end == 201:
            break
    assert len(nll) == 200
    assert found == pytest.approx(math.exp(mean(nll)), rel=1e-5)


@pytest.mark.parametrize("length", [2, 700, 1151, 1300])
def test_perplexity_of_easyinstruct_counts_windows_alike(lm: LanguageModel, length: int) -> None:
    text = ("one two " * 200)[: length - 1]
    ids = torch.tensor([lm.tokenizer(text).input_ids])
    means, done = [], 0
    for begin in range(0, length, 512):
        end = min(begin + 640, length)
        labels = ids[:, begin:end].clone()
        labels[:, : -(end - done)] = -100
        with torch.no_grad():
            means.append(float(lm.model(ids[:, begin:end], labels=labels).loss))
        done = end
        if end == length:
            break
    stage = PerplexityEasyInstruct(type="perplexity-easyinstruct", maximum=None)
    assert scores(stage, lm, [Row("a", "", output=text)])[0] == pytest.approx(math.exp(mean(means)), rel=1e-5)


def test_easyinstruct_in_a_small_context_leaves_tokens_out_as_its_loop_does() -> None:
    small = Seeded(type="seeded", context=64, width=16, layers=1).open(OPENING)
    text = "some words " * 50  # 551 tokens: windows 0 to 64 and 512 to 551
    ids = small.tokenizer(text).input_ids
    expected = mean([mean(token_losses(small, text[:63])), mean(token_losses_of(small, ids[512:]))])
    found = scores(
        PerplexityEasyInstruct(type="perplexity-easyinstruct", maximum=None), small, [Row("a", "", output=text)]
    )
    assert found[0] == pytest.approx(math.exp(expected), rel=1e-5)
    # The second window has one token: nan there, none here.
    one = Row("a", "", output=text[:512])
    (left,) = run(PerplexityEasyInstruct(type="perplexity-easyinstruct"), small, [one])
    assert isinstance(left, Rejected)
    assert (left.reason, left.row.scores) == ("has no score", {"s": None})


def token_losses_of(lm: LanguageModel, ids: list[int]) -> list[float]:
    row = torch.tensor([ids])
    with torch.no_grad():
        logits = lm.model(row).logits[0, :-1]
    return [float(x) for x in torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")]


def test_three_quantities_are_called_ifd(lm: LanguageModel) -> None:
    row = ROWS[1]
    n = len(row.output)
    alone = mean(token_losses(lm, row.output))
    superfiltering = mean(token_losses(lm, f"Add.\n2 and 3\n{row.output}")[-n:])
    juicer = mean(token_losses(lm, f"Add.\n2 and 3 {row.output}")[-n:])
    marked = mean(token_losses(lm, f"### Response:{row.output}")[-n:])
    layout = f"### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:{row.output}"
    cherry = mean(token_losses(lm, layout)[-n:])
    assert scores(IfdCherry(type="ifd-cherry"), lm, [row]) == [pytest.approx(cherry / marked, rel=1e-5)]
    found = scores(IfdSuperfiltering(type="ifd-superfiltering"), lm, [row])
    assert found == [pytest.approx(math.exp(superfiltering) / math.exp(alone), rel=1e-4)]
    assert scores(IfdDataJuicer(type="ifd-data-juicer"), lm, [row]) == [pytest.approx(juicer / alone, rel=1e-5)]


def test_cherry_has_another_layout_without_an_input(lm: LanguageModel) -> None:
    row = ROWS[0]
    given = token_losses(lm, f"### Instruction:\nName a colour.\n\n### Response:{row.output}")[-len(row.output) :]
    alone = token_losses(lm, f"### Response:{row.output}")[-len(row.output) :]
    found = scores(IfdCherry(type="ifd-cherry"), lm, [row])
    assert found == [pytest.approx(mean(given) / mean(alone), rel=1e-5)]


def test_both_passes_lose_the_same_end_of_an_answer(lm: LanguageModel) -> None:
    row = Row("a", "Do it", output="abcdefgh")
    cut = Row("a", "Do it", output="abc")
    stage = IfdSuperfiltering(type="ifd-superfiltering", max_tokens=len("Do it\nabc") + 1)
    assert scores(stage, lm, [row])[0] == pytest.approx(scores(stage, lm, [cut])[0], rel=1e-6)
    too_long = Row("a", "This request is longer than what is read", output="abc")
    assert scores(stage, lm, [too_long]) == [None]


def test_a_tokenizer_that_puts_no_token_in_front_leaves_the_first_one_out() -> None:
    bare = Seeded(type="seeded", width=16, layers=1).open(OPENING)
    bare.tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    assert bare.tokenizer("ab").input_ids == bare.tokenizer.convert_tokens_to_ids(["a", "b"])
    text = "bcd"
    alone, given = mean(token_losses(bare, text)), mean(token_losses(bare, f"Say it\n{text}")[-3:])
    row = Row("a", "Say it", output=text)
    assert scores(Perplexity(type="perplexity"), bare, [row]) == [pytest.approx(math.exp(alone), rel=1e-5)]
    found = scores(IfdSuperfiltering(type="ifd-superfiltering"), bare, [row, Row("b", "Say it", output="b")])
    assert found == [pytest.approx(math.exp(given - alone), rel=1e-5), None]


def test_a_prompt_is_a_turn_of_the_chat_template() -> None:
    chat = Seeded(type="seeded", width=16, layers=1).open(OPENING)
    chat.chat = True
    chat.tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}>"
    row = ROWS[0]
    nll = token_losses_of(chat, chat.tokenizer(f"[Name a colour.\n]>{row.output}", add_special_tokens=False).input_ids)
    expected = math.exp(mean(nll[-len(row.output) :]))
    stage = Perplexity(type="perplexity", of="output_given_prompt")
    assert scores(stage, chat, [row]) == [pytest.approx(expected, rel=1e-5)]


def test_a_model_that_knows_nothing_gives_closed_forms() -> None:
    flat = Seeded(type="seeded", width=16, layers=1).open(OPENING)
    flat.model.get_output_embeddings().weight.zero_()
    v = len(flat.tokenizer)
    assert scores(Perplexity(type="perplexity"), flat, ROWS) == [pytest.approx(v)] * 4
    for stage in STAGES[3:6]:
        assert scores(stage, flat, ROWS) == [pytest.approx(1.0)] * 4
    for stage in STAGES[6:]:
        assert scores(stage, flat, ROWS[:2]) == [pytest.approx(3.5)] * 2


def test_defaults_keep_opposite_sides_of_one(lm: LanguageModel) -> None:
    ratio = scores(IfdSuperfiltering(type="ifd-superfiltering"), lm, ROWS)
    kept = [isinstance(o, Row) for o in run(IfdSuperfiltering(type="ifd-superfiltering"), lm, ROWS)]
    assert kept == [value is not None and value <= 1 for value in ratio]
    ratio = scores(IfdDataJuicer(type="ifd-data-juicer"), lm, ROWS)
    outcomes = run(IfdDataJuicer(type="ifd-data-juicer"), lm, ROWS)
    assert [isinstance(o, Row) for o in outcomes] == [value is not None and 1 <= value <= 100 for value in ratio]
    assert len(set(kept)) == 2, "the rows must lie on both sides"


def test_a_share_is_one_of_all_rows_and_takes_the_highest(lm: LanguageModel) -> None:
    values = scores(IfdCherry(type="ifd-cherry"), lm, ROWS)
    stage = IfdCherry(type="ifd-cherry", maximum=None, share=0.5)
    outcomes = run(stage, lm, ROWS)
    best = sorted(range(4), key=lambda i: -(values[i] or 0))[:2]
    assert [i for i, o in enumerate(outcomes) if isinstance(o, Row)] == sorted(best)
    assert {o.reason for o in outcomes if isinstance(o, Rejected)} == {"not among the highest"}


def test_intervals_tell_the_number_that_decided(lm: LanguageModel) -> None:
    (value,) = scores(Perplexity(type="perplexity"), lm, ROWS[:1])
    assert value is not None
    (low,) = run(Perplexity(type="perplexity", minimum=value + 1), lm, ROWS[:1])
    (high,) = run(Perplexity(type="perplexity", maximum=value - 1), lm, ROWS[:1])
    assert isinstance(low, Rejected)
    assert isinstance(high, Rejected)
    assert (low.reason, low.value, high.reason) == ("below the minimum", value, "above the maximum")
    assert isinstance(run(Perplexity(type="perplexity", minimum=value, maximum=value), lm, ROWS[:1])[0], Row)


def test_grades_are_expected_over_six_tokens(lm: LanguageModel) -> None:
    stage = DeitaQuality(type="deita-quality", prompt="{prompt}|{output}|\n")
    ids = lm.tokenizer("Name a colour.|Blue, as the sky is.|\n", return_tensors="pt").input_ids
    digits = [lm.tokenizer.convert_tokens_to_ids(str(i)) for i in range(1, 7)]
    with torch.no_grad():
        p = lm.model(ids).logits[0, -1, digits].softmax(0)
    assert scores(stage, lm, ROWS[:1]) == [pytest.approx(float(p @ torch.arange(1.0, 7.0)), rel=1e-5)]


def test_a_missing_grade_is_no_grade() -> None:
    assert expected_grade({"1": 0.0, **dict.fromkeys("23456", -math.inf)}) == 1.0
    assert expected_grade({"5": math.log(0.25), "6": math.log(0.75), **dict.fromkeys("1234", -math.inf)}) == 5.75
    assert expected_grade(dict.fromkeys("12345", -1.0)) is None
    assert expected_grade(dict.fromkeys("123456", math.nan)) is None
    assert expected_grade(dict.fromkeys("123456", -math.inf)) is None
    assert expected_grade(None) is None


def test_a_tokenizer_that_splits_grades_is_refused(lm: LanguageModel) -> None:
    other = Seeded(type="seeded", width=16, layers=1).open(OPENING)
    other.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("3", "33")
    with pytest.raises(ModelError, match="'3' as one token"):
        scores(DeitaComplexity(type="deita-complexity"), other, ROWS[:1])


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.type)
def test_a_row_does_not_depend_on_its_batch(lm: LanguageModel, stage: ModelScored) -> None:
    together = scores(stage, lm, ROWS)
    alone = [scores(stage.model_copy(update={"batch_size": 1}), lm, [row])[0] for row in ROWS]
    assert together == [value and pytest.approx(value, abs=1e-4, rel=1e-5) for value in alone]
    assert sum(value is not None for value in together) >= 3
    assert scores(stage, lm, ROWS) == together


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.type)
def test_edge_rows_pass_through(stage: ModelScored) -> None:
    small = Seeded(type="seeded", context=512, width=16, layers=1).open(OPENING)
    rows = [Row(str(i), q, output=a) for i, (q, a) in enumerate(zip(EDGES, reversed(EDGES), strict=True))]
    told: list[int] = []
    bench = Workbench(0, "s", models={"scorer": small}, progress=told.append)
    outcomes = list(stage.run(iter(rows), bench))
    assert [(o.row if isinstance(o, Rejected) else o).id for o in outcomes] == [row.id for row in rows]
    assert sum(told) == len(rows)
    json.dumps([dict((o.row if isinstance(o, Rejected) else o).scores) for o in outcomes], allow_nan=False)


def test_what_is_undefined_is_null_and_kept_or_rejected(lm: LanguageModel) -> None:
    empty = Row("a", "Say nothing.")
    (kept,) = run(Perplexity(type="perplexity", maximum=5.0), lm, [empty])
    assert kept == empty.scored(s=None)
    (left,) = run(Perplexity(type="perplexity", undefined="reject"), lm, [empty])
    assert isinstance(left, Rejected)
    assert left.value is None


def test_a_broken_model_gives_no_number() -> None:
    broken = Seeded(type="seeded", width=16, layers=1).open(OPENING)
    broken.model.get_output_embeddings().weight.fill_(math.nan)
    for stage in STAGES:
        assert scores(stage, broken, ROWS[:1]) == [None]


def test_rows_come_in_chunks(lm: LanguageModel) -> None:
    taken = []

    def endless() -> Iterator[Row]:
        for i in range(10**9):
            taken.append(i)
            yield replace(ROWS[0], id=str(i))

    stage = DeitaComplexity(type="deita-complexity", prompt="{instruction}\n")
    assert next(stage.run(endless(), Workbench(0, "s", models={"scorer": lm}))).id == "0"  # type: ignore[union-attr]
    assert len(taken) < 1000


def test_a_window_that_does_not_fit_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(ModelError, match="window: 1000 tokens do not fit; the model reads 640"):
        run(Perplexity(type="perplexity", window=1000), lm, ROWS)
    with pytest.raises(ModelError, match="stride: 640 is not below"):
        run(Perplexity(type="perplexity", stride=640), lm, ROWS)
    with pytest.raises(ModelError, match="max_tokens: 700"):
        run(IfdCherry(type="ifd-cherry", max_tokens=700), lm, ROWS)


@pytest.mark.parametrize(
    ("stage", "fields", "said"),
    [
        (Perplexity, {"type": "perplexity", "window": 8, "stride": 8}, "below `window`"),
        (Perplexity, {"type": "perplexity", "prompt": "{question}"}, r"unknown placeholder \{question\}"),
        (IfdCherry, {"type": "ifd-cherry", "prompt": "{instruction} {output}"}, "the answer whose loss"),
        (IfdCherry, {"type": "ifd-cherry", "n": 3, "share": 0.5}, "not both"),
    ],
)
def test_mistakes_in_a_stage_are_told(stage: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        stage(**fields)


def test_templates_are_filled_once_and_know_conversations() -> None:
    row = Row("a", "say {output}", "{input}", "yes", earlier=(Turn("user", "hi"), Turn("assistant", "hello")))
    assert filled("{prompt}!", row) == "hi\nhello\nsay {output}\n{input}!"
    assert filled("{instruction}|{input}|{output}", row) == "hi\nhello\nsay {output}|{input}|yes"


def test_a_model_with_roles_says_so() -> None:
    assert Perplexity(type="perplexity", model="reader").roles() == {"reader": "language_model"}


def test_the_known_loss_of_a_real_model(shared: Path) -> None:
    folder = shared / "data" / "stories260K"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/stories260K")
    stories = json.loads((shared / "data" / "tinystories_1000" / "tinystories_1000.json").read_text(encoding="utf-8"))
    lm = open_folder(folder, OPENING)
    # The published number is of what one context holds.
    texts = [(read(lm, "", story)[0][: lm.context], 1) for story in stories if story.isascii()][:100]
    found = losses(lm, texts, 512, 256, 8)
    assert mean_loss([part for parts in found for part in parts]) == pytest.approx(1.459, abs=5e-4)
    with torch.no_grad():
        direct = float(lm.model(torch.tensor([texts[0][0]]), labels=torch.tensor([texts[0][0]])).loss)
    assert perplexity(mean_loss(found[0])) == pytest.approx(math.exp(direct), rel=1e-4)
