"""What to run after a study, as it can be pasted into the shell that the study was run from."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from shutil import which

from stage1.claims.inputs import RunTables
from stage1.results import RunFolder
from stage1.summary import EXPORT_TARGET, configuration_means, export_command, train_command


def activation() -> list[str]:
    """The command after which `python` is the one that runs now; none where it is already.

    `make` runs the one of `.venv/`, which is then on nobody's PATH.
    """
    programs = Path(sys.executable).parent
    activate, found = programs / "activate", which("python")
    if not activate.is_file() or (found and Path(found).parent == programs):
        return []
    if activate.is_relative_to(Path.cwd()):
        activate = activate.relative_to(Path.cwd())
    return [f"source {shlex.quote(str(activate))}"]


def final_training(tables: RunTables) -> list[str]:
    """Export and train the best configuration; none without a complete one."""
    if configuration_means(tables.trials, tables.space).empty:
        return []
    return [export_command(tables.run), train_command(EXPORT_TARGET, tables.space)]


def dashboards(run: RunFolder) -> list[str]:
    """Open dashboards on what is there."""
    commands = []
    if run.journal.exists():
        commands.append(shlex.join(["optuna-dashboard", str(run.journal)]))
    if run.tensorboard.exists():
        commands.append(shlex.join(["tensorboard", "--logdir", str(run.tensorboard)]))
    return commands
