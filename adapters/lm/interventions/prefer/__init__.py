"""Editing by preference: the new target over what is said now."""

from __future__ import annotations

from .params import Prefer

__all__ = ["Prefer"]
