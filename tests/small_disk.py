"""A small disk that is no other program's, for tests that fill it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from command_line import run

_MOUNTED = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'


def on_a_small_disk(script: str, folder: Path, *arguments: object, megabytes: float) -> str:
    """Run Python in a process that sees a disk of so many MB in a folder; what it printed.

    The folder is the script's first argument. The disk goes with the process; nobody else sees it.
    The test is skipped where the system allows no such disk.
    """
    folder.mkdir()
    if not _can_mount(folder):
        pytest.skip("needs a mount namespace: Linux, and root or user namespaces")
    size = str(int(megabytes * 1e6))
    words = (sys.executable, "-c", script, folder, *arguments)
    return run(*_unshared(), "sh", "-c", _MOUNTED, "sh", size, folder, *words).stdout


def _unshared() -> list[str]:
    return ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-Urm"]


@cache
def _can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    words = [*_unshared(), "sh", "-c", _MOUNTED, "sh", "1m", str(folder), "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
