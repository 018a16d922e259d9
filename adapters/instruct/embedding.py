"""Texts as vectors of unit length; a text that says nothing is a vector of zeros, like none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ...errors import ModelError
from ..chat.requests import sendable
from .methods.diversity import Embedding, MeanPool, SentenceTransformers
from .rows import Row
from .stage import Workbench
from .texts import unicode_words

if TYPE_CHECKING:
    from ..lm.model import LanguageModel

Vectors: TypeAlias = Any
"""Shape (texts, width): an array of numpy, or a sparse matrix of scipy by rows (CSR), which has no types."""


def text_of(row: Row, of: Literal["prompt", "output", "both"]) -> str:
    """Instruction with input, the answer, or both; with what a conversation said earlier."""
    prompt = [*(turn.text for turn in row.earlier), row.prompt]
    return sendable("\n".join({"prompt": prompt, "output": [row.output], "both": [*prompt, row.output]}[of]))


def embedded(embedding: Embedding, texts: Sequence[str], bench: Workbench) -> Vectors:
    """A vector for each text. Raises ModelError where a model cannot be opened, or gives no numbers."""
    if isinstance(embedding, MeanPool):
        pooled = mean_pool(bench.models[embedding.model], texts, embedding.batch_size, bench.progress)
        return unit(pooled, embedding.model)
    if isinstance(embedding, SentenceTransformers):
        found = unit(sentences(bench.files["embedding.path"], texts, embedding.batch_size), embedding.path)
    else:
        found = tfidf(texts)
    bench.progress(len(texts))
    return found


def tfidf(texts: Sequence[str]) -> Vectors:
    """Count of a word times ln((1 + N) / (1 + n)) + 1, for n of the N texts with it; shape (texts, known words)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(unicode_words, texts)):
        return np.zeros((len(texts), 1))
    return TfidfVectorizer(analyzer=unicode_words).fit_transform(texts)


def mean_pool(
    lm: LanguageModel, texts: Sequence[str], batch_size: int, progress: Callable[[int], None] = lambda rows: None
) -> np.ndarray:
    """Mean over each text's tokens, those that the tokenizer adds included, of the last norm's output.

    Shape (texts, width), float32. Texts are cut at the model's context; zeros for one without tokens.
    """
    import torch

    from ..lm.architecture import final_norm
    from ..lm.forward import recorded
    from ..lm.scoring import batches, tokenised

    rows = [tokenised(lm, text)[0][: lm.context] for text in texts]
    norm, module = final_norm(lm.model)
    found = np.zeros((len(rows), module.weight.shape[0]), dtype=np.float32)
    for batch in batches(rows, batch_size):
        asked = [i for i in batch if rows[i]]
        if asked:
            hidden = recorded(lm, [rows[i] for i in asked], [norm])[norm][1].float()
            lengths = torch.tensor([len(rows[i]) for i in asked], device=hidden.device)[:, None]
            real = torch.arange(hidden.shape[1], device=hidden.device) < lengths
            found[asked] = ((hidden * real[:, :, None]).sum(1) / lengths).cpu().numpy()
        progress(len(batch))
    return found


def sentences(folder: Path, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """Embeddings by a sentence-transformers model in a folder, shape (texts, width). Raises ModelError."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelError(
            "embedding `sentence_transformers` needs a library: pip install 'benchwright[embed]', "
            "or use `tfidf` or `mean_pool`"
        ) from error
    try:
        model: Any = SentenceTransformer(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: not the folder of a sentence-transformers model ({error})") from error
    return np.asarray(model.encode(list(texts), batch_size=batch_size, show_progress_bar=False), dtype=np.float32)


def unit(vectors: np.ndarray, model: str) -> np.ndarray:
    """Vectors at length 1, zeros as they are. Raises ModelError for what is not finite."""
    if not np.isfinite(vectors).all():
        raise ModelError(f"{model}: the model's embeddings are not finite numbers; it is broken, or needs float32")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
