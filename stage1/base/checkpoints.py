"""Training states on disk: written in one pass, read without running any code they might hold."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from stage1.base.errors import ResultsError
from stage1.base.files import system_faults

_UNREADABLE = (
    *(UnpicklingError, RuntimeError, EOFError, OSError, ValueError, struct.error),
    *(KeyError, IndexError, TypeError, AttributeError, AssertionError, OverflowError),
)
"""What torch raises over bytes that are no checkpoint, or only a part of one."""


def load_checkpoint(path: Path, *, made_by: str) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values, onto the CPU.

    `made_by` names the command that writes such files, for the error.

    Raises:
        ResultsError: Missing, damaged, or holding anything but tensors and plain values.
    """
    if not path.is_file():
        raise ResultsError(f"{path}: must be a checkpoint file of {made_by}, got no file")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        # The library's own words advise to load it unsafely: they are not passed on.
        raise ResultsError(
            f"{path}: must be a checkpoint of {made_by}, got a file that cannot be read as one "
            f"({type(error).__name__}); begin again, or take another"
        ) from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: must be a checkpoint of {made_by}, got other content")
    return content


def copied(content: Any) -> Any:
    """A state as it is now, in the memory of the CPU, while its training goes on."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return {key: copied(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(copied, content))
    return content


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a state straight into its file, without a copy in memory.

    And without the checksums of the zip format, which nobody compares.

    Raises:
        OSError: It cannot be written, for instance because the disk is full.
    """
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        # Given a path, torch tells nobody why it could not write.
        with system_faults(), path.open("wb") as file:
            torch.save(content, file)
    finally:
        torch.serialization.set_crc32_options(before)
