"""So many in a minute, evenly: a bucket that saves nothing up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Pace:
    """A token bucket in the form of virtual scheduling (GCRA, ITU-T I.371) without a burst: in any 60 seconds at most
    `per_minute` units (infinitely many, if infinite) go, and one reservation. Threads may share it."""

    per_minute: float
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=float("-inf"), init=False)
    """When the next one may go."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def reserve(self, units: float) -> float:
        """Take `units`; seconds to wait before they are used."""
        with self._lock:
            now = self.clock()
            start = max(now, self._next)
            self._next = start + units * 60 / self.per_minute
            return start - now

    def correct(self, units: float) -> None:
        """So many more were used than had been reserved; less, if negative."""
        with self._lock:
            self._next += units * 60 / self.per_minute
