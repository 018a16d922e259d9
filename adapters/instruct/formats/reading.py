"""From records to rows: the format is recognised once for a file, and what does not fit is set aside, never dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ....errors import DataError
from ..rows import Rejected, Row
from .records import Broken, Found
from .shapes import SHAPES, Unfit, recognised, shape

READING = "read"
"""The stage under which unreadable records are set aside."""
KEPT = "benchwright"
"""Field of a written record that holds its id, scores and, if it was turned away, why."""


def rows_of(found: Iterable[Found], where: str, format: str | None = None) -> tuple[str, Iterator[Row | Rejected]]:
    """The format (the first record's, unless it is given) and the rows; a record that is broken, or in another format,
    comes as a `Rejected` with its place.

    `where`: name of the file, for errors. Raises DataError when there is no record, or none that says what it is.
    """
    broken: list[Broken] = []
    stream = iter(found)
    for first in stream:
        if isinstance(first, Broken):
            broken.append(first)
            continue
        name = format or recognised(first[1])
        if name is None:
            fields = ", ".join(sorted(first[1])) or "none"
            raise DataError(
                f"{where}: {first[0]}: in no known format (its fields: {fields}); the formats are "
                + "; ".join(f"{n} ({', '.join(s.needs)})" for n, s in SHAPES.items())
                + "; say which with --format"
            )
        return name, _rows(chain(broken, [first], stream), name)
    if broken:
        raise DataError(f"{where}: {broken[0].place}: {broken[0].reason}; no record in it can be read")
    raise DataError(f"{where}: expected records, the file is empty")


def _rows(found: Iterable[Found], name: str) -> Iterator[Row | Rejected]:
    read, ids = shape(name).read, _Ids()
    for item in found:
        if isinstance(item, Broken):
            row = Row(item.place, "", record={"text": item.text})
            yield Rejected(row, "broken record", stage=READING).noted(place=item.place, why=item.reason)
            continue
        place, record = item
        own, kept = record.get("id"), record.get(KEPT)
        told: Mapping[str, Any] = kept if isinstance(kept, dict) else {}
        own = own if isinstance(own, str | int) and own != "" else told.get("id")
        id_ = ids.unused(None if own is None else str(own))
        try:
            row = Row(id_, **read(record), record=record, scores=dict(told.get("scores") or {}))
        except Unfit as error:
            yield Rejected(Row(id_, "", record=record), f"not in format {name}", stage=READING).noted(
                place=place, why=str(error)
            )
            continue
        yield row.noted(id_was=str(own)) if own is not None and id_ != str(own) else row


class _Ids:
    """Ids that no two rows have. While no record brings one they are numbers, and none has to be remembered."""

    def __init__(self) -> None:
        self._number = 0
        self._taken: set[str] | None = None

    def unused(self, own: str | None) -> str:
        """The record's own id (with a number behind it, where another row has that), or how many rows came before."""
        number, self._number = self._number, self._number + 1
        if self._taken is None:
            if own is None:
                return str(number)
            self._taken = {str(i) for i in range(number)}
        wanted = found = str(number) if own is None else own
        again = 2
        while found in self._taken:
            found, again = f"{wanted}#{again}", again + 1
        self._taken.add(found)
        return found
