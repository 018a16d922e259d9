"""Models that answer without an endpoint: scripts, and language models of this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_fixtures import ask

from benchwright.adapters.chat.asking import Asking
from benchwright.adapters.chat.in_process import InProcess
from benchwright.adapters.chat.journal import Journal
from benchwright.adapters.chat.models import ChatModel, chat_model
from benchwright.adapters.chat.params import Prices, Script
from benchwright.adapters.chat.requests import Reply, Request, sendable
from benchwright.adapters.chat.scripted import Scripted
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.params import Seeded
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.digests import FileDigests
from benchwright.errors import DataError, ModelError, UsageError
from benchwright.registry import registry

OPENING = Opening("cpu", "float32", 1, "weights", ArtifactStore(Path("nowhere")))


def scripted(folder: Path, *entries: Any, **fields: Any) -> Scripted:
    file = folder / "script.jsonl"
    file.write_text("".join(json.dumps(e) + "\n" for e in entries), encoding="utf-8")
    return Script(type="scripted", path=str(file), **fields).open(OPENING)


def answers(model: ChatModel, requests: Sequence[Request]) -> list[Reply]:
    found = dict(model.answer(requests))
    return [found[i] for i in range(len(requests))]


def test_a_script_answers_by_purpose_by_content_and_in_order(folder: Path) -> None:
    model = scripted(
        folder,
        {"text": "five", "match": "rate", "purpose": "score", "contains": 5},
        {"text": "number", "pattern": r"\b\d+\b"},
        {"text": "first", "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 4},
        {"text": "judged", "purpose": "judge", "logprobs": {"1": -1}},
        {"text": "second"},
    )
    requests = [
        ask("rate this", purpose="score"), ask("rate that"), ask("a 12 b"), ask("x", purpose="judge"), ask("y"),
        ask("rate it all", purpose="score"), ask("rate that"),
    ]  # fmt: skip
    replies = answers(model, requests)
    assert [r.text for r in replies] == ["five", "first", "number", "judged", "second", "five", "first"]
    assert replies[0].contains == 5
    assert (replies[1].finish_reason, replies[1].prompt_tokens, replies[1].completion_tokens) == ("length", 3, 4)
    assert replies[3].logprobs == {"1": -1}
    with pytest.raises(ModelError, match=r"script\.jsonl: no entry is left .* purpose 'judge' .* message 'z'"):
        answers(model, [ask("z", purpose="judge")])


def test_a_script_begins_anew_with_every_run_and_needs_no_journal(folder: Path) -> None:
    prices = Prices(input_per_million=1, output_per_million=1)
    model = scripted(
        folder,
        {"error": 429},
        {"text": "a", "prompt_tokens": 4, "completion_tokens": 1},
        {"error": "timeout"},
        prices=prices,
    )
    journal = Journal(folder / "journal.jsonl")
    for _ in range(2):
        asking = Asking(model, journal)
        assert [r.error for r in asking.ask([ask("x"), ask("y"), ask("z")])] == [
            "http 429: scripted",
            "",
            "timeout: scripted",
        ]
        assert asking.account.errors == {"http 429": 1, "timeout": 1}
        assert asking.account.cost == pytest.approx(5e-6)
    assert not journal.file.exists()


def test_a_request_that_failed_gets_the_next_entry(folder: Path) -> None:
    model = scripted(folder, {"error": 500}, {"text": "now"})
    assert [answers(model, [ask("x")])[0].text for _ in range(3)] == ["", "now", "now"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"txet": "x"}, "line 2: txet: Extra inputs"),
        ({"text": 5}, "line 2: text: Input should be a valid string"),
        ({"pattern": "("}, "line 2: pattern: expected a regular expression"),
        ({"error": 200}, "line 2: error"),
        ([], "line 2: .*expected a map"),
    ],
)
def test_a_script_that_breaks_its_format_is_told_where(folder: Path, entry: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scripted(folder, {"text": "fine"}, entry)


def test_a_script_is_known_by_its_content(folder: Path) -> None:
    scripted(folder, {"text": "a"})
    source = Script(type="scripted", path="script.jsonl")
    before = source.fingerprint(FileDigests(Path("none")).of)
    scripted(folder, {"text": "b"})
    assert source.fingerprint(FileDigests(Path("none")).of) != before
    with pytest.raises(DataError, match="cannot be read"):
        Script(type="scripted", path="nowhere.json").fingerprint(FileDigests(Path("none")).of)


def test_sources_are_found_and_say_what_they_open() -> None:
    sources = registry().components["source"]
    assert {n for n, s in sources.items() if s.opens == "chat_model"} >= {"openai", "litellm", "scripted", "replay"}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return Seeded(type="seeded", seed=3).open(OPENING)


REQUESTS = [ask("a", max_tokens=12), ask("The capital of Atlantis is", max_tokens=7), ask("两 🙂 \ud800", max_tokens=5),
            ask("b", max_tokens=9, temperature=1.0), ask("b", max_tokens=9, temperature=1.0, sample=1)]  # fmt: skip


def test_a_language_model_can_be_asked(lm: LanguageModel) -> None:
    model = chat_model(lm, "fingerprint")
    assert chat_model(model, "other") is model
    replies = answers(model, REQUESTS)
    for request, reply in zip(REQUESTS, replies, strict=True):
        assert reply.completion_tokens == request.max_tokens
        assert reply.finish_reason == "length"
        assert reply.prompt_tokens == len(sendable(request.last).encode()) + 1  # a byte each, and <s>
    assert replies[3].text != replies[4].text
    assert model.verify() == []
    assert (model.paid, model.prices) == (True, None)


def test_greedy_answers_are_those_of_transformers(lm: LanguageModel) -> None:
    for request, reply in zip(REQUESTS[:2], answers(InProcess(lm, "f"), REQUESTS[:2]), strict=True):
        inputs = lm.tokenizer(request.last, return_tensors="pt")
        ids = lm.model.generate(**inputs, max_new_tokens=request.max_tokens, do_sample=False)
        assert reply.text == lm.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_reply_does_not_depend_on_what_else_is_asked(lm: LanguageModel) -> None:
    together = answers(InProcess(lm, "f", batch_size=5), REQUESTS)
    for size, order in ((1, [0, 1, 2, 3, 4]), (2, [4, 2, 0, 3, 1])):
        replies = answers(InProcess(lm, "f", batch_size=size), [REQUESTS[i] for i in order])
        assert [r.text for r in replies] == [together[i].text for i in order]


def test_the_first_token_has_the_probabilities_of_the_logits(lm: LanguageModel) -> None:
    asked = [
        ask("Rate: ", max_tokens=1, top_logprobs=("1", "2", "12")),
        ask("And this one: ", max_tokens=3, top_logprobs=("1",)),
    ]
    replies = answers(InProcess(lm, "f"), asked)
    for request, reply in zip(asked, replies, strict=True):
        logits = lm.model(**lm.tokenizer(request.last, return_tensors="pt")).logits[0, -1]
        assert reply.logprobs is not None
        # "12" is two tokens: it has no probability at one position.
        assert set(reply.logprobs) == set(request.top_logprobs) - {"12"}
        for answer, value in reply.logprobs.items():
            (token,) = lm.tokenizer(answer, add_special_tokens=False)["input_ids"]
            assert value == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-4)


def test_draws_follow_the_nucleus(lm: LanguageModel) -> None:
    """First tokens of 400 draws against probabilities from the logits: chi-squared below its 99.9 % point."""
    warmth, top_p, prompt = 0.7, 0.6, "x"
    requests = [ask(prompt, max_tokens=1, temperature=warmth, top_p=top_p, sample=i) for i in range(400)]
    drawn = [r.text for r in answers(InProcess(lm, "f", batch_size=100), requests)]
    logits = lm.model(**lm.tokenizer(prompt, return_tensors="pt")).logits[0, -1].double()
    likely, order = (logits / warmth).softmax(-1).sort(descending=True)
    size = int((likely.cumsum(-1) < top_p).sum()) + 1
    expected = (likely[:size] / likely[:size].sum()).numpy() * 400
    by_text: dict[str, list[int]] = {}
    for place, token in enumerate(order[:size].tolist()):
        by_text.setdefault(lm.tokenizer.decode([token], skip_special_tokens=True), []).append(place)
    for text in drawn:
        assert text in by_text
    # Bytes that are no character alone decode alike, so they are counted together.
    grouped = [(sum(t == text for t in drawn), sum(expected[p] for p in places)) for text, places in by_text.items()]
    counts = np.array([c for c, _ in grouped])
    wanted = np.array([w for _, w in grouped])
    assert len(grouped) > 5
    from scipy.stats import chi2

    assert ((counts - wanted) ** 2 / wanted).sum() < chi2.ppf(0.999, len(grouped) - 1)


@pytest.mark.parametrize("fields", [{"top_p": 1e-9}, {"top_p": 0.0}, {"temperature": 1e-6}])
def test_without_freedom_a_draw_is_greedy(lm: LanguageModel, fields: dict[str, float]) -> None:
    warm = ask("a", **{"max_tokens": 12, "temperature": 1.0, **fields})  # type: ignore[arg-type]
    greedy, drawn = answers(InProcess(lm, "f"), [REQUESTS[0], warm])
    assert drawn.text == greedy.text


def test_a_stop_text_ends_the_answer(lm: LanguageModel) -> None:
    (whole,) = answers(InProcess(lm, "f"), [ask("a", max_tokens=12)])
    mark = whole.text[4:6]
    (cut,) = answers(InProcess(lm, "f"), [ask("a", max_tokens=12, stop=("never there", "", mark))])
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(mark)], "stop")


def test_the_end_of_text_ends_the_answer(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = answers(InProcess(lm, "f"), [ask("a", max_tokens=6)])
    third = lm.model.generate(**lm.tokenizer("a", return_tensors="pt"), max_new_tokens=6, do_sample=False)[0, 4]
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [int(third)])
    (ended,) = answers(InProcess(lm, "f"), [ask("a", max_tokens=6)])
    assert ended.finish_reason == "stop"
    assert ended.completion_tokens <= 3
    assert whole.text.startswith(ended.text)


def test_what_does_not_fit_is_an_error_of_that_request_alone(lm: LanguageModel) -> None:
    long, short, near = answers(
        InProcess(lm, "f"), [ask("x" * 100_000), ask("x", max_tokens=2), ask("x" * 250, max_tokens=50)]
    )
    assert (long.kind, short.error) == ("too long", "")
    assert (near.completion_tokens, near.finish_reason) == (5, "length")


class _Template:
    """A chat template of our own on the seeded model's tokenizer."""

    text = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )


