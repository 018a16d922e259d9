"""A leaderboard as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .grids import grids
from .tables import Leaderboard, Table
from .view import COSTS, Entry, Line, headers, lines, ranking

_SPECIAL = re.compile(r"([\\`*\[\]|~])")


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line: `a|b` becomes `a\|b`, `<b>` becomes `&lt;b>`."""
    one_line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))


def table_rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A pipe table of cells that are escaped already; the first `left` columns are aligned left."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def link(title: str, url: str) -> str:
    """A link where the address is one of the web, else the title alone."""
    if re.match(r"https?://[^\s<>()]+$", url):
        return f"[{escape(title)}]({url})"
    return escape(title)


def to_markdown(leaderboard: Leaderboard) -> str:
    """All tables, each with its failures, sources and definitions."""
    parts = ["# Leaderboard"]
    for table in leaderboard.tables:
        parts += [f"## {escape(table.name)}", *table_markdown(table)]
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> list[str]:
    """The paragraphs of one table, without a heading."""
    shown, heads = lines(table), headers(table)
    names = [escape(" ".join(p for p in (h.title, h.condition, h.arrow) if p)) for h in heads]
    head = ["#", "method", *(names[i] for i in table.main), "n", *(name for name, _ in COSTS)]
    parts = [escape(table.description)] if table.description else []
    parts += ["\n".join(table_rows(head, [_row(line, table.main) for line in shown], left=2)), ranking(table)]
    notes = [_failure(line) for line in shown if line.bad or line.cause]
    notes += [_source(line) for line in shown if line.published]
    if notes:
        parts.append("\n".join(notes))
    for grid in grids(table):
        rows = [[escape(label), *(_entry(e) for e in entries)] for label, _, entries in grid.lines]
        parts.append(f"**{escape(grid.title)}**")
        parts.append("\n".join(table_rows([escape(grid.corner), *map(escape, grid.methods)], rows)))
    meanings = {h.title: h.meaning for h in heads}
    parts.append("\n".join(f"- {escape(title)}: {escape(text)}" for title, text in meanings.items()))
    return parts


def _row(line: Line, main: Sequence[int]) -> list[str]:
    entries = [line.entries[i] for i in main]
    if line.published:
        values = [f"*{escape(e.text)}*" if e.text else "" for e in entries]
        return ["", f"*{escape(line.method)}* (published)", *values, "", "", "", ""]
    name = f"{escape(line.method)} (**{line.badge}**)" if line.badge else escape(line.method)
    items = " · ".join(part for part in (line.items, line.seeds) if part)
    return [line.rank, name, *(_entry(e) for e in entries), items, *(e.text for e in line.costs)]


def _entry(entry: Entry) -> str:
    value = f"**{entry.text}**" if entry.best else entry.text
    return f"{value} {entry.bounds}".strip()


def _failure(line: Line) -> str:
    return f"- {escape(line.method)} {line.badge}: {escape(line.cause) or 'no cause recorded'}"


def _source(line: Line) -> str:
    note = f" ({escape(line.note)})" if line.note else ""
    return f"- {escape(line.method)}, published: {link(line.source_title, line.source_url)}{note}"
