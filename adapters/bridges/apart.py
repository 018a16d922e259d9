"""A library that logs, draws bars, seeds generators and asks the hub, kept from doing so, or from leaving traces."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module

import numpy as np

LOGGERS = ("lm_eval", "datasets", "evaluate", "huggingface_hub", "filelock", "fsspec", "httpx", "transformers")
SWITCHES = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
    ("evaluate.config", "HF_EVALUATE_OFFLINE", "HF_EVALUATE_OFFLINE"),
)
"""Module, its switch, and the variable that the switch is set by when the module is imported."""
SEEDS = (0, 1234)
"""Of `random` and of numpy's global generator: what lm-eval seeds them with, so that tasks that draw get its draws."""


@contextmanager
def apart() -> Iterator[None]:
    """Inside `with`: silence, no hub, and global generators at `SEEDS`. Outside all is as before."""
    with ExitStack() as stack:
        stack.enter_context(_environment())
        stack.enter_context(_offline())
        stack.enter_context(_silence())
        stack.enter_context(_draws())
        yield


@contextmanager
def _environment() -> Iterator[None]:
    # lm-eval sets variables when it is imported.
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _offline() -> Iterator[None]:
    known = {variable: os.environ.get(variable) for *_, variable in SWITCHES}
    # Their switches were read when they were imported. `evaluate` takes seconds to import, and few tasks need it.
    for module in ("huggingface_hub.constants", "datasets.config"):
        import_module(module)
    before = {module: getattr(sys.modules[module], name) for module, name, _ in SWITCHES if module in sys.modules}
    for module, name, variable in SWITCHES:
        os.environ[variable] = "1"
        if module in before:
            setattr(sys.modules[module], name, True)
    try:
        yield
    finally:
        for module, name, variable in SWITCHES:
            value = (known[variable] or "").upper() in {"1", "ON", "YES", "TRUE"}
            if module in sys.modules:
                setattr(sys.modules[module], name, before.get(module, value))


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _draws() -> Iterator[None]:
    plain, numpy = random.getstate(), np.random.get_state()
    random.seed(SEEDS[0])
    np.random.seed(SEEDS[1])
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)
