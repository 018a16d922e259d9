"""What a piece of work costs: wall and CPU seconds, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Measures from its creation to `read`. Peaks are the process's own, reset where the system allows it."""

    def __init__(self) -> None:
        with suppress(OSError):
            _CLEAR.write_text("5")  # Linux: forget the peak so far
        if (torch := _cuda()) is not None:
            torch.cuda.reset_peak_memory_stats()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """`wall_s`, `cpu_s`, `peak_rss_mb`, and `peak_gpu_mb` where a GPU is in use."""
        if (torch := _cuda()) is not None:
            torch.cuda.synchronize()
        cost = {
            "wall_s": round(time.perf_counter() - self.wall, 4),
            "cpu_s": round(time.process_time() - self.cpu, 4),
            "peak_rss_mb": round(_peak_rss_mb(), 1),
        }
        if torch is not None:
            cost["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return cost


def _cuda():  # type: ignore[no-untyped-def]
    """torch when it was imported and has initialised a GPU; it is never imported for the measurement."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None


def _peak_rss_mb() -> float:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
