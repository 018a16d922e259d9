"""Extraction tasks from a user's own triples and texts, without a model (after InstructIE, Gui et al. 2023, arXiv
2305.11527: entities of a text are linked, and the relations that the graph holds between them are the answer)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....records import read_any
from ..prompts.loading import shipped
from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from .asked import text_of

if TYPE_CHECKING:
    from ..methods.generate import KgToInstruct


class Mention(NamedTuple):
    """Where a text speaks of an entity."""

    start: int
    text: str
    entities: tuple[str, ...]
    """Those that have this name; more than one where the name alone does not tell."""


@dataclass(frozen=True)
class Graph:
    """Triples, and the names of their entities."""

    relations: Mapping[tuple[str, str], Sequence[str]]
    """Relations between a subject and an object, in the order of the file."""
    names: Mapping[str, tuple[str, ...]]
    """Entities by name."""
    lengths: Mapping[str, Sequence[int]]
    """Lengths of the names that begin with a character, longest first."""

    def known(self) -> list[str]:
        """All relations, sorted."""
        return sorted({r for relations in self.relations.values() for r in relations})


def read_graph(file: Path) -> Graph:
    """Triples of a JSON list or JSONL: `subject`, `relation`, `object`, perhaps `aliases` (of the subject) and
    `object_aliases`. An entity is known by its own name and by its aliases. Raises DataError."""
    relations: dict[tuple[str, str], list[str]] = defaultdict(list)
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for record in read_any(file):
        subject, relation, other = (record.text(name) for name in ("subject", "relation", "object"))
        if relation not in relations[subject, other]:
            relations[subject, other].append(relation)
        for entity, aliases in ((subject, "aliases"), (other, "object_aliases")):
            for name in (entity, *record.texts(aliases)):
                names[name.strip()][entity] = None
    lengths: dict[str, set[int]] = defaultdict(set)
    for name in names:
        for first in {name[0], name[0].upper()}:
            lengths[first].add(len(name))
    return Graph(
        {pair: tuple(found) for pair, found in relations.items()},
        {name: tuple(entities) for name, entities in names.items()},
        {first: sorted(found, reverse=True) for first, found in lengths.items()},
    )


def mentions(text: str, graph: Graph) -> list[Mention]:
    """Mentions from left to right, the longest name first, none inside another.

    A name is found where no letter or digit of the same word goes on beside it (in Han, Kana and Thai, where words are
    not parted, anywhere), in its own case; a name that begins small also with a capital, as at the start of a sentence.
    """
    found, place = [], 0
    while place < len(text):
        for length in graph.lengths.get(text[place], ()):
            name = text[place : place + length]
            entities = graph.names.get(name) or graph.names.get(name[:1].lower() + name[1:])
            if entities and _apart(text, place) and _apart(text, place + length):
                found.append(Mention(place, name, entities))
                place += length
                break
        else:
            place += 1
    return found


def _apart(text: str, place: int) -> bool:
    """Whether a word may end before this place."""
    if place in (0, len(text)):
        return True
    before, after = text[place - 1], text[place]
    return not (before.isalnum() and after.isalnum()) or _unspaced(before) or _unspaced(after)


def _unspaced(char: str) -> bool:
    return "\u0e00" <= char <= "\u0eff" or "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff"


def linked(found: Sequence[Mention], graph: Graph) -> dict[str, Mention]:
    """First mention of each entity. A name of several means the one that has most relations with entities that are
    named without doubt; none, where that is not a single one."""
    sure = {m.entities[0]: m for m in reversed(found) if len(m.entities) == 1}
    chosen = dict(sure)
    for mention in reversed(found):
        if len(mention.entities) > 1:
            ties = {
                entity: sum((entity, other) in graph.relations or (other, entity) in graph.relations for other in sure)
                for entity in mention.entities
            }
            best = [entity for entity, count in ties.items() if count and count == max(ties.values())]
            if len(best) == 1 and (best[0] not in chosen or chosen[best[0]].start > mention.start):
                chosen[best[0]] = mention
    return chosen


def statements(text: str, graph: Graph) -> list[tuple[str, str, str]]:
    """(subject, relation, object) that the graph holds between entities of the text, named as the text names them, in
    the order of their mentions."""
    entities = sorted(linked(mentions(text, graph), graph).items(), key=lambda item: item[1].start)
    return [
        (mention.text, relation, there.text)
        for subject, mention in entities
        for other, there in entities
        if subject != other
        for relation in graph.relations.get((subject, other), ())
    ]


def generated(spec: KgToInstruct, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
    """A row for each text in which the graph knows a statement. Raises DataError."""
    graph = read_graph(bench.files["triples"])
    known, template = graph.known(), shipped("kg-to-instruct")
    for row in rows:
        text = text_of(row, spec.column)
        found = statements(text, graph)
        bench.progress(1)
        made = Row(f"{bench.name}-{row.id}", "", text, notes={"stage": bench.name, "text": row.id})
        if not found:
            yield Rejected(made, "no known statement")
            continue
        asked = {relation for _, relation, _ in found}
        others = [relation for relation in known if relation not in asked]
        drawn = bench.rng(row.id).permutation(len(others))[: spec.distractors]
        listed = ", ".join(sorted([*asked, *(others[i] for i in drawn)]))
        instruction = template.filled({"relations": listed})[0][1] or ""
        yield made.changed(instruction=instruction, output=json.dumps(found, ensure_ascii=False))
