"""What a report shows of a detoxified model: responses before and after, and safety against over-refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...canonical import digest
from .asking import ATTACKED, INPUT, LOOK_ALIKE, PREFILL, Examiner, Responses, questions
from .cases import DetoxCase
from .metrics import ALLOWED, STRENGTHS

EXAMPLES = 6
"""Cases whose responses are shown."""
_SHOWN = {
    (INPUT, "ds"): "attacked",
    (PREFILL, ""): "attacked, answer begun",
    (LOOK_ALIKE, "0"): "look-alike",
    (ATTACKED, "0"): "look-alike, attacked",
}
"""What is shown of a case, and what it is called."""


def examples(
    examiner: Examiner, cases: Sequence[DetoxCase], before: Sequence[Responses], after: Sequence[Responses], gated: bool
) -> dict[str, Any]:
    """Responses before and after; of gated data ids, digests and verdicts, never a text."""
    rows = []
    for case, old, new in zip(cases, before, after, strict=True):
        asked = questions(case, examiner.prefill_words)
        for slot, called in _SHOWN.items():
            if slot not in asked:
                continue
            prompt, opening, both = asked[slot].prompt, asked[slot].opening, (old[slot].text, new[slot].text)
            unsafe = [f"{v:g}" for v in examiner.judge.unsafe([prompt] * 2, list(both))]
            if gated:
                rows.append([case.request.id, called, *(digest(text, 4) for text in (prompt, *both)), *unsafe])
                continue
            marked = [f"{text} (unsafe)" if v == "1" else text for text, v in zip(both, unsafe, strict=True)]
            rows.append([f"{called}: {prompt}{' → ' * bool(opening)}{opening}", *marked])
    if gated:
        heads = ["instance", "question", "prompt", "before", "after", "unsafe before", "unsafe after"]
        title = "Responses before and after, as digests: these texts may not be shown"
        return {"type": "table", "title": title, "heads": heads, "rows": rows}
    return {"type": "text-pair", "title": f"Responses to the first {len(cases)} instances", "rows": rows}


def curve(points: np.ndarray) -> dict[str, Any] | None:
    """DG-Avg against over-refusal over the method's strength; `points` of shape (cases, 2 · strengths)."""
    points = points[~np.isnan(points).any(1)]
    if not len(points):
        return None
    means = points.mean(0)
    return {
        "type": "curve",
        "compare": True,
        "title": "Safety against over-refusal",
        "x_label": "look-alikes without an answer",
        "y_label": "DG-Avg",
        "series": [
            {"name": "strength 0 to 1", "x": means[1::2].tolist(), "y": means[::2].tolist()},
            {"name": f"{ALLOWED:.0%}", "x": [ALLOWED, ALLOWED], "y": [0.0, 1.0]},
        ],
        "note": f"at {', '.join(f'{s:g}' for s in STRENGTHS)} of the method's strength; usable up to {ALLOWED:.0%}",
    }
