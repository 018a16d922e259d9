"""RippleEdits (Cohen et al. 2023, arXiv 2307.12976): what else must change, and must not, when a fact does.

The files name the edited subject and target by Wikidata ids, so that the authors' table of labels is read with them. As
in the authors' evaluation, an edit without labels is left out, and a test counts only if the model knows beforehand
what its conditions ask (`Probe.needs`).

Where this differs from the authors' code. Each query of a test is a probe of its own, while they join those of a test
by AND or OR. Of several right objects one is enough, while they want all of them in 30 characters of generated text. A
condition that wants the new fact itself is dropped: nothing but the edit could fulfil it. Their scores are of edits
that succeeded; ours are of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....errors import DataError
from ....records import Record, read_json, read_records
from ...lm.requests import EditRequest
from ..cases import EditCase, Fact, Probe
from ..sources.records import probe
from ..sources.splits import normalised

_KINDS = {
    "Logical_Generalization": ("portability", "logical"),
    "Compositionality_I": ("portability", "two_hop"),
    "Compositionality_II": ("portability", "two_hop_to"),
    "Subject_Aliasing": ("portability", "alias"),
    "Relation_Specificity": ("locality", "same_subject"),
    "Relation_Specifity": ("locality", "same_subject"),
    "Forgetfulness": ("locality", "forgetfulness"),
}
"""What RippleEdits calls a kind of test (one of them in two spellings), and what it is called here."""

_MORE = 2
"""Letters that a name has at least, as in the authors' code; a digit may stand alone."""


def ripple_cases(file: Path, labels: Path) -> Iterator[EditCase]:
    """The edits of a file that have labels, in its order. Raises DataError naming record and field."""
    records = read_records(file)
    edits = [record.part("edit") for record in records]
    wanted = {edit.data.get(name) for edit in edits for name in ("subject_id", "target_id")}
    known = _labels(labels, {str(name) for name in wanted})
    found = 0
    for record, edit in zip(records, edits, strict=True):
        case = _case(record, edit, known)
        if case is not None:
            found += 1
            yield case
    if not found:
        raise DataError(f"{labels}: has no label of any subject in {file}; give the authors' ent_label2id.json")


def _labels(file: Path, wanted: set[str]) -> dict[str, str]:
    """Id to label, of a map of ids to labels or, as the authors have it, of labels to ids."""
    data = read_json(file)
    if not isinstance(data, dict):
        raise DataError(f"{file}: expected a JSON map of labels to Wikidata ids")
    pairs = [(key, value) for key, value in data.items() if isinstance(value, str)]
    # Of several labels of one id the first one stands.
    found = {value: key for key, value in reversed(pairs) if value in wanted}
    return found | {key: value for key, value in pairs if key in wanted and value not in wanted}


def _case(record: Record, edit: Record, labels: Mapping[str, str]) -> EditCase | None:
    subject, target = labels.get(edit.text("subject_id"), ""), _target(edit, labels)
    sentence = edit.text("prompt").rstrip()
    stated = next((end for end in (f" {target}.", f" {target}") if sentence.endswith(end)), None)
    if not subject or not target or stated is None or subject not in sentence.removesuffix(stated):
        return None
    prompt = sentence.removesuffix(stated)
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=prompt,
        subject=subject,
        target_new=target,
        target_true=_before(edit, prompt),
        relation=edit.optional("relation") or "",
        fact=normalised(prompt),
    )
    groups: dict[str, dict[str, tuple[Probe, ...]]] = {"locality": {}, "portability": {}}
    for name, (measure, kind) in _KINDS.items():
        probes = tuple(p for i, test in enumerate(record.items(name)) for p in _probes(record, f"{name}.{i}", test))
        if probes:
            groups[measure][kind] = groups[measure].get(kind, ()) + probes
    return EditCase(request, (), groups["locality"], groups["portability"])


def _target(edit: Record, labels: Mapping[str, str]) -> str:
    """The object: a label, or a date or number as it stands."""
    value = edit.data.get("target_id")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise edit.unlike("target_id", "a Wikidata id, a text or a number")
    text = str(value)
    return labels.get(text, "" if text[:1] == "Q" and text[1:].isdigit() else text)


def _before(edit: Record, prompt: str) -> str | None:
    """The old object, of edits that have one."""
    if not isinstance(edit.data.get("original_fact"), dict):
        return None
    sentence = edit.part("original_fact").text("prompt").strip()
    return sentence.removeprefix(prompt).strip(" .") or None if sentence.startswith(prompt) else None


def _probes(record: Record, where: str, test: Any) -> Iterator[Probe]:
    if not isinstance(test, dict):
        raise record.wrong(where, "a map with `test_queries`")
    queries = list(_queries(record, f"{where}.test_queries", test.get("test_queries")))
    conditions = list(_queries(record, f"{where}.condition_queries", test.get("condition_queries")))
    measure, _ = _KINDS[where.partition(".")[0]]
    for prompt, answers in queries:
        needs = tuple(
            Fact(asked, told[0])
            for asked, told in conditions
            if measure == "locality" or (asked, told) != (prompt, answers)
        )
        asked = probe(prompt, *answers)
        yield Probe(asked.prompt, asked.answers, asked.facts, needs)


def _queries(record: Record, where: str, values: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Prompts with all names of their objects; a query whose objects have none is left out."""
    if not isinstance(values, list):
        raise record.wrong(where, "a list of queries")
    for i, value in enumerate(values):
        place = f"{where}.{i}"
        if not isinstance(value, dict) or not isinstance(value.get("answers"), list):
            raise record.wrong(place, "a map with `prompt` and a list of `answers`")
        prompt = record.checked(f"{place}.prompt", value.get("prompt"))
        names: list[str] = []
        for answer in value["answers"]:
            if not isinstance(answer, dict):
                raise record.wrong(f"{place}.answers", "a list of maps with `value` and `aliases`")
            names += [n for n in (answer.get("value"), *(answer.get("aliases") or ())) if isinstance(n, str)]
        told = tuple(dict.fromkeys(n for n in names if len(n.strip()) >= _MORE or n.strip().isdigit()))
        if told:
            yield prompt, told
