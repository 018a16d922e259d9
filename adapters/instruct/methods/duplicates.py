"""Stages that turn away rows that are like other rows, or like what a model is later asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ....components import DataFile, Strict
from ..rows import Rejected, Row
from ..stage import Outcome, Stage, Workbench
from ..texts import TOKENISERS, Part, Tokeniser, part, plain

if TYPE_CHECKING:
    from ..similar.nearest import Index

Share = Annotated[float, Field(gt=0, lt=1)]


class ExactDuplicates(Stage):
    """Turns away rows that say what an earlier one says; compatibility forms (Unicode NFKC), case and white space
    make no difference. Holds 16 bytes and an id for each row that it keeps."""

    type: Literal["exact_duplicates"]
    compare: Literal["instruction", "prompt", "all"] = "all"
    """What must be equal: the instruction; instruction, input and what was said before them; or the output as well."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from hashlib import blake2b

        seen: dict[bytes, str] = {}
        for row in rows:
            said = repr([plain(text) for text in self._texts(row)]).encode()
            key = blake2b(said, digest_size=16).digest()
            if key in seen:
                yield Rejected(row, "duplicate", neighbour=seen[key])
            else:
                seen[key] = row.id
                yield row

    def _texts(self, row: Row) -> list[str]:
        if self.compare == "instruction":
            return [row.instruction]
        earlier = [text for turn in row.earlier for text in (turn.role, turn.text)]
        return [row.instruction, row.input, *earlier, *([row.output] if self.compare == "all" else [])]


class DedupEasyinstruct(Stage):
    """EasyInstruct's `Deduplicator`, which removes no duplicates: it turns away rows whose output is empty, equals the
    input, or ends in a colon, as may the input not.

    Of Self-Instruct records it drops such instances, but from the list that it walks through: the one behind a dropped
    one is never looked at. A record is turned away when none is left, or two have the same input and other outputs.
    """

    type: Literal["dedup-easyinstruct"]

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        for row in rows:
            instances = None if row.record is None else row.record.get("instances")
            if isinstance(instances, list):
                yield self._left(row, instances)
            else:
                yield Rejected(row, "incomplete") if _incomplete(row.input, row.output) else row

    def _left(self, row: Row, instances: list[Any]) -> Outcome:
        left = list(instances)
        for one in left:
            if _incomplete(*_said(one)):
                left.remove(one)
        if not left:
            return Rejected(row, "incomplete")
        answers: dict[str, str] = {}
        if any(given and answers.setdefault(given, output) != output for given, output in map(_said, left)):
            return Rejected(row, "two answers")
        if left == instances:
            return row
        given, output = _said(left[0])
        return replace(row, record={**(row.record or {}), "instances": left}, input=given, output=output)


def _said(instance: Mapping[str, Any]) -> tuple[str, str]:
    """Input and output; what is missing or null is empty, where EasyInstruct crashes."""
    return str(instance.get("input") or ""), str(instance.get("output") or "")


def _incomplete(given: str, output: str) -> bool:
    return given == output or not output or given.strip().endswith(":") or output.strip().endswith(":")


class Rouge(Stage):
    """Turns away rows whose ROUGE-L F (Lin 2004) with a kept row before them is above a threshold.

    Exact: the decisions of comparing every pair, without doing so (similar/rouge.py). The rule by which Self-Instruct
    keeps its tasks apart (Wang et al. 2022, arXiv 2212.10560). A rejection names the nearest kept row and the F.
    """

    type: Literal["rouge"]
    field: Part = "instruction"
    """What is compared; `prompt` is instruction and input."""
    threshold: Share = 0.7
    tokeniser: Tokeniser = "unicode"
    """Words of any script, or those of a to z and 0 to 9 alone, which leave nothing of a text in another script."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..similar.nearest import without_near
        from ..similar.rouge import BLOCK, RougeIndex

        worded = with_words(rows, self.field, self.tokeniser)
        first = list(islice(worded, BLOCK))
        index = RougeIndex(self.threshold, (words for _, words in first))
        yield from without_near(chain(first, worded), index)


class RougeEasyinstruct(Stage):
    """EasyInstruct's `RougeSelector`: the rows are shuffled, `rouge` with ASCII words, and each kept row is scored with
    its mean F with those kept before it (its `avg_rouge_score`; null for the first).

    It shuffles with whatever state Python's random numbers are in; here they begin at `seed`. Two texts without ASCII
    words are never alike. Holds all rows, and yields them in the shuffled order.
    """

    type: Literal["rouge-easyinstruct"]
    threshold: Share = 0.7
    seed: int = 0
    """Of the shuffle."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from random import Random

        import numpy as np

        from ..similar.rouge import Coded, RougeIndex, f_measures

        shuffled = list(rows)
        Random(self.seed).shuffle(shuffled)
        index = RougeIndex(self.threshold)
        kept: list[Coded] = []
        ids: list[str] = []
        for row, words in with_words(iter(shuffled), "instruction", "ascii"):
            coded = index.code(words)
            values = f_measures(coded, kept) if kept else np.zeros(1)
            nearest = int(values.argmax())
            if values[nearest] > self.threshold:
                yield Rejected(row, "near-duplicate", float(values[nearest]), ids[nearest])
            else:
                yield row.scored(**{bench.name: float(np.mean(values)) if kept else None})
                kept.append(coded)
                ids.append(row.id)


