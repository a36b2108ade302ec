"""How much memory there is, and the most a training used, in a process that runs many."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch

_CLEAR_PEAK = "5"  # proc(5): resets the peak resident set size
_PROCESS = Path("/proc/self")
_MACHINE = Path("/proc/meminfo")


def reset_peaks() -> None:
    """Start measuring anew; without /proc the peak is that of the whole process."""
    with suppress(OSError):  # no such counter here: `peak_rss_mb` says what it gives then
        (_PROCESS / "clear_refs").write_text(_CLEAR_PEAK)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_rss_mb() -> float:
    """Peak resident memory in MiB since `reset_peaks`, or of the process where Linux is not."""
    peak = _mebibytes(_PROCESS / "status", "VmHWM:")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if peak is None else peak


def available_mb() -> float | None:
    """Memory in MiB that programs can still take, or None where Linux is not.

    That of the machine: the smaller limit of a container is not seen.
    """
    return _mebibytes(_MACHINE, "MemAvailable:")


def _mebibytes(path: Path, name: str) -> float | None:
    """The entry of a file of /proc that counts in kibibytes, or None if there is none."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return None


def peak_vram_mb() -> float | None:
    """Peak memory allocated on the GPU in MiB since `reset_peaks`, or None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20
