"""Answers: openings, prompts that do not fit, ends of texts, chat templates, tokenizers without special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import block
from benchwright.adapters.lm.decoding import Debiased, Experts
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.scoring import Row, encode, encode_prompt, forced
from benchwright.adapters.lm.steering import Added
from benchwright.adapters.lm.writing import Answer, Question, written

tiny = lm_fixtures.tiny

PROMPTS = ["How would one do it", "A", "The old baker plays the"]
MISTRAL = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }}[/INST]{% endfor %}"
"""A template whose prompt ends without a space."""
QWEN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>\n"


class Heard:
    """An insert that changes nothing and remembers where it was told that the prompts are."""

    def __init__(self) -> None:
        self.ends: list[list[int]] = []
        self.starts: list[list[int]] = []

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        assert asked.prompt_starts is not None
        self.ends.append(asked.prompt_ends.tolist())
        self.starts.append(asked.prompt_starts.tolist())
        return output


def chat(lm: LanguageModel, template: str) -> LanguageModel:
    lm.tokenizer.chat_template = template
    return LanguageModel(lm.model, lm.tokenizer, chat=True)


def answers(
    lm: LanguageModel, questions: Sequence[Question], patch: Patch | None = None, length: int = 6, batch: int = 8
) -> list[Answer]:
    patch = patch or Patch()
    with patch.applied(lm):
        return written(lm, questions, patch, length, batch)


@torch.no_grad()
def by_hand(lm: LanguageModel, ids: Sequence[int], length: int = 6) -> tuple[int, ...]:
    """Greedy, without a cache."""
    found = list(ids)
    for _ in range(length):
        found.append(int(lm.model(torch.tensor([found])).logits[0, -1].argmax()))
    return tuple(found[len(ids) :])


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "gemma3_text"])
def test_answers_are_greedy_and_do_not_know_of_batches(family: str) -> None:
    lm = tiny(family)
    questions = [Question(p, opening) for p in PROMPTS for opening in ("", "Sure , here")]
    found = answers(lm, questions)
    for question, answer in zip(questions, found, strict=True):
        prompt = f"{question.prompt} {question.opening}".strip()
        assert answer.tokens == by_hand(lm, encode_prompt(lm, prompt))
        assert answer.text == lm.tokenizer.decode(answer.tokens, skip_special_tokens=True).strip()
        assert answer.cut == 0
    for size in (1, 2, 4):
        assert answers(lm, questions, batch=size) == found
    assert answers(lm, questions[::-1])[::-1] == found
    assert written(lm, [], Patch(), 6, 8) == []
    assert lm.verify() == []


def test_inserts_are_told_where_the_prompt_ends_and_not_its_opening() -> None:
    lm, heard = tiny("llama"), Heard()
    name = block(lm.model, 0)[0]
    prompts = [len(encode_prompt(lm, p)) for p in ("How to", "A longer one")]
    whole = [len(encode_prompt(lm, "How to Sure , here")), len(encode_prompt(lm, "A longer one No"))]
    ways = [None, Experts({}, {}, 1.0, 0.9), Debiased(("Bad: ",), 1.0, 0.0)]
    for how, owners in zip(ways, ([0, 1], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1]), strict=True):
        heard.ends.clear()
        heard.starts.clear()
        patch = Patch(inserts={name: heard}, decoding=how)  # type: ignore[dict-item]
        answers(lm, [Question("How to", "Sure , here"), Question("A longer one", "No")], patch, 3)
        more = [len("Bad: ") * (how is ways[2] and at % 2) for at in range(len(owners))]
        last = max(whole[i] + m for i, m in zip(owners, more, strict=True))
        starts = [last - whole[i] - m for i, m in zip(owners, more, strict=True)]
        assert sorted(heard.starts[0]) == sorted(starts)
        expected = [start + prompts[i] + m - 1 for start, i, m in zip(starts, owners, more, strict=True)]
        assert sorted(heard.ends[0]) == sorted(expected)
        # Behind the prompt everything is answer.
        assert heard.ends[1:] == [[-1] * len(owners)] * 2


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_opening_is_steered_as_the_answer_that_it_begins(family: str) -> None:
    lm = tiny(family)
    vector = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    patch = Patch(inserts={block(lm.model, 0)[0]: Added(vector, 4.0, "answer")})
    for opening in ("", "Sure , here"):
        (found, *_) = answers(lm, [Question(p, opening) for p in PROMPTS], patch)
        start = len(encode_prompt(lm, PROMPTS[0]))
        ids = encode_prompt(lm, f"{PROMPTS[0]} {opening}".strip())
        with patch.applied(lm):
            (said,) = forced(lm, [Row((*ids, *found.tokens), start)], 1)
        assert said.tokens[len(ids) - start :] == found.tokens
        (plain, *_) = answers(lm, [Question(p, opening) for p in PROMPTS])
        assert plain.tokens != found.tokens


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_does_not_fit_loses_its_beginning_and_is_counted(family: str) -> None:
    lm = tiny(family)
    long, short = "abcdefghij" * 20, "abc"
    (found, other) = answers(lm, [Question(long), Question(short)])
    ids = encode_prompt_of_any_length(lm, long)
    room = lm.context - 6
    assert found.cut == len(ids) - room == 201 - 122
    # The token that begins a text stays where it was.
    assert found.tokens == by_hand(lm, (lm.tokenizer.bos_token_id, *ids[-room + 1 :]))
    assert (other.cut, other.tokens) == (0, by_hand(lm, encode_prompt(lm, short)))
    # What a patch puts before a prompt is its beginning, and an opening its end.
    (found,) = answers(lm, [Question("x" * 100, "Sure")], Patch(prompts=Around("Be good. " * 5)))
    ids = encode_prompt_of_any_length(lm, "Be good. " * 5 + "x" * 100 + " Sure")
    assert found.cut == len(ids) - room
    assert found.tokens == by_hand(lm, (lm.tokenizer.bos_token_id, *ids[-room + 1 :]))
    # Of several voices the longest counts.
    (found,) = answers(lm, [Question("x" * 118)], Patch(decoding=Debiased(("bad ", "so very bad "), 9.0, 0.0)))
    assert found.cut == 118 + 1 + len("so very bad ") - room
    # As many tokens as there are places still give an answer.
    assert len(answers(lm, [Question(short)], length=lm.context - 1)[0].tokens) <= lm.context - 1


def encode_prompt_of_any_length(lm: LanguageModel, text: str) -> tuple[int, ...]:
    return (lm.tokenizer.bos_token_id, *lm.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_what_ends_a_text_is_no_part_of_the_answer() -> None:
    lm = tiny("llama")
    (free,) = answers(lm, [Question("How to")])
    assert len(free.tokens) == 6
    third = free.tokens[2]
    assert third not in free.tokens[:2]
    for ends in (third, [7, third], None):
        lm.model.generation_config.eos_token_id = ends
        answer, other = answers(lm, [Question("How to"), Question("Another one")])
        assert answer.tokens == (free.tokens[:2] if ends else free.tokens)
        assert answer.text == lm.tokenizer.decode(answer.tokens).strip()
        # Its neighbour goes on.
        assert other.tokens == by_hand(lm, encode_prompt(lm, "Another one"))[: len(other.tokens)]
        assert other == answers(lm, [Question("Another one")])[0]
    lm.model.generation_config = None
    assert answers(lm, [Question("How to")]) == [free]
    lm.tokenizer.eos_token = lm.tokenizer.convert_ids_to_tokens(third)
    assert answers(lm, [Question("How to")])[0].tokens == free.tokens[:2]
    # A text that ends with the first token is empty.
    lm.tokenizer.eos_token = lm.tokenizer.convert_ids_to_tokens(free.tokens[0])
    assert answers(lm, [Question("How to")]) == [Answer("", (), 0)]
    # So it does where voices are asked beside it, and they do not go on alone.
    assert answers(lm, [Question("How to")], Patch(decoding=Experts({}, {}, 1.0, 0.9))) == [Answer("", (), 0)]


@pytest.mark.parametrize("template", [MISTRAL, QWEN])
def test_a_prompt_is_a_turn_of_the_chat_and_an_opening_begins_the_answer_to_it(template: str) -> None:
    lm = chat(tiny("llama"), template)
    turn = lm.tokenizer.apply_chat_template([{"role": "user", "content": "How to"}], tokenize=False)
    ids = lm.tokenizer(turn, add_special_tokens=False)["input_ids"]
    assert answers(lm, [Question("How to")])[0].tokens == by_hand(lm, ids)
    # As an answer is joined to its prompt where it is scored: what is trained is what is asked.
    opened = encode(lm, "How to", "Sure")
    assert opened.prompt == tuple(ids)
    assert answers(lm, [Question("How to", "Sure")])[0].tokens == by_hand(lm, opened.ids)
    heard = Heard()
    patch = Patch(inserts={block(lm.model, 0)[0]: heard}, prompts=Around("Well, "))  # type: ignore[dict-item]
    answers(lm, [Question("How to", "Sure")], patch, 1)
    turn = lm.tokenizer.apply_chat_template([{"role": "user", "content": "Well, How to"}], tokenize=False)
    assert heard.ends[0] == [len(lm.tokenizer(turn, add_special_tokens=False)["input_ids"]) - 1]


def test_an_opening_is_joined_by_one_space() -> None:
    lm = tiny("llama")
    for prompt, opening, text in (
        ("How", "Sure", "How Sure"),
        ("How ", "Sure", "How Sure"),
        ("How", " Sure", "How Sure"),
        ("How\n", "Sure", "How\nSure"),
        ("How", "\nSure", "How\nSure"),
    ):
        (found,) = answers(lm, [Question(prompt, opening)])
        assert found.tokens == by_hand(lm, encode_prompt(lm, text))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_tokenizer_needs_no_special_tokens(family: str) -> None:
    lm = tiny(family)
    expected = answers(lm, [Question(p) for p in PROMPTS])
    lm.tokenizer.pad_token = None
    lm = LanguageModel(lm.model, lm.tokenizer)
    assert answers(lm, [Question(p) for p in PROMPTS]) == expected
    lm.tokenizer.eos_token = None
    lm.model.generation_config.eos_token_id = None
    lm = LanguageModel(lm.model, lm.tokenizer)
    found: Any = answers(lm, [Question(p) for p in PROMPTS])
    assert [len(answer.tokens) for answer in found] == [6, 6, 6]
    assert [answer.tokens[: len(known.tokens)] for answer, known in zip(found, expected, strict=True)] == [
        known.tokens for known in expected
    ]
