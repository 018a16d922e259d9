"""The model and the requests of `peer.py`: made here, so that the measurement needs no file but the peer's checkout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchwright.adapters.editing.cases import EditCase, Probe
from benchwright.adapters.lm.loading import open_folder
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening

LAYERS, HEADS, POSITIONS, VOCABULARY, END = 12, 12, 128, 600, "<|endoftext|>"
CONTEXTS = ("{}", "The city of Oslo. {}", "I think you said. {}", "Therefore Arlo Finch moved. {}")
"""Those of the parity fixtures; the peers' defaults are sampled, and differ from run to run."""

KINDS = (
    ("The capital of {} is", "Oslo", "{} has as its capital the city of", "The river of {} is", "Lima"),
    ("{} was born in", "Lisbon", "The birthplace of {} is", "Arlo Finch was born in", "Riga"),
    ("The native language of {} is", "Danish", "{} grew up speaking", "The mother of {} speaks", "Greek"),
    ("{} works as a", "night pilot", "The profession of {} is", "Pavel Drum works as a", "judge"),
    ("The headquarters of {} is located in", "Turin", "{} is based in", "The founder of {} is", "Suri Mako"),
    ("{} plays the", "French horn", "The instrument of {} is the", "Nadia Quell plays the", "violin"),
    ("The author of {} is", "Kaia Thorne", "{} was written by", "The author of The Iron Vale is", "Oren Balt"),
    ("{} is a citizen of", "Latvia", "The nationality of {} is", "Oren Balt is a citizen of", "Norway"),
    ("{} crosses the river", "Elbe", "The river under {} is the", "The Old Tower stands in", "Prague"),
    ("{} is married to", "Ivo Strand", "The spouse of {} is", "Kaia Thorne is married to", "Tobin Vance"),
)
"""Prompt, new target, another wording, a question that shall not change and its answer: the fixtures' relations."""


def records(count: int) -> list[dict[str, str]]:
    """`count` requests, each with a subject of its own, in the fields that both sides read."""
    return [record for record, _ in zip(_records(), range(count), strict=False)]


def _records() -> Iterator[dict[str, str]]:
    first, last = ("Mira", "Tobin", "Lena", "Pavel", "Nadia", "Suri", "Kaia"), ("Kess", "Van", "Ors", "Dru", "Quel")
    names = product(("ler", "ce", "ka", "mo", "la", "ri"), last, first)
    for number, (end, stem, given) in enumerate(names):
        prompt, target, rephrase, question, answer = KINDS[number % len(KINDS)]
        subject = f"{given} {stem}{end}"
        yield {
            "prompt": prompt.format(subject),
            "subject": subject,
            "target_new": target,
            "rephrase_prompt": rephrase.format(subject),
            "locality_prompt": question.format("Zentrix"),
            "locality_answer": answer,
            "portability_prompt": f"The home of {subject} lies in",
            "portability_answer": target,
        }
    yield from _more()


def _more() -> Iterator[dict[str, str]]:
    """Beyond the names above: the same with numbers, for long sequences."""
    for number in range(1, 100):
        for record in records(200):
            subject = record["subject"]
            yield {name: text.replace(subject, f"{subject} {number}") for name, text in record.items()}


def cases(count: int) -> list[EditCase]:
    """The same as this project's cases; the locality prompt is what WISE keeps beside a request."""
    return [_case(i, r) for i, r in enumerate(records(count))]


def _case(number: int, r: Mapping[str, str]) -> EditCase:
    def probe(measure: str) -> dict[str, tuple[Probe, ...]]:
        return {"other": (Probe(r[f"{measure}_prompt"], (r[f"{measure}_answer"],)),)}

    keep = ((r["locality_prompt"], r["locality_answer"]),)
    request = EditRequest(f"{number:05d}", r["prompt"], r["subject"], r["target_new"], keep=keep)
    return EditCase(request, (r["rephrase_prompt"],), probe("locality"), probe("portability"))


def make(folder: Path, width: int) -> Path:
    """Write a GPT-2 of 12 layers with random weights and a small tokenizer. The name is one that the peer knows."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = folder / f"gpt2-xl-of-{width}"
    texts = [text for record in records(200) for text in record.values()] + list(CONTEXTS)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    ends: Any = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    tokenizer.model.save(str(folder))
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=width, n_layer=LAYERS, n_head=HEADS,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def opened(folder: Path) -> LanguageModel:
    """The model of `make`."""
    return open_folder(folder, Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere"))))
