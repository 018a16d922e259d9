"""What stands before a change is computed once: the same numbers as when all of it is computed every time."""

from __future__ import annotations

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import block, blocks
from benchwright.adapters.lm.interventions.locate_then_edit.contexts import fill
from benchwright.adapters.lm.interventions.locate_then_edit.options import Value
from benchwright.adapters.lm.interventions.locate_then_edit.value import value_deltas
from benchwright.adapters.lm.losses import Predictions
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.prefixes import bare
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.resumed import added
from benchwright.adapters.lm.steering import Added

ROWS = [(5, 9, 40, 7, 13, 60), (33, 21, 8), (12, 70, 71, 72, 73)]
CUTS, PLACES = [3, 0, 2], [[4, 5], [0, 2], [2]]
CHOSEN = [[0, 1, 2], [2, 0]]


def pushed(lm: LanguageModel, cut: bool, chosen: list[int]) -> torch.Tensor:
    """Logits, and their gradient, with a vector added behind the first block at the cuts of the rows."""
    asked = Predictions(lm, ROWS, PLACES, [len(row) - 1 for row in ROWS], 1, CUTS if cut else None)
    vectors = torch.full((len(chosen), lm.model.config.hidden_size), 0.3, requires_grad=True)
    columns = torch.tensor([0 if cut else CUTS[i] for i in chosen])
    with added(lm, block(lm.model, 0)[0], torch.arange(len(chosen)), columns, vectors):
        logits = asked.logits(chosen)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), vectors)
    return torch.cat([logits.detach().flatten(), gradient.flatten()])


@pytest.mark.parametrize("family", lm_fixtures.FAMILIES)
def test_ends_of_rows_say_what_whole_rows_say(family: str) -> None:
    lm = lm_fixtures.tiny(family, layers=3)
    for chosen in CHOSEN:
        torch.testing.assert_close(pushed(lm, True, chosen), pushed(lm, False, chosen), atol=1e-4, rtol=1e-4)
    assert lm.verify() == []


def test_the_window_of_an_attention_counts_tokens() -> None:
    lm = lm_fixtures.tiny("mistral", layers=3)
    wide = pushed(lm, False, CHOSEN[0])
    lm.model.config.sliding_window = 3  # shorter than the rows
    narrow = pushed(lm, False, CHOSEN[0])
    assert not torch.allclose(narrow, wide, atol=1e-2)
    torch.testing.assert_close(pushed(lm, True, CHOSEN[0]), narrow, atol=1e-4, rtol=1e-4)


def test_the_head_may_read_a_lower_block() -> None:
    lm = lm_fixtures.tiny("llama", layers=3)
    whole, ends = (Predictions(lm, ROWS, PLACES, [0, 0, 0], 1, cuts, last=1) for cuts in (None, CUTS))
    torch.testing.assert_close(ends.logits(), whole.logits(), atol=1e-5, rtol=1e-5)
    last = Predictions(lm, ROWS, PLACES, [0, 0, 0], 1)
    assert len(blocks(lm.model)[1]) == 3
    assert not torch.allclose(last.logits(), whole.logits())


def test_values_are_the_same_beside_an_inserted_module_that_does_nothing() -> None:
    """Then nothing is left out of the passes: an inserted module sees whole prompts."""
    lm = lm_fixtures.tiny("gpt2", layers=3)
    requests = [
        EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo"),
        EditRequest("1", "Mira plays the", "Mira", "horn"),
    ]
    filled = [fill(lm, r, ["{}", "So. {}"], "{} is a") for r in requests]
    initial = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    value = Value(steps=6, weight_decay=1e-3)
    assert bare(lm)
    short = value_deltas(lm, filled, initial, value, 1, 2)
    nothing = Patch(inserts={block(lm.model, 0)[0]: Added(torch.zeros(1, 32), 1.0, "all")})
    with nothing.applied(lm):
        assert not bare(lm)
        assert bare(lm, besides=block(lm.model, 0)[0])
        whole = value_deltas(lm, filled, initial, value, 1, 2)
    torch.testing.assert_close(short, whole, atol=1e-4, rtol=1e-4)
