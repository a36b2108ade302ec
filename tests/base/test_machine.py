"""Cores and memory of the machine, and of containers whose files of the kernel are made up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stage1.base import machine
from stage1.base.machine import available_mb, memory_kills, total_mb, usable_cores

GIB = 2**30
V2 = {
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/cpu.max": "150000 100000",
    "sys/fs/cgroup/memory.max": f"{2 * GIB}",
    "sys/fs/cgroup/memory.current": f"{GIB + 5 * 2**20}",
    "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_anon 7\ninactive_file {5 * 2**20}",
    "sys/fs/cgroup/memory.events": "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0",
}
"""A container that sees its own group alone, with one and a half cores and 2 GiB."""
V1 = {
    "proc/self/cgroup": "4:memory:/docker/1a2b\n2:cpu,cpuacct:/docker/1a2b\n0::/",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB + 5 * 2**20}",
    "sys/fs/cgroup/memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {5 * 2**20}",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
}
"""The same of version 1, whose group has another name here than outside."""
SLURM = {
    "proc/self/cgroup": "0::/job_7/step_0/task_1",
    "sys/fs/cgroup/job_7/cpu.max": "100000 100000",
    "sys/fs/cgroup/job_7/memory.max": f"{2 * GIB}",
    "sys/fs/cgroup/job_7/memory.current": f"{GIB}",
    "sys/fs/cgroup/job_7/step_0/cpu.max": "max 100000",
    "sys/fs/cgroup/job_7/step_0/task_1/memory.max": "max",
    "sys/fs/cgroup/job_7/step_0/task_1/memory.events": "oom 4\noom_kill 3",
}
"""A job whose limits are those of a group further out."""
UNLIMITED = {
    "proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/\n0::/../elsewhere",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}",
}
"""A machine's outermost group of version 1."""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Takes what files of the kernel say, on a machine with 8 cores and 3 GiB to take."""

    def make(files) -> None:
        for name, text in ({"proc/meminfo": f"MemAvailable: {3 * 2**20} kB"} | files).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")

    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return make


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(V2, id="version 2"),
        pytest.param(V1, id="version 1"),
        pytest.param(SLURM, id="a group further out"),
    ],
)
def test_the_limits_of_a_container_are_those_of_the_process(root, files):
    root(files)

    assert usable_cores() == 1
    assert total_mb() == 2048
    assert available_mb() == 1024  # what was read from files gives way
    assert memory_kills() == 3


@pytest.mark.parametrize(
    "files", [pytest.param(UNLIMITED, id="without limits"), pytest.param({}, id="without groups")]
)
def test_without_a_container_they_are_those_of_the_machine(root, files):
    root(files)

    assert usable_cores() == 8
    assert total_mb() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert available_mb() == 3072
    assert memory_kills() == 0


def test_a_quota_of_less_than_a_core_is_one_and_the_machine_may_have_less_memory_to_take(root):
    root(V2 | {"sys/fs/cgroup/cpu.max": "50000 100000", "proc/meminfo": "MemAvailable: 2048 kB"})

    assert usable_cores() == 1
    assert available_mb() == 2


def test_without_proc_free_memory_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "ROOT", tmp_path)

    assert available_mb() is None
    assert memory_kills() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="without /proc")
def test_here_no_more_is_promised_than_the_system_says():
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(line for line in lines if "MemAvailable" in line)

    assert 0 < available_mb() <= 1.2 * int(free.split()[1]) / 1024
    assert available_mb() <= total_mb()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
