"""Detoxification by intraoperative neural monitoring: locate a toxic layer, tune its value matrix."""

from __future__ import annotations

from .params import Dinm

__all__ = ["Dinm"]
