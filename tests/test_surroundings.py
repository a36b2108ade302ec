"""A study in surroundings that are hostile all at once: it needs nothing but its run folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_line import ROOT, run

CONTAINER = {
    "cpu.max": "100000 100000",
    "memory.max": str(2 << 30),
    "memory.current": str(1 << 30),
    "memory.stat": "inactive_file 0\nactive_file 0",
    "memory.events": "oom_kill 0",
}
"""What the kernel says in a container with one core and 2 GB."""
SURROUNDINGS = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "job",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "3",
    "MPLBACKEND": "of a notebook",
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
}
NAMELESS = ["env", "--unset=USER", "--unset=LOGNAME"]
NAMELESS += ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
"""Runs a program as a user that the system knows no name and no home of."""
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-euc"]
"""Runs a script with mounts of its own."""
MOUNT = """
mount -t tmpfs none /sys/fs/cgroup
cp {container}/* /sys/fs/cgroup
for folder in {read_only}; do mount --bind $folder $folder; mount -o remount,bind,ro $folder; done
"""


@pytest.fixture
def script(tmp_path):
    """Makes the container and the read-only places; what follows runs there."""
    container = tmp_path / "container"
    container.mkdir()
    for name, text in CONTAINER.items():
        (container / name).write_text(text + "\n")
    read_only = shlex.join({str(Path(sys.prefix)), str(ROOT / "stage1")})
    made = MOUNT.format(container=shlex.quote(str(container)), read_only=read_only)
    tried = subprocess.run([*NAMESPACES, made], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts of its own: {tried.stderr.strip()}")
    return made


@pytest.mark.slow
def test_a_study_ends_well_in_a_small_container_under_slurm_without_home_name_or_letters(
    script, tmp_path
):
    home, deep, out = tmp_path / "home", tmp_path / ("x" * 80), tmp_path / "runs"
    home.mkdir(mode=0o500)
    deep.mkdir()
    out.mkdir()
    nobody = [*NAMELESS, sys.executable, "-m", "stage1.tune", "smoke", "--out", str(out)]
    places = {"HOME": str(home), "TMPDIR": str(deep), "PYTHONPATH": str(ROOT)}

    ended = run(*NAMESPACES, f"{script}\n{shlex.join(nobody)}", env=SURROUNDINGS | places)

    trials = pd.read_parquet(out / "smoke" / "trials.parquet")
    assert not set(trials["status"]) & {"failed", "diverged"}
    assert "report.html" in ended.stdout
    assert ended.stdout.isascii()
    assert "Traceback" not in ended.stderr
    assert list(home.iterdir()) == []
    assert not [folder for folder in os.listdir(deep) if folder.startswith("s1-")]


def test_a_user_whom_the_system_does_not_know_needs_no_home():
    words = [*NAMELESS, "--", "env", "--unset=HOME", sys.executable]
    if subprocess.run([*words, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces")

    ended = run(*words, "-m", "stage1.models", "list")

    assert "english-t5-nano" in ended.stdout
    assert ended.stderr == ""
