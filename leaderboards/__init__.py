"""Leaderboards: cells on disk to ranked tables, as CSV, Markdown, JSON, one HTML file, or text in a terminal.

Knows no family: a table is made of the metrics that its cells declare.
"""

from __future__ import annotations

from .build import build, tabulate
from .tables import Column, Cost, Leaderboard, Published, Row, Slice, Table

__all__ = ["Column", "Cost", "Leaderboard", "Published", "Row", "Slice", "Table", "build", "tabulate"]
