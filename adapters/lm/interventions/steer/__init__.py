"""Steering: hidden states are moved, or directions of weights are, along what tells safe from unsafe texts."""

from __future__ import annotations

from .params import ActAdd, LmSteer, ProjectOut, Steer

__all__ = ["ActAdd", "LmSteer", "ProjectOut", "Steer"]
