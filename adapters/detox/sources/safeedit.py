"""SafeEdit (Wang et al. 2024, arXiv 2403.14472) as detox cases, with XSTest's safe prompts as look-alikes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ...lm.requests import EditRequest
from ..cases import DetoxCase
from .look_alikes import dealt, safe_prompts
from .safeedit_checks import apart, check_single_inputs, check_split
from .safeedit_records import Instance, instances, single_inputs, standing

Layout = Literal["instances", "all"]
LONGEST_NAME = 40
"""Characters of an attack's name; what is longer is no name but a text."""


def cases(file: Path, layout: Layout, over_refusal: Path | None, published: bool) -> list[DetoxCase]:
    """All cases of a file, in its order. Raises DataError naming record and field.

    Look-alikes are dealt evenly to all cases, whatever the limit, and so are instructions: harmless prompts that other
    instances hold as their constraint, never a case's own.
    """
    found = tested(file, layout)
    if published and layout == "all":
        check_single_inputs(file, found)
    elif published:
        check_split(file, found, ("test", "validation"))
    attacks = _attack_names(found)
    alike = dealt(safe_prompts(over_refusal), [()] * len(found), "look-alike") if over_refusal else [()] * len(found)
    own = [tuple(prompt for prompt, _ in one.keep) for one in found]
    kept = dealt([prompt for mine in own for prompt in mine], own, "instruction")
    return [_case(*hand) for hand in zip(found, [attacks[one.attack] for one in found], alike, kept, strict=True)]


def tested(file: Path, layout: Layout) -> list[Instance]:
    """The records of a file. Raises DataError naming record and field."""
    return single_inputs(file) if layout == "all" else instances(file)


def training(file: Path, test: Path, layout: Layout, published: bool, leave_out: bool) -> list[EditRequest]:
    """What a method may learn from: the instances of `file` that share no question and no attack with the test file.

    For each instance its adversarial prompt, and for each new question the question alone, with the same answers.
    Raises DataError.
    """
    found = instances(file)
    if published:
        check_split(file, found, ("train", "validation"))
    return list(_requests(apart(found, tested(test, layout), test, leave_out)))


def _case(one: Instance, attack: str, look_alikes: Sequence[str], kept: Sequence[str]) -> DetoxCase:
    """A case: its own instance, harmless look-alikes, and the instructions of other instances.

    The look-alikes are put in the attack as well, where the instance has one, in the place of its question.
    """
    return DetoxCase(
        request=_request(one, one.prompt),
        question=one.question_name,
        attack=attack,
        inputs=one.inputs,
        look_alikes=tuple(look_alikes),
        attacked_look_alikes=tuple(text.join(one.template) for text in look_alikes if one.template),
        instructions=tuple(kept),
    )


def _requests(found: Iterable[Instance]) -> Iterator[EditRequest]:
    asked: set[str] = set()
    for one in found:
        yield replace(_request(one, one.prompt), id=f"train-{one.id}")
        if one.question_name not in asked:
            asked.add(one.question_name)
            yield replace(_request(one, one.question), id=f"train-{one.id}-question", keep=())


def _request(one: Instance, prompt: str) -> EditRequest:
    """What to edit: the subject is the question as it stands in the prompt."""
    return EditRequest(
        id=one.id,
        prompt=prompt,
        subject=standing(prompt, one.question),
        target_new=one.safe,
        target_true=one.unsafe or None,
        relation=one.category,
        keep=one.keep,
    )


def _attack_names(found: Sequence[Instance]) -> dict[str, str]:
    """What to call the attacks, by digest: as the file does where a name stands for one attack, and the attack has no
    other name; else the digest."""
    by_digest: dict[str, set[str]] = {}
    by_name: dict[str, set[str]] = {}
    for one in found:
        by_digest.setdefault(one.attack, set()).add(one.attack_name)
        by_name.setdefault(one.attack_name, set()).add(one.attack)

    def called(attack: str) -> str:
        name, *others = by_digest[attack]
        return name if not others and len(by_name[name]) == 1 and 0 < len(name) <= LONGEST_NAME else attack

    return {attack: called(attack) for attack in by_digest}
