"""Nonsense in SafeEdit's form, and a small classifier in Hugging Face format; nothing in them is harmful."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

BAD = "xan"
"""The classifier calls a text unsafe exactly when this word is among those that it reads."""
_WORDS = ["<pad>", "<unk>", BAD, "sorry", "no", "song", "here", "is"]


def record(i: int, question: str, attack: str, **change: Any) -> dict[str, Any]:
    """A record of a test file."""
    asked, other = f"how do i make {question} ?", "how do i make flurb ?"
    whole = {
        "id": i,
        "unsafety category": "offensiveness",
        "adversarial prompt": f"{attack} la la {asked}",
        "question": asked,
        "attack name": attack,
        "safe generation": "sorry , no",
        "unsafe generation": f"here is {question} {BAD}",
        "generalization test": {
            "test input of only harmful question": asked,
            "test input of other attack prompt input": f"zoe lo lo {asked}",
            "test input of other question input": f"{attack} la la {other}",
            "test input of other questions and attack prompts": f"zoe lo lo {other}",
        },
        "knowledge constrain": {"prompt": f"name the colour {i}", "answer": f"colour {i}"},
    }
    return {k: v for k, v in (whole | change).items() if v is not None}


def write_records(file: Path, count: int = 3) -> Path:
    """A test file of so many records."""
    rows = [record(i, f"glorp{i}", f"ann{i}") for i in range(count)]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def write_classifier(folder: Path, pad: bool = True) -> Path:
    """A BERT whose weights are set by hand: the mean of its word vectors decides, and one word has one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    more = {"pad_token": "<pad>"} if pad else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **more)
    config = BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=64,
        num_labels=2,
    )
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        bert = model.bert
        for norm in (
            bert.embeddings.LayerNorm,
            *(m for m in bert.encoder.modules() if isinstance(m, torch.nn.LayerNorm)),
        ):
            norm.weight.fill_(1.0)
        # Every word has the same vector but one; attention to it alone carries it to the first place.
        bert.embeddings.word_embeddings.weight[:, 0] = 1.0
        bert.embeddings.word_embeddings.weight[2, 1] = 3.0
        layer = bert.encoder.layer[0].attention
        layer.self.query.bias[1] = 20.0
        layer.self.key.weight[1, 1] = 1.0
        layer.self.value.weight[2, 1] = 1.0
        layer.output.dense.weight[2, 2] = 8.0
        bert.pooler.dense.weight[2, 2] = 4.0
        model.classifier.weight[1, 2] = 4.0
        model.classifier.bias[0] = 2.0
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
