"""Reports: one self-contained HTML file and a Markdown summary for each run folder."""

from __future__ import annotations

from .build import write_report

__all__ = ["write_report"]
