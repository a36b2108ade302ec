"""Where everything lies in the folder of a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stage1.base.errors import ResultsError
from stage1.base.text import brief
from stage1.run.columns import present_name

RESTORE_OR_REPEAT = "restore the file, or run the study again under another name"
"""What to do about a file of a run that cannot be read."""


class _Inside:
    """A path in the folder that the attribute is asked of."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The folder of a study, and where everything lies in it."""

    path: Path

    space = _Inside("space.yaml")
    """The resolved study, written before the first trial."""
    prereg = _Inside("prereg.yaml")
    """What was fixed before the first trial."""
    trials = _Inside("trials.parquet")
    """One row per trial that has ended."""
    curves = _Inside("curves.parquet")
    """One row per trial and epoch."""
    blocks = _Inside("blocks.parquet")
    """Sums over blocks of validation time, of the design's trials."""
    cost = _Inside("cost.parquet")
    """Training steps of each T5 and of the vanilla encoder, timed."""
    test_period = _Inside("test_period.parquet")
    """Checkpoints scored on the test period, every look at it; of an evaluation's folder too."""
    walk_forward = _Inside("walk_forward.parquet")
    """Of an evaluation's folder: its configuration trained anew for period after period."""
    journal = _Inside("optuna.journal")
    """Optuna's journal, one study per arm."""
    tensorboard = _Inside("tensorboard")
    """Folder of curves and HParams for TensorBoard."""
    log = _Inside("study.log")
    """What libraries had to say while the study ran; not there if they were silent."""
    checkpoints = _Inside("checkpoints")
    """Folder of the best trials' weights."""
    running = _Inside("running")
    """Folder of the states of trials that run, where no other storage was given."""
    begun = _Inside("begun.json")
    """Trials that have begun and are in no table yet."""
    warm_start = _Inside("warm_start.json")
    """Trials of an earlier study that the search was told; not there without any."""
    lock = _Inside(".lock")
    """Held by the one process that runs the study."""
    claims = _Inside("claims.json")
    """The verdicts, for programs."""
    report = _Inside("report.md")
    """The verdicts, the end table and what to do next, for people."""
    report_html = _Inside("report.html")
    """The same as one page with its figures."""
    figures = _Inside("figures")
    """Folder of the report's figures."""

    def checkpoint(self, trial_id: str) -> Path:
        """The weights of one of the best trials, with all that its training had in memory."""
        files = self.checkpoints.glob("*.ckpt")
        of_trial = (file for file in files if present_name(file.stem) == trial_id)
        return next(of_trial, self.checkpoints / f"{trial_id}.ckpt")


def check_new(run: RunFolder) -> None:
    """Refuse to begin a study where one has begun.

    Raises:
        ResultsError: The folder exists.
    """
    if run.path.exists():
        raise ResultsError(
            f"{run.path}: must not exist yet; go on with it by --resume, or give another --out"
        )


def check_begun(run: RunFolder) -> None:
    """Refuse to go on with a study that has not begun.

    Raises:
        ResultsError: The folder is missing, or is none of a study.
    """
    if not run.space.exists() or not run.prereg.exists():
        raise ResultsError(f"{run.path}: must be a run folder to --resume; start it without")


def require_file(run: RunFolder, file: Path) -> None:
    """Refuse to read a run without one of its files.

    Raises:
        ResultsError: There is no such folder, or no such file in it.
    """
    if not run.path.is_dir():
        meant, got = Path("runs", run.path), "a file" if run.path.exists() else "no such folder"
        advice = f"did you mean {meant}?" if meant.is_dir() else "check the path"
        raise ResultsError(f"{run.path} must be a run folder, got {got}; {advice}")
    if not file.is_file():
        is_run = run.space.is_file()
        advice = RESTORE_OR_REPEAT if is_run else "name the folder that stage1.tune made, OUT/NAME"
        raise ResultsError(f"{run.path} must hold {file.name}, got no such file; {advice}")


def unreadable(file: Path, error: Exception) -> ResultsError:
    """What to raise where a file of a run cannot be read."""
    reason = brief(str(error).removeprefix(f"{file}:"))
    return ResultsError(f"{file}: must be readable, got {reason}; {RESTORE_OR_REPEAT}")
