"""WISE's data (Wang et al. 2024, arXiv 2405.14768, section 3.1 and appendix B), each a JSON list of records.

* Hallucination (`hallucination-edit.json`, 600 records; of SelfCheckGPT, Manakul et al. 2023, arXiv 2303.08896):
  `prompt` (a biography as far as it is right), `target_new` (Wikipedia's next sentence), `subject`.
* Temporal (`temporal-edit.json`, 75 records): `prompt` (an entity), `target_new` (a paragraph on what it is by now),
  `subject`, and `ood_rephrase`, another article on it, which is read and not answered (`EditCase.articles`).

Both have `locality_prompt` and `locality_ground_truth`: half a web page and its other half, which is empty in some
records: those ask nothing of locality. ZsRE as WISE uses it is
MEND's file (`zsre` with style `mend`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .....records import read_records
from ....lm.requests import EditRequest
from ...cases import EditCase
from ..records import probe
from ..splits import normalised

NEEDED = ("prompt", "target_new", "subject", "locality_prompt", "locality_ground_truth")
KNOWN = frozenset({*NEEDED, "ood_rephrase"})


def wise_cases(file: Path) -> Iterator[EditCase]:
    """The records of a file. Raises DataError naming record and field."""
    for record in read_records(file):
        if strange := sorted(record.data.keys() - KNOWN):
            raise record.wrong(strange[0], f"no such field; WISE's records have {', '.join(sorted(KNOWN))}")
        if missing := [name for name in NEEDED if name not in record.data]:
            raise record.wrong(missing[0], "a text, it is missing")
        prompt, target, subject, elsewhere = (record.text(name) for name in NEEDED[:4])
        answer = record.optional(NEEDED[4])
        yield EditCase(
            EditRequest(
                id=f"{record.index:06d}",
                prompt=prompt,
                subject=subject,
                target_new=target,
                fact=normalised(prompt),
            ),
            locality={} if answer is None else {"other": (probe(elsewhere, answer),)},
            articles=record.one("ood_rephrase"),
        )
