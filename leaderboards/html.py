"""A leaderboard as one HTML file that opens without a network, and its parts for use in reports."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .grids import grids
from .tables import Leaderboard, Table
from .view import COSTS, headers, lines, ranking

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of `folders` and of this package, every value escaped; an undefined name is an error."""
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    env.tests["web"] = is_web
    return env


def is_web(url: str) -> bool:
    """Whether a link may lead there: `http` and `https` only, never `javascript:`."""
    return url.startswith(("https://", "http://"))


def to_html(leaderboard: Leaderboard) -> str:
    """One static file: sortable tables, light and dark, nothing loaded from elsewhere."""
    context: dict[str, Any] = {"tables": [(table, table_html(table)) for table in leaderboard.tables]}
    return _own().get_template("leaderboard.html.j2").render(context)


def table_html(table: Table) -> Markup:
    """The fragment of one table, all of it but a heading; needs `style.css` and `sort.js`."""
    from markupsafe import Markup

    shown = lines(table)
    text = (
        _own()
        .get_template("table.html.j2")
        .render(
            headers=headers(table),
            measured=[line for line in shown if not line.published],
            published=[line for line in shown if line.published],
            costs=COSTS,
            ranking=ranking(table),
            main=table.main,
            grids=grids(table),
        )
    )
    return Markup(text)


@cache
def _own() -> jinja2.Environment:
    return environment()
