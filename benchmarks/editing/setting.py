"""What both sides of `peer.py` are told: one set of hyper-parameters."""

from __future__ import annotations

from typing import Any

ROME_LAYER = 5
BATCH = (3, 4, 5)
"""Layers that MEMIT changes."""
WEIGHT = 50.0
"""MEMIT's λ, as in the parity fixtures."""
VALUE: dict[str, Any] = {"steps": 20, "lr": 0.5, "kl_factor": 0.0625, "weight_decay": 1e-3, "clamp_norm_factor": 15.0}
GRACE: dict[str, Any] = {"layer": 10, "lr": 1.0, "steps": 30, "epsilon": 1.0, "stop_loss": 0.0}
"""Memories stand late in a model: at five sixths of its depth, as published for Llama (layer 27 of 32).
The peer has no stop, so there is none here."""
WISE: dict[str, Any] = {
    "layer": 10,
    "lr": 0.1,
    "steps": 20,
    "margins": (5.0, 20.0, 10.0),
    "norm_constraint": 1.0,
    "mask_ratio": 0.2,
    "act_ratio": 0.8,
    "save_freq": 500,
    "merge_freq": 1000,
}
