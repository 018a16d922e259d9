"""A report as one HTML file that opens without a network."""

from __future__ import annotations

from pathlib import Path

from ..leaderboards.html import environment, table_html
from ..leaderboards.numbers import MISSING, meaning
from .build import Report

TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: Report) -> str:
    """The page: style sheet, script, figures and images are all within it."""
    from markupsafe import Markup

    env = environment(TEMPLATES)
    env.filters["svg"] = Markup  # figures escape their own texts
    env.filters["meaning"] = meaning
    env.globals["missing"] = MISSING
    boards = [table_html(section.table) for section in report.sections]
    return env.get_template("report.html.j2").render(report=report, sections=zip(report.sections, boards, strict=True))
