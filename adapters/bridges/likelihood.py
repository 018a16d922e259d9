"""Log-probabilities of long targets, and of many short ones behind the same text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ..lm.forward import logits_at
from ..lm.model import LanguageModel
from ..lm.scoring import Row, batches


def windows(row: Row, most: int) -> Iterator[Row]:
    """Rows of at most `most` tokens that speak of each token of the target once, with as much before it as fits.

    One, its prompt cut at the left, as long as the target is shorter than that; else the target in turn, the last of
    them as long as the others. These are lm-eval's, also of a text alone (`start` 1).
    """
    done = row.start
    while done < len(row.ids):
        end = min(len(row.ids), done + most - 1)
        begin = max(0, end - most)
        yield Row(row.ids[begin:end], done - begin)
        done = end


@torch.inference_mode()
def likelihoods(lm: LanguageModel, rows: Sequence[Row], batch_size: int) -> list[tuple[float, bool]]:
    """Sum of the log-probabilities of each row's target in nats, and whether greedy decoding gives the target.

    A target's last token is not read: rows that differ in nothing else, as answers of one token, cost one row. A model
    that an edit has broken gives no probabilities; nothing is likely then.
    """
    shared: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for i, row in enumerate(rows):
        shared.setdefault((row.ids[:-1], row.start), []).append(i)
    read = list(shared)
    found: list[tuple[float, bool]] = [(-math.inf, False)] * len(rows)
    for batch in batches([ids for ids, _ in read], batch_size):
        asked = [read[b] for b in batch]
        spans = [range(start - 1, len(ids)) for ids, start in asked]
        logits = logits_at(lm, [ids for ids, _ in asked], spans, [start - 1 for _, start in asked])
        members: list[int] = []
        places: list[int] = []
        at = 0
        for key, span in zip(asked, spans, strict=True):
            for i in shared[key]:
                members.append(i)
                places += range(at, at + len(span))
            at += len(span)
        tokens = [token for i in members for token in rows[i].target]
        logp = (logits[places, tokens] - logits.logsumexp(-1)[places]).nan_to_num(nan=-math.inf).tolist()
        said = (logits.argmax(-1)[places] == torch.tensor(tokens, device=logits.device)).tolist()
        at = 0
        for i in members:
            until = at + len(rows[i].target)
            found[i] = (sum(logp[at:until]), all(said[at:until]))
            at = until
    return found
