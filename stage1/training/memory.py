"""Memory: how much was used, and batches in parts where it runs out."""

from __future__ import annotations

import logging
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from pytorch_lightning.utilities.memory import garbage_collection_cuda
from torch import Tensor

from stage1.base.errors import TrialError
from stage1.base.machine import number_in
from stage1.base.text import LONGEST_VALUE, one_line
from stage1.data.batches import Batch

_log = logging.getLogger(__name__)

Warn = Callable[[str], None]
"""Takes a line that a person should see."""
Result = TypeVar("Result")

_NO_MEMORY = re.compile(
    "out of memory"  # of torch, and of the driver
    "|can't allocate memory"  # on the CPU
    # CUDA's libraries, whose memory is not torch's: a neighbour on the GPU may have taken it
    "|_ALLOC_FAILED|_ALLOCATION_FAILED|(CUBLAS|CUDNN)_STATUS_NOT_INITIALIZED"
)
_CUDA_BYTES = 600 * 2**20
"""Of a GPU's memory, in each process: the context, and what torch and its libraries load."""
_CLEAR_PEAK = "5"  # proc(5): resets the peak resident set size
_PROCESS = Path("/proc/self")


def reset_peaks(device: torch.device) -> None:
    """Start measuring anew; without /proc the peak is that of the whole process.

    Args:
        device: Of the training. A GPU that it does not use is left alone: to ask it anything takes
            hundreds of MB of its memory.
    """
    with suppress(OSError):  # no such counter here: `peak_rss_mb` says what it gives then
        (_PROCESS / "clear_refs").write_text(_CLEAR_PEAK)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # with a device it is an error before CUDA's start


def peak_rss_mb() -> float:
    """Peak resident memory in MiB since `reset_peaks`, or of the process where Linux is not."""
    peak = number_in(_PROCESS / "status", "VmHWM:")
    return (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def peak_vram_mb(device: torch.device) -> float | None:
    """Peak memory allocated on a GPU in MiB since `reset_peaks`, or None if it is the CPU."""
    return torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None


def take_device(gpus: float) -> str:
    """Lightning's name of the device that a trial has; of a share of a GPU, no more memory than it.

    Otherwise a trial that takes more makes those beside it fail. What CUDA itself takes of the GPU
    in every process comes off the share.

    Args:
        gpus: The share; 1 = a GPU of its own, 0 = none.

    Raises:
        TrialError: torch does not find the GPU.
    """
    if not gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise TrialError(
            "resources.gpus must be a GPU that torch finds, got none by torch "
            f"{torch.__version__}; install a torch with CUDA, or set resources: {{gpus: 0}}"
        )
    if gpus < 1:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(gpus - _CUDA_BYTES / total, gpus / 2), 0)
    return "cuda"


def log_warning(text: str) -> None:
    """Where warnings go that nobody else takes: Python's log, on stderr unless set otherwise."""
    _log.warning(text)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or, as far as it says so before it kills, on the CPU."""
    is_said = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
    return isinstance(error, torch.OutOfMemoryError) or is_said


class TrialMemoryError(TrialError):
    """Memory does not suffice for a training; where a GPU is shared, it may another time."""


@contextmanager
def out_of_memory_is_a_trial_error() -> Iterator[None]:
    """For work that cannot be cut into parts, such as the optimiser's step.

    Raises:
        TrialError: Memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrialMemoryError(
            "the model, its gradients and the optimiser's state must fit into memory, got "
            f"{_reason(error)}; choose a smaller language model or encoder"
        ) from None


class BatchGuard:
    """Works on batches in as many parts as memory makes necessary; it never goes back to fewer.

    Args:
        what: What is done with a batch, for the warning.
        warn: Called whenever the parts become smaller.
        parts: To begin with.
    """

    def __init__(self, what: str, warn: Warn, *, parts: int = 1) -> None:
        self.parts = parts
        self._what, self._warn = what, warn

    def run(
        self,
        batch: Batch,
        work: Callable[[list[Batch]], Result],
        *,
        undo: Callable[[], None] | None = None,
    ) -> Result:
        """Work on the parts of a batch; from the beginning, in twice as many, when memory runs out.

        Args:
            batch: Whole.
            work: Takes the parts, which are the batch when joined.
            undo: Frees what `work` had left behind when memory ran out.

        Returns:
            What `work` does.

        Raises:
            TrialError: Not even single windows fit.
        """
        while True:
            try:
                return work(split(batch, self.parts))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = _reason(error)
            # Out here the error is gone, and with it all that the failed attempt had in memory.
            if undo is not None:
                undo()
            garbage_collection_cuda()
            self._take_smaller_parts(len(batch.scored), reason)

    def _take_smaller_parts(self, windows: int, reason: str) -> None:
        if self.parts >= windows:
            raise TrialMemoryError(
                f"{self._what} must fit into memory one window at a time, got {reason}; set "
                "training.gradient_checkpointing: true, lower data.seq_len, or choose a smaller "
                "language model or encoder"
            )
        parts = self.parts
        self.parts = min(2 * parts, windows)
        before, after = -(-windows // parts), -(-windows // self.parts)  # of the largest part
        self._warn(
            f"Warning: {self._what} did not fit into memory with {before} windows at a time; from "
            f"here on it takes {after} at a time, and stays one of all {windows}"
        )


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into parts of as equal size as possible, in order; single windows at most."""
    if parts == 1:
        return [batch]
    count = min(parts, len(batch.scored))
    pieces = zip(*(tensor.tensor_split(count) for tensor in batch), strict=True)
    return [Batch(*piece) for piece in pieces]


def shares(parts: list[Batch]) -> Float[Tensor, " parts"]:
    """Each part's share of the scored bars: the weights that make their mean losses the whole's.

    Returns:
        In [0, 1], their sum 1; all 0 if no bar is scored.
    """
    counts = torch.stack([part.scored.sum() for part in parts]).float()
    return counts / counts.sum().clamp_min(1)


def _reason(error: RuntimeError) -> str:
    """What the error says, on one line of sensible length."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return one_line(text)[:LONGEST_VALUE].rstrip(". ")
