"""Running the package's commands as a user does."""

import re
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


def without_loading_lines(text):
    """What was printed but for the line that each loading of a language model logs."""
    line = r"^.*: sha256 [0-9a-f]{12}, .* blocks (pretrained|shuffled)\n"
    return re.sub(line, "", text, flags=re.MULTILINE)
