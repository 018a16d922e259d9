"""What cannot be avoided: passes through blocks of a model, of the tokens that a method must compute, and no others.

A floor has no padding, no attention to what is not computed again, no optimiser, no tokens to make and no patch to
apply. Rows go through the blocks in the batch size that was fastest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from setting import BATCH, GRACE, ROME_LAYER, VALUE, WISE
from toy import CONTEXTS, LAYERS

from benchwright.adapters.editing.cases import EditCase
from benchwright.adapters.editing.probes import questions
from benchwright.adapters.lm.architecture import blocks, final_norm, head
from benchwright.adapters.lm.interventions.locate_then_edit.contexts import Filled, fill
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch

SIZES = (16, 64, 256)
"""Rows in a batch, where a method may work on many requests at once."""


@dataclass(frozen=True)
class Work:
    """Rows that go through some blocks, several times."""

    lengths: Sequence[int]
    """Tokens of each row."""
    first: int
    """The first of the blocks; they go up to the last one, or to `until`."""
    forwards: int = 1
    backwards: int = 0
    until: int = LAYERS
    asked: int = 0
    """Places at which the head is computed, in all rows together."""
    sizes: tuple[int, ...] = SIZES

    def seconds(self, lm: LanguageModel) -> float:
        """CPU seconds of all passes."""
        each = [self._once(lm, size, backward=self.backwards > 0) for size in self.sizes]
        forward, backward = min(each, key=sum)
        return self.forwards * forward + self.backwards * backward

    def _once(self, lm: LanguageModel, size: int, backward: bool) -> tuple[float, float]:
        """Of one pass forward and one back."""
        used, width = blocks(lm.model)[1][self.first : self.until], lm.model.config.hidden_size
        spent, asked = [0.0, 0.0], self.asked / len(self.lengths)
        rows_by_length = sorted(self.lengths)
        for start in range(0, len(rows_by_length), size):
            some = rows_by_length[start : start + size]
            # Rows of one length with as many tokens together: what would be computed if padding cost nothing.
            length = max(1, round(sum(some) / len(some)))
            rows = max(1, round(sum(some) / length))
            hidden = torch.randn(rows, length, width, requires_grad=backward)
            begun = time.process_time()
            with torch.set_grad_enabled(backward):
                out: Any = hidden
                for block in used:
                    out = block(out)
                if asked:
                    places = out.reshape(-1, width)[: max(1, round(asked * rows))]
                    out = head(lm.model)[1](final_norm(lm.model)[1](places)).log_softmax(-1)
                total = out.sum()
            half = time.process_time()
            if backward:
                total.backward()
            spent[0] += half - begun
            spent[1] += time.process_time() - half
        return spent[0], spent[1]


def floor(lm: LanguageModel, method: str, cases: Sequence[EditCase]) -> tuple[float, float]:
    """CPU seconds of the edits of all cases, and of the whole protocol."""
    edits = sum(work.seconds(lm) for work in _edits(lm, method, cases))
    rows = [q.row for case in cases for q in questions(lm, case, Patch())[0]]
    lengths, asked = [len(row.ids) - 1 for row in rows], sum(len(row.target) for row in rows)
    changed = {"rome": ROME_LAYER, "memit": BATCH[0], "grace": GRACE["layer"], "wise": WISE["layer"]}[method]
    scoring = sum(Work(lengths, first, asked=asked).seconds(lm) for first in (0, changed))
    return edits, edits + scoring


def _edits(lm: LanguageModel, method: str, cases: Sequence[EditCase]) -> Iterator[Work]:
    if method in ("rome", "memit"):
        yield from _values(lm, method, [fill(lm, case.request, CONTEXTS, "{} is a") for case in cases])
        return
    for case in cases:
        filled = fill(lm, case.request, CONTEXTS if method == "wise" else CONTEXTS[:1], "{} is a")
        rows, asked = filled.rows, sum(len(row.target) for row in filled.rows)
        whole = [len(row.ids) - 1 for row in rows]
        layer, steps = (WISE["layer"], WISE["steps"]) if method == "wise" else (GRACE["layer"], GRACE["steps"])
        yield Work(whole, 0, until=layer, sizes=(len(rows),))
        if method == "wise":
            # The changed weight moves every token; the irrelevant text beside the edit has about the prompt's length.
            yield Work([*whole, whole[0]], layer, steps + 1, steps, asked=asked, sizes=(len(rows) + 1,))
        else:
            yield Work([rows[0].start - 1], layer, sizes=(1,))
            yield Work([len(rows[0].target)], layer, steps, steps, asked=asked, sizes=(1,))


def _values(lm: LanguageModel, method: str, filled: Sequence[Filled]) -> Iterator[Work]:
    """What stands before the subject does not move in any block, and is computed once, as is what lies below."""
    layer = ROME_LAYER if method == "rome" else BATCH[-1]
    rows = [(len(row.ids) - 1, at) for f in filled for row, at in zip(f.rows, f.subject, strict=True)]
    asked = sum(len(row.target) for f in filled for row in f.rows) + len(filled)
    essences = [(f.essence_subject + 1, f.essence_subject) for f in filled]
    yield Work([length for length, _ in [*rows, *essences]], 0, until=layer + 1)
    if befores := [at for _, at in [*rows, *essences] if at]:
        yield Work(befores, layer + 1)
    ends = [length - at for length, at in [*rows, *essences]]
    yield Work(ends, layer + 1, VALUE["steps"], VALUE["steps"] - 1, asked=asked)
    if method == "memit":
        # Keys are read again after each layer's change, from there on.
        for number in BATCH[:-1]:
            yield Work([at + 1 for _, at in rows], number, until=layer + 1)


def batch_of(lm: LanguageModel, method: str, cases: Sequence[EditCase]) -> Callable[[], float]:
    """One pass of the largest batch of a method's rows, forward and back through what it trains: activations that any
    implementation has to hold. For memory."""
    together = 16 if method in ("rome", "memit") else 1
    contexts = CONTEXTS[:1] if method == "grace" else CONTEXTS
    filled = [fill(lm, case.request, contexts, "{} is a") for case in cases[:together]]
    first = {"rome": ROME_LAYER + 1, "memit": BATCH[-1] + 1, "grace": GRACE["layer"], "wise": WISE["layer"]}[method]
    rows = [row for f in filled for row in f.rows]
    longest, asked = max(len(row.ids) for row in rows), sum(len(row.target) for row in rows)
    count = len(rows) + len(filled) * (method != "grace")
    return lambda: Work([longest] * count, first, 1, 1, asked=asked, sizes=(count,)).seconds(lm)
