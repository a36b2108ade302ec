"""Where the states of trainings lie while a study runs: written by workers, found by any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from stage1.base.errors import ConfigError
from stage1.base.files import atomic_path, scratch_folder

_SUFFIX = ".ckpt"


class TrialStates(NamedTuple):
    """One file per trial, whole at any time, in a folder or bucket that all workers reach."""

    place: str
    """Absolute path of a folder, or a URI that pyarrow knows, such as s3://bucket/prefix."""

    def save(self, trial_id: str, write: Callable[[Path], object]) -> None:
        """Replace a trial's state.

        Args:
            trial_id: Of the trial.
            write: Writes the state to the path it is given.

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
        """Have a trial's state at `path` too, atomically; says whether there was one."""
        filesystem, folder = _filesystem(self.place)
        name = f"{folder}/{trial_id}{_SUFFIX}"
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
        return [info.base_name.removesuffix(_SUFFIX) for info in files if _is_state(info)]

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


def _is_state(info: FileInfo) -> bool:
    return bool(info.type == FileType.File and info.base_name.endswith(_SUFFIX))


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
