"""Running the package's commands as a user does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def stage1(*arguments, check=True, cwd=ROOT):
    """Run `python -m ARGUMENTS`; with `check`, anything but status 0 fails the test."""
    result = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result
