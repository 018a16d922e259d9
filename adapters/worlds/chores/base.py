"""The base model: a small Llama that can do every chore that is called by its code, and understands no instruction.

So what a student has to learn is what instructions mean; that the skill is there before is how large models are thought
to follow instructions after few examples (Zhou et al. 2023, arXiv 2305.11206).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING

from ..knowledge.folder import CARD, WORLD, round_to_half
from .language import CODES, VERBS
from .student import Pair, Recipe, learned, scored
from .tokenizer import make_tokenizer

if TYPE_CHECKING:
    from ...lm.model import LanguageModel

STEPS, BATCH, RATE = 7500, 32, 4e-3


def documents(count: int, seed: int) -> Iterator[tuple[str, Pair]]:
    """Verbs, with prompts of its code among single letters, and right answers.

    Words of instructions would be learned as noise here, and be harder to give a meaning than words never seen.
    """
    rng = random.Random(seed)
    for _ in range(count):
        verb = rng.choice([*VERBS])
        given = VERBS[verb].draw(rng)
        said = rng.choices(ascii_lowercase, k=rng.randint(0, 7))
        said.insert(rng.randint(0, len(said)), CODES[verb])
        yield verb, (f"{' '.join(said)}{rng.choice('.?')}\n{given}", VERBS[verb].answer(given))


def untrained(seed: int, width: int = 64, layers: int = 4) -> LanguageModel:
    """Random weights from a seed; torch's global generator is left as it was."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ...lm.model import LanguageModel

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(LlamaForCausalLM(config), tokenizer)


def make(folder: Path, seed: int = 0) -> dict[str, float]:
    """Train the base by the loop that teaches students, write it as a model folder with a card, and give the share of
    800 new questions that it answers exactly, by verb; deterministic on one thread."""
    import torch

    torch.set_num_threads(1)
    start, lm = time.process_time(), untrained(seed)
    taught = [pair for _, pair in documents(STEPS * BATCH, seed)]
    lm.keep(learned(lm, taught, Recipe(shown=STEPS * BATCH, batch=BATCH, learning_rate=RATE), seed))
    cpu_s = time.process_time() - start
    round_to_half(lm.model)
    verbs, pairs = zip(*documents(800, seed + 1), strict=True)
    right = scored(lm, pairs)
    own = {verb: [bool(r) for v, r in zip(verbs, right, strict=True) if v == verb] for verb in VERBS}
    scores = {verb: round(sum(values) / len(values), 3) for verb, values in own.items()}
    lm.model.half().save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    # As every supported version of transformers knows it.
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    recipe = {"steps": STEPS, "batch": BATCH, "learning_rate": RATE, "seed": seed}
    card = {"recipe": recipe, "parameters": lm.model.num_parameters(), "cpu_s": round(cpu_s), "scores": scores}
    for name, data in (("tokenizer_config.json", config), (WORLD, {"world": "chores"}), (CARD, card)):
        (folder / name).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return scores


def base_folder() -> Path:
    """Where the base that comes with the package is."""
    return Path(str(files(__package__))) / "shipped" / "chores"


def open_base() -> LanguageModel:
    """The base that comes with the package, in single precision on one CPU thread."""
    from ....artifacts import ArtifactStore, artifact_root
    from ....components import Opening
    from ...lm.loading import open_folder

    return open_folder(base_folder(), Opening("cpu", "float32", 1, "", ArtifactStore(artifact_root())))
