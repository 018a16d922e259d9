"""ROME's attribute snippets (Meng et al. 2022, arXiv 2202.05262): what Wikipedia says of things that share a fact.

A record has `relation_id`, `target_id` and `samples`, each of which is what the target is in that relation: its `name`
and a `text` about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from ....records import listed, read_records

Named = tuple[str, str]
"""Name and text."""


class Snippets:
    """Texts by relation and object."""

    def __init__(self, file: Path) -> None:
        """Reads the file. Raises DataError naming record and field."""
        found: dict[tuple[str, str], list[Named]] = defaultdict(list)
        for record in read_records(file):
            key = record.text("relation_id"), record.text("target_id")
            for sample in listed(file, record.items("samples"), f"{record.place}: samples"):
                found[key].append((sample.text("name"), sample.text("text")))
        self._found: Mapping[tuple[str, str], list[Named]] = found

    def alike(self, relation: str, target: str) -> tuple[str, ...]:
        """Texts about everything that `target` is, in the relation."""
        return tuple(text for _, text in self._found.get((relation, target), ()))

    def essence(self, relation: str, subject: str, *targets: str) -> tuple[str, ...]:
        """Texts about the subject itself, under any of the objects.

        The released code looks under the new object alone, where a subject of which that is false has none.
        """
        named = (pair for target in targets for pair in self._found.get((relation, target), ()))
        return tuple(dict.fromkeys(text for name, text in named if name == subject))

    def texts(self) -> Iterator[str]:
        """All texts, in the order of the file."""
        for pairs in self._found.values():
            for _, text in pairs:
                yield text
