"""A report's summary as Markdown, for a pull request or a terminal."""

from __future__ import annotations

import re

from ..leaderboards.markdown import escape, table_markdown, table_rows
from .build import Report, Section


def code(text: str) -> str:
    """Text as inline code, whatever backticks it has; empty for empty text."""
    one_line = " ".join(text.split())
    if not one_line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", one_line)), default=0))
    space = " " if one_line.startswith("`") or one_line.endswith("`") else ""
    return f"{fence}{space}{one_line}{space}{fence}"


def to_markdown(report: Report) -> str:
    """What was run, the verdict, every table, failures, warnings, provenance; no figures."""
    parts = [f"# {escape(report.title)}"]
    parts += [line for line in (code(report.command), escape(report.created)) if line]
    parts.append(f"**{escape(report.verdict)}**")
    for section in report.sections:
        parts += _section(section)
    if report.provenance:
        rows = [[escape(field), escape(value)] for field, value in report.provenance]
        parts += ["## Provenance", "\n".join(table_rows(["field", "value"], rows, left=2))]
    parts.append("Figures, items and exhibits are in report.html.")
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {escape(section.table.name)}", *table_markdown(section.table)]
    if section.failures:
        lines = [
            f"- {escape(f.where)}: {escape(f.status)}, {escape(f.cause) or 'no cause recorded'}"
            + (f"; repeat with {code(f.repeat)}" if f.repeat else "")
            for f in section.failures
        ]
        parts += ["### Cells that did not end ok", "\n".join(lines)]
    if section.warnings:
        lines = [f"- {escape(text)} ({escape(who)})" for text, who in section.warnings]
        parts += ["### Warnings", "\n".join(lines)]
    if section.skipped:
        lines = [f"- {escape(reason)}: {count} (in {where})" for reason, count, where in section.skipped]
        parts += ["### Left out", "\n".join(lines)]
    if section.facts:
        parts += ["### Data", "\n".join(f"- {escape(key)}: {escape(value)}" for key, value in section.facts)]
    return parts
