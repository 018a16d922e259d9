"""A leaderboard's table for the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .numbers import counted
from .tables import Table
from .view import COSTS, Header, Line, headers, lines

if TYPE_CHECKING:
    import rich.table

NAMES = 36
"""Characters of the method's column; longer names and causes go on in the next line."""
BORDER = 3
"""Characters that a column takes beside its text."""


def to_rich(table: Table, width: int | None = None) -> rich.table.Table:
    """The main columns that fit into `width` characters (default: the terminal's), and how many do not.

    Intervals stand beside the values, or under them where that saves columns. Published rows are in italics, failed
    ones in red with their cause. Names and causes are plain text, never taken for markup.
    """
    from rich.table import Table as Rich
    from rich.text import Text

    shown = lines(table)
    names = [_name(line) for line in shown]
    room = width or shutil.get_terminal_size((120, 24)).columns
    room -= 1 + sum(BORDER + chars for chars in (3, min(NAMES, max(map(len, names), default=0)), 6, 7))
    columns, gap = _fitting(table, shown, room)
    board = Rich(title=Text(table.name), title_justify="left", header_style="bold", caption_justify="left")
    board.add_column("#", justify="right", no_wrap=True)
    board.add_column("method", overflow="fold", max_width=NAMES)
    heads = [_head(head) for head in headers(table)]
    for i, chars in columns.items():
        board.add_column(Text(heads[i]), justify="right", max_width=chars)
    board.add_column("n", justify="right", no_wrap=True)
    board.add_column(COSTS[0][0], justify="right", no_wrap=True)
    for name, line in zip(names, shown, strict=True):
        cells = [
            Text(e.text, style="bold" if e.best else "")
            + Text(gap + e.bounds if e.bounds else "", style="dim not bold")
            for e in (line.entries[i] for i in columns)
        ]
        cost = line.costs[0].text if line.costs else ""
        style = "italic" if line.published else "red" if line.bad else ""
        board.add_row(Text(line.rank), Text(name), *cells, Text(line.items), Text(cost), style=style)
    hidden = len(table.columns) - len(columns)
    if hidden:
        board.caption = Text(f"{counted(hidden, 'more column')} in the files.")
    return board


def _fitting(table: Table, shown: Sequence[Line], room: int) -> tuple[dict[int, int], str]:
    """The columns that fit, at least the headline, with their widths; and what stands before an interval."""
    heads = [_head(head) for head in headers(table)]
    fitting: dict[int, int] = {}
    for gap in (" ", "\n"):
        fitting, left = {}, room
        for i in sorted(table.main, key=lambda i: i != table.headline):
            texts = [f"{line.entries[i].text}{gap}{line.entries[i].bounds}" for line in shown]
            chars = max(len(part) for text in texts for part in [*text.split("\n"), *heads[i].split()])
            left -= BORDER + chars
            if left < 0 and fitting:
                break
            fitting[i] = chars
        else:
            return dict(sorted(fitting.items())), gap
    return dict(sorted(fitting.items())), "\n"


def _head(head: Header) -> str:
    return " ".join(part for part in (head.title, head.condition, head.arrow) if part)


def _name(line: Line) -> str:
    why = f"{line.badge}: {line.cause}" if line.cause else line.badge
    return f"{line.method} ({why})" if why else line.method
