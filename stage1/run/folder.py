"""Where everything lies in the folder of a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stage1.base.errors import ResultsError
from stage1.base.text import brief

RESTORE_OR_REPEAT = "restore the file, or run the study again under another name"
"""What to do about a file of a run that cannot be read."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a study, and where everything lies in it."""

    path: Path

    @property
    def space(self) -> Path:
        """The resolved study, written before the first trial."""
        return self.path / "space.yaml"

    @property
    def prereg(self) -> Path:
        """What was fixed before the first trial."""
        return self.path / "prereg.yaml"

    @property
    def trials(self) -> Path:
        """One row per trial that has ended."""
        return self.path / "trials.parquet"

    @property
    def curves(self) -> Path:
        """One row per trial and epoch."""
        return self.path / "curves.parquet"

    @property
    def blocks(self) -> Path:
        """Sums over blocks of validation time, of the design's trials."""
        return self.path / "blocks.parquet"

    @property
    def cost(self) -> Path:
        """Training steps of each T5 and of the vanilla encoder, timed."""
        return self.path / "cost.parquet"

    @property
    def journal(self) -> Path:
        """Optuna's journal, one study per arm."""
        return self.path / "optuna.journal"

    @property
    def tensorboard(self) -> Path:
        """Folder of curves and HParams for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def log(self) -> Path:
        """What libraries had to say while the study ran; not there if they were silent."""
        return self.path / "study.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of the best trials' weights."""
        return self.path / "checkpoints"

    def checkpoint(self, trial_id: str) -> Path:
        """The weights of one of the best trials, with all that its training had in memory."""
        return self.checkpoints / f"{trial_id}.ckpt"

    @property
    def running(self) -> Path:
        """Folder of the states of trials that run, where no other storage was given."""
        return self.path / "running"

    @property
    def begun(self) -> Path:
        """Trials that have begun and are in no table yet."""
        return self.path / "begun.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that runs the study."""
        return self.path / ".lock"

    @property
    def claims(self) -> Path:
        """The verdicts, for programs."""
        return self.path / "claims.json"

    @property
    def report(self) -> Path:
        """The verdicts, the end table and what to do next, for people."""
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        """The same as one page with its figures."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Folder of the report's figures."""
        return self.path / "figures"


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


def require_folder(run: RunFolder) -> None:
    """Refuse to read a run that is not there.

    Raises:
        ResultsError: There is no such folder.
    """
    if not run.path.is_dir():
        raise ResultsError(f"{run.path} must be a run folder, got no such folder; check the path")


def require_file(run: RunFolder, file: Path) -> None:
    """Refuse to read a run without one of its files.

    Raises:
        ResultsError: There is no such folder, or no such file in it.
    """
    require_folder(run)
    if not file.is_file():
        raise ResultsError(
            f"{run.path} must hold {file.name}, got no such file; "
            "name the folder that stage1.tune made, OUT/NAME"
        )


def unreadable(file: Path, error: Exception) -> ResultsError:
    """What to raise where a file of a run cannot be read."""
    reason = brief(str(error).removeprefix(f"{file}:"))
    return ResultsError(f"{file}: must be readable, got {reason}; {RESTORE_OR_REPEAT}")