class Minhash(Stage):
    """Turns away rows whose Jaccard index of word n-grams with a kept row before them reaches a threshold.

    Candidates come from MinHash signatures (Broder 1997) and banded locality-sensitive hashing, so that some pairs are
    missed: for millions of rows or long texts, where `rouge` takes too long. `similar.nearest.recall` measures, on a
    sample, what is missed.
    """

    type: Literal["minhash"]
    field: Part = "instruction"
    """What is compared; `prompt` is instruction and input."""
    threshold: Share = 0.54
    """Of the Jaccard index; t / (2 - t) where sets of words in one order have a ROUGE-L F of t, here 0.7."""
    ngram: Annotated[int, Field(ge=1)] = 1
    """Words of an n-gram. In a short text one changed word spoils n of them; for long ones 5 and a threshold of 0.8 are
    usual (Lee et al. 2021, arXiv 2107.06499)."""
    permutations: Annotated[int, Field(ge=16, le=1024)] = 128
    verify: bool = True
    """Compute the index of candidates, from 8 bytes for each n-gram of a kept row; otherwise it is estimated from the
    signatures, and a row takes the same memory however long it is."""
    tokeniser: Tokeniser = "unicode"
    """See `rouge`."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..similar.minhash import MinHashIndex
        from ..similar.nearest import without_near

        index = MinHashIndex(self.threshold, self.ngram, self.permutations, self.verify)
        yield from without_near(with_words(rows, self.field, self.tokeniser), index)


class NamedFile(Strict):
    """An evaluation set."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """As reasons name it."""
    file: DataFile
    """A JSON list of records, or JSONL."""
    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of its texts: the question, perhaps the answer. A record has at least one of them."""


class Contamination(Stage):
    """Turns away rows that share an n-gram of words with an item of an evaluation set (Brown et al. 2020, arXiv
    2005.14165, appendix C; see similar/contamination.py), or whose instruction or prompt is near one by ROUGE-L.

    The reason names the set, the neighbour the item, and the value is the number of its n-grams, or the F.
    """

    type: Literal["contamination"]
    evaluations: Annotated[tuple[NamedFile, ...], Field(min_length=1)]
    """What no row may give away."""
    ngram: Annotated[int, Field(ge=1)] = 13
    """Words of an n-gram; of a shorter text all words are one, from 8 on."""
    rouge: Share | None = None
    """ROUGE-L F above which a row is contaminated, too; not looked at if empty."""
    tokeniser: Tokeniser = "unicode"
    """See `rouge`."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`. Raises DataError for an evaluation set that cannot be read."""
        from ..similar.contamination import Grams, read_items

        words = TOKENISERS[self.tokeniser]
        items = [
            item
            for number, one in enumerate(self.evaluations)
            for item in read_items(bench.files[f"evaluations.{number}.file"], one.name, one.fields)
        ]
        texts = [[words(text) for text in item.texts] for item in items]
        grams, index = Grams(texts, self.ngram), self._index(texts)
        for row in rows:
            parts = [row.instruction, row.input, row.output, *(turn.text for turn in row.earlier)]
            asked = map(words, (row.instruction, row.prompt))
            if shared := grams.shared(map(words, parts)):
                item = items[shared[0]]
                yield Rejected(row, f"n-grams of {item.evaluation}", float(shared[1]), item.id)
            elif index and (near := max(filter(None, map(index.nearest, map(index.code, asked))), default=None)):
                item = items[int(near.id)]
                yield Rejected(row, f"near an item of {item.evaluation}", near.value, item.id)
            else:
                yield row

    def _index(self, texts: Sequence[Sequence[list[str]]]) -> Index[Any] | None:
        from ..similar.rouge import RougeIndex

        if self.rouge is None:
            return None
        index = RougeIndex(self.rouge, chain.from_iterable(texts))
        for number, parts in enumerate(texts):
            for words in parts:
                index.add(index.code(words), str(number))
        return index


def with_words(rows: Iterator[Row], field: Part, tokeniser: Tokeniser) -> Iterator[tuple[Row, list[str]]]:
    """Each row with the words of a part of it."""
    words = TOKENISERS[tokeniser]
    return ((row, words(part(row, field))) for row in rows)
