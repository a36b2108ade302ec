"""The most memory a training used, in a process that runs many."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch

_CLEAR_PEAK = "5"  # proc(5): resets the peak resident set size
_PROCESS = Path("/proc/self")


def reset_peaks() -> None:
    """Start measuring anew; without /proc the peak is that of the whole process."""
    with suppress(OSError):  # no such counter here: `peak_rss_mb` says what it gives then
        (_PROCESS / "clear_refs").write_text(_CLEAR_PEAK)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_rss_mb() -> float:
    """Peak resident memory in MiB since `reset_peaks`, or of the process where Linux is not."""
    with suppress(OSError):
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_vram_mb() -> float | None:
    """Peak memory allocated on the GPU in MiB since `reset_peaks`, or None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20
