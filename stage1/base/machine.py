"""The cores and the memory that a process may use: the machine's, or its container's, if less.

Docker, Kubernetes, systemd and SLURM set limits by control groups of Linux, version 1 or 2. Any
group above that of the process may have the lower one.

Source:
    proc(5), cgroups(7); the kernel's admin guide, "Control Group v2" and "cgroup-v1/memory".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
"""Where `proc` and `sys` are."""


def usable_cores() -> int:
    """Cores that this process may run on, at least 1; of a CPU quota, the whole ones."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    for group in _groups("cpu"):
        limit = _text(group / "cpu.max").split()  # "max", or microseconds, of so many
        limit = limit or [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if all(number.isdigit() for number in limit):  # version 1 says -1 where there is none
            quota, period = map(int, limit)
            cores = min(cores, quota // period)
    return max(cores, 1)


def total_mb() -> float:
    """Memory in MiB of the machine, or the limit where a container has a lower one."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    return min([machine, *(limit for limit, _ in _memory_limits())])


def available_mb() -> float | None:
    """Memory in MiB that this process can still take, or None where Linux is not."""
    machine = number_in(ROOT / "proc/meminfo", "MemAvailable:")
    if machine is None:
        return None
    return max(min([machine / 1024, *(limit - used for limit, used in _memory_limits())]), 0.0)


def memory_kills() -> int:
    """Processes that the kernel has killed since memory reached a limit of this one's container."""
    for group in _groups("memory"):
        for file in ("memory.events", "memory.oom_control"):  # version 2, version 1
            kills = number_in(group / file, "oom_kill")
            if kills is not None:
                return kills
    return 0


def _memory_limits() -> Iterator[tuple[float, float]]:
    """Limit and use, in MiB, of every group around this process that has one."""
    for group in _groups("memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            if (most := _text(group / limit)).isdigit():
                # What was read from files and not again gives way to whoever wants memory.
                taken = int(_text(group / used) or 0)
                taken -= number_in(group / "memory.stat", cache) or 0
                yield int(most) / 2**20, taken / 2**20


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process' control groups, innermost first.

    A container sees the machine's name of its group, or its own, which is then the outermost.
    """
    for line in _text(ROOT / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = ROOT / "sys/fs/cgroup" / (controller if controllers else "")
        group = mounted / name.lstrip("/")
        while group != mounted and ".." not in group.parts:
            yield group
            group = group.parent
        yield mounted


def number_in(file: Path, name: str) -> int | None:
    """The number of a line of a file of the kernel, by its name; None if there is none."""
    for line in _text(file).splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    return None


def _text(file: Path) -> str:
    """What a file of the kernel says; nothing where there is none."""
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").strip()
    return ""
