"""Exhibits as one HTML file that opens without a network, outside of any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..leaderboards.html import environment
from .exhibits import show
from .html import TEMPLATES


def page(title: str, lead: str, exhibits: Sequence[Mapping[str, Any]]) -> str:
    """The page: a heading, paragraphs (lines of `lead`) that say what is shown, the exhibits one below the other.

    A paragraph that begins with `Warning:` stands out.

    Raises KeyError, TypeError, ValueError or IndexError where an exhibit is damaged.
    """
    from markupsafe import Markup

    env = environment(TEMPLATES)
    env.filters["svg"] = Markup  # figures escape their own texts
    return env.get_template("page.html.j2").render(
        title=title, lead=lead.splitlines(), exhibits=[show(e) for e in exhibits]
    )
