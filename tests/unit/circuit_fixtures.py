"""Questions, a model of a dozen words, pairs of random tokens, and analyzers, for the tests of circuits."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.items import Question
from benchwright.adapters.circuits.methods.analyzer import Analyzer
from benchwright.adapters.circuits.pairing import Paired, paired
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.model import LanguageModel

FAMILIES = ("gpt2", "gpt_neox", "gptj", "llama", "gemma2", "phi")
WORDS = "<unk> a b c d e f New York Jersey Texas is of".split()  # noqa: SIM905


def word_model() -> LanguageModel:
    """A model that knows a dozen words, one token each."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    return LanguageModel(
        GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=8, vocab_size=len(WORDS))), fast
    )


def question(id: str = "q", **fields: Any) -> Question:
    """A question with a pair, unless something else is said."""
    said = {"clean": "a is", "corrupt": "b is", "answers": ("c",), "wrongs": ("d",), **fields}
    return Question(id=id, **said)


def one(lm: LanguageModel, *questions: Question, answers: Any = "first_differing") -> Paired:
    """What questions become, those that cannot be asked counted."""
    return paired(lm, questions, strict=False, answers=answers)


def study_of(wiring: Wiring, *, seed: int = 7, lengths: tuple[int, ...] = (4, 5, 4, 6, 4), **what: Any) -> Study:
    """A pair of random tokens of each length."""
    rng = np.random.default_rng(seed)
    pairs = [
        Pair(str(i), *(tuple(rng.integers(3, 100, length).tolist()) for _ in range(2)), (5 + i, 8), (9 + i,))
        for i, length in enumerate(lengths)
    ]
    known: dict[str, Any] = {"target": LogitDifference(type="logit_difference"), "ablation": "patching", "batch": 64}
    return Study(wiring, pairs, rng=lambda _: np.random.default_rng(0), **known | what)


def analyzer(selector: dict[str, Any], **what: Any) -> Analyzer:
    return Analyzer.model_validate(
        {
            "type": "circuit",
            "granularity": "edge",
            "scorer": {"type": "exact"},
            "target": {"type": "logit_difference"},
            "ablation": "patching",
            "keys_and_values": "grouped",
            "reduction": "mean",
            "selector": selector,
            "prune": False,
            **what,
        }
    )
