"""What ConceptEdit measures beside reliability, generalization and locality.

Its Concept Consistency, a judgement by GPT-4 whether the definition that the model writes means the new one, is not
here; the report shows what the model writes.
"""

from __future__ import annotations

from ....metrics import Metric
from ..metrics import METRICS as FACTS

CONCEPT_EDIT = "Wang et al. 2024 (ConceptEdit), arXiv 2403.06259, section 3"

INSTANCE = (
    Metric(
        "instance_change",
        "instance change",
        "higher",
        "share of instances of the old definition that belong to the concept before the edit, less that after it: yes "
        "is likelier than no after the question. The released code counts an answer that is neither as yes",
        CONCEPT_EDIT,
        unit="score",
    ),
)

METRICS = (*(m for m in FACTS if not m.id.startswith(("portability", "retention"))), *INSTANCE)
