"""How far a command is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 30.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def bar(title: str, account: Callable[[], str] = str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows `progress(done, total)` on standard error while the context lasts; `total` None: nobody knows.

    `account`: what else there is to say (`120 rows/s, 5,000 tokens`), asked each time that it is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, account)
        return
    said = TextColumn("{task.fields[account]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), said)
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=None, account="")
        yield lambda done, total: shown.update(task, completed=done, total=total, account=account())


def _lines(title: str, account: Callable[[], str]) -> Callable[[int, int | None], None]:
    said = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal said
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            of = f" of {total}" if total is not None else ""
            print(" ".join([f"{title}: {done}{of}", account()]).rstrip(), file=sys.stderr, flush=True)

    return progress
