"""States of trainings: where they lie while trials run, and those of the best that are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from stage1.base.errors import ConfigError
from stage1.base.files import atomic_path, remove_leftovers, scratch_folder
from stage1.run.columns import COMPLETED
from stage1.run.folder import RunFolder
from stage1.study.space import Space
from stage1.study.trials import EndedTrial

BYTES_PER_SECOND = 20e6
"""Of its state that a trial writes on average. Eight at once fill a tenth of a 10 Gbit/s link."""
_BYTES_PER_PARAMETER = 12  # its weight and AdamW's two moments
_SUFFIX = ".ckpt"
_GIGABYTE = 10**9


def seconds_between_states(parameters: int) -> float:
    """How old the last state of a model of so many parameters becomes before another is written.

    What is lost with a process is the work of this time, and of the epoch it was in.
    """
    return _BYTES_PER_PARAMETER * parameters / BYTES_PER_SECOND


class TrialStates(NamedTuple):
    """One file per trial, whole at any time, in a folder or bucket that all workers reach."""

    place: str
    """Absolute path of a folder, or a URI that pyarrow knows, such as s3://bucket/prefix."""

    def save(self, trial_id: str, write: Callable[[Path], object]) -> None:
        """Replace a trial's state by what `write` writes to the path it is given.

        Raises:
            OSError: It cannot be written; the state before it is still there.
        """
        filesystem, folder = _filesystem(self.place)
        if isinstance(filesystem, LocalFileSystem):
            with atomic_path(Path(folder) / (trial_id + _SUFFIX)) as path:
                write(path)
            return
        with scratch_folder() as scratch:
            path = scratch / "state"
            write(path)
            # What is uploaded to a bucket appears there whole, when the stream is closed.
            with (
                path.open("rb") as source,
                filesystem.open_output_stream(f"{folder}/{trial_id}{_SUFFIX}") as target,
            ):
                shutil.copyfileobj(source, target)

    def fetch(self, trial_id: str, path: Path) -> bool:
        """Have a trial's state at `path` too, atomically; says whether there was one.

        Nobody may be writing it: what a process that was killed has left beside it is removed.
        """
        filesystem, folder = _filesystem(self.place)
        name = f"{folder}/{trial_id}{_SUFFIX}"
        if isinstance(filesystem, LocalFileSystem):
            remove_leftovers(Path(name))
        if filesystem.get_file_info(name).type != FileType.File:
            return False
        with atomic_path(path) as copy:
            if isinstance(filesystem, LocalFileSystem) and _linked(Path(name), copy):
                return True
            with filesystem.open_input_stream(name) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
        return True

    def remove(self, trial_id: str) -> None:
        """Remove a trial's state, if there is one."""
        filesystem, folder = _filesystem(self.place)
        name = f"{folder}/{trial_id}{_SUFFIX}"
        if filesystem.get_file_info(name).type == FileType.File:
            filesystem.delete_file(name)

    def trial_ids(self) -> list[str]:
        """The trials that have a state."""
        filesystem, folder = _filesystem(self.place)
        files = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
        names = [info.base_name for info in files if info.type == FileType.File]
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)]

    def clear(self) -> None:
        """Remove the folder with all that is left in it."""
        filesystem, folder = _filesystem(self.place)
        if filesystem.get_file_info(folder).type == FileType.Directory:
            filesystem.delete_dir(folder)


def _linked(file: Path, path: Path) -> bool:
    """Give a file a second name, which costs nothing: it is replaced, never changed."""
    try:
        path.hardlink_to(file)
    except OSError:  # another disk, or one that has no such names
        return False
    return True


def check_place(storage: str) -> None:
    """Refuse a storage that pyarrow cannot make anything of.

    Raises:
        ConfigError: Neither a path nor a URI of a known kind.
    """
    try:
        _, folder = _filesystem(storage)
        reason = "" if folder else "it names no bucket"
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise ConfigError(
            f"--storage must be a folder or a URI such as s3://bucket/prefix, got {storage}; "
            f"{reason}"
        )


@lru_cache(maxsize=4)
def _filesystem(place: str) -> tuple[FileSystem, str]:
    """The file system of a place, and the folder on it."""
    if "://" not in place:
        return LocalFileSystem(), str(Path(place).absolute())
    filesystem, folder = FileSystem.from_uri(place)
    return filesystem, folder.rstrip("/")


class BestCheckpoints:
    """Keeps `checkpoints/<trial_id>.ckpt` of the best completed trials of any arm and stage.

    The space says how many, how large, and what is best. Checkpoints of trials that ended in
    earlier sessions may be there.
    """

    def __init__(
        self, run: RunFolder, space: Space, states: TrialStates, ended: Iterable[EndedTrial]
    ) -> None:
        self._run, self._states, self._policy = run, states, space.checkpoints
        self._sign = 1 if space.objective.mode == "max" else -1
        self._trials = [trial for trial in ended if self._has_checkpoint(trial)]

    def _rank(self, trial: EndedTrial) -> tuple[float, str]:
        return -self._sign * trial.value, trial.spec.trial_id

    def _has_checkpoint(self, trial: EndedTrial) -> bool:
        file = self._run.checkpoint(trial.spec.trial_id)
        remove_leftovers(file)
        return file.exists()

    def offer(self, trial: EndedTrial) -> None:
        """Take over the state of a trial that has ended if it is among the best; else remove it."""
        trial_id = trial.spec.trial_id
        # Its checkpoint may be there, if the study was killed before the state was removed.
        self._trials = [one for one in self._trials if one.spec.trial_id != trial_id]
        if trial.status == COMPLETED:
            best = sorted([*self._trials, trial], key=self._rank)[: self._policy.keep]
            if trial in best and self._states.fetch(trial_id, self._run.checkpoint(trial_id)):
                self._trials.append(trial)
                self._drop_surplus()
        self._states.remove(trial_id)

    def _drop_surplus(self) -> None:
        """Remove the worst until number and size are within the budget; the best one stays."""
        self._trials.sort(key=self._rank)
        while len(self._trials) > self._policy.keep or (
            len(self._trials) > 1 and self._too_large()
        ):
            self._run.checkpoint(self._trials.pop().spec.trial_id).unlink(missing_ok=True)

    def _too_large(self) -> bool:
        files = (self._run.checkpoint(trial.spec.trial_id) for trial in self._trials)
        return sum(file.stat().st_size for file in files) > self._policy.gigabytes * _GIGABYTE