def test_the_chat_template_is_used_and_a_raw_prompt_is_not_touched() -> None:
    lm = Seeded(type="seeded", seed=3).open(OPENING)
    lm.tokenizer.chat_template = _Template.text
    talk = (("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r"))
    as_text = "<system>s</system><user>q</user><assistant>a</assistant><user>r</user><assistant>"
    plain = answers(InProcess(lm, "f"), [Request(talk, max_tokens=8), Request((("raw", "s\nq\na\nr"),), max_tokens=8)])
    assert plain[0].text == plain[1].text
    chatting = InProcess(LanguageModel(lm.model, lm.tokenizer, chat=True), "f")
    begun = (("user", "q"), ("assistant", "Sure"))
    asked = [talk, (("raw", as_text),), begun, (("raw", "<user>q</user><assistant>Sure"),)]
    replies = answers(chatting, [Request(messages, max_tokens=8) for messages in asked])
    assert replies[0].text == replies[1].text != plain[0].text
    assert replies[2].text == replies[3].text != replies[0].text
    assert replies[0].prompt_tokens == len(as_text)
    with pytest.raises(ModelError, match=r"chat template refuses the roles tool, user \(no tools\)"):
        answers(chatting, [Request((("tool", "x"), ("user", "y")))])


def test_replies_of_this_process_are_kept_too(lm: LanguageModel, tmp_path: Path) -> None:
    first, second = (Asking(chat_model(lm, "f"), Journal(tmp_path / "journal.jsonl")) for _ in range(2))
    assert [r.text for r in first.ask(REQUESTS)] == [r.text for r in second.ask(REQUESTS)]
    assert (first.account.from_journal, second.account.from_journal) == (0, 5)
    assert first.account.cost is None
    assert first.account.completion_tokens == 42


def test_what_cannot_be_asked_is_refused() -> None:
    class Eye:
        def verify(self) -> list[str]:
            return []

        def close(self) -> None:
            pass

    with pytest.raises(UsageError, match="a Eye cannot be asked in words"):
        chat_model(Eye(), "f")


def test_no_generator_of_torch_is_used(lm: LanguageModel) -> None:
    before = torch.get_rng_state()
    answers(InProcess(lm, "f"), REQUESTS)
    assert torch.equal(before, torch.get_rng_state())
