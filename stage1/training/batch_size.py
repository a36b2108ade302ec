"""`training.batch_size: auto`: how many windows a step takes at once, found before a training.

Lightning's BatchSizeFinder does not fit. It sets an attribute of the module, where ours is a key of
a frozen configuration that order, masks and checkpoints depend on. It takes whole steps, which move
weights, random state and fingerprints, and puts back only the weights. And it waits for an error,
which `BatchGuard` would catch before, and which the CPU does not raise: there the process dies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda

from stage1.base.machine import available_mb
from stage1.config import Config, with_values
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.model.stage1_model import build_model
from stage1.training.fit import lean_trainer
from stage1.training.memory import is_out_of_memory, peak_rss_mb, reset_peaks
from stage1.training.module import Stage1Module

AUTO_CAP = 256
"""Windows that auto takes at most: larger batches learn less per window."""
FIRST = 8
"""Windows that auto takes at least, if there are as many; in parts, should they not fit."""
MEMORY_SHARE = 0.8
"""Of the free memory of the CPU that a step may be expected to take."""


class ChosenSize(NamedTuple):
    """A batch size."""

    windows: int
    reason: str  # why not twice as many


def find_batch_size(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    accelerator: str,
) -> ChosenSize:
    """Double the windows of a step until memory does not suffice; leaves nothing behind.

    Takes forward and backward passes with a T5 that learns, with tensors as large as the
    optimiser's state in memory. On a GPU an error says that memory is short; on the CPU the
    size of the free memory does. The arguments are those of `fit`.

    Raises:
        TrialError: Not even the model fits.
    """
    torch.set_num_threads(config.training.threads)
    with lean_trainer(config, accelerator=accelerator) as trainer:
        attempts = _Attempts(config, windows, language_model, trainer)
        chosen = largest_that_fits(
            attempts.megabytes,
            training_windows=len(windows.split.training.ends),
            free_mb=available_mb() if attempts.device.type == "cpu" else None,
        )
        del attempts
        garbage_collection_cuda()  # the training itself is to find the memory free
    return chosen


def largest_that_fits(
    megabytes: Callable[[int], float | None], *, training_windows: int, free_mb: float | None
) -> ChosenSize:
    """Double the size from `FIRST` on as long as it fits and the next one probably does.

    The memory per window is the difference between the last two sizes: what every step takes, of
    whatever size, is not in it.

    Args:
        megabytes: Memory that a step of so many windows took; None if it did not fit.
        training_windows: How many there are; a step has no more.
        free_mb: Memory that may be taken, of which `MEMORY_SHARE` is; None = until it is refused.
    """
    smaller, took_smaller = 1, megabytes(1)
    size = min(FIRST, training_windows)
    took = megabytes(size)
    while took is not None and took_smaller is not None:
        twice = 2 * size
        if twice > training_windows:
            return ChosenSize(size, f"there are {training_windows:,} to train on")
        if twice > AUTO_CAP:
            return ChosenSize(size, "auto takes no more")
        need = took + (twice - size) * max(took - took_smaller, 0.0) / (size - smaller)
        if free_mb is not None and need > MEMORY_SHARE * free_mb:
            return ChosenSize(
                size, f"{twice} would need about {need:,.0f} MB of {free_mb:,.0f} MB free"
            )
        took_twice = megabytes(twice)
        if took_twice is None:
            return ChosenSize(size, f"{twice} did not fit into memory")
        smaller, took_smaller, size, took = size, took, twice, took_twice
    return ChosenSize(size, "the least; they did not fit into memory at once")


class _Attempts:
    """Forward and backward passes of any number of windows, for what they take."""

    def __init__(
        self,
        config: Config,
        windows: MarketWindows,
        language_model: LanguageModel | None,
        trainer: lightning.Trainer,
    ) -> None:
        self.device = trainer.strategy.root_device
        self._precision = trainer.precision_plugin
        self._config, self._windows = config, windows
        self._module = Stage1Module(config, windows, build_model(config, language_model))
        self._module.model.let_t5_learn(config.transfer_learning.freeze_lm_epochs >= 0)
        self._module.to(self.device)
        learning = [one for one in self._module.parameters() if one.requires_grad]
        self._adamw = [torch.ones_like(one) for one in learning for _ in range(2)]
        garbage_collection_cuda()
        reset_peaks(self.device)
        self._before = peak_rss_mb()

    def megabytes(self, count: int) -> float | None:
        """Memory in MiB that a step of so many windows takes beside the model; None = too much."""
        reset_peaks(self.device)
        fits = self._fits(count)
        self._module.zero_grad()
        garbage_collection_cuda()
        return peak_rss_mb() - self._before if fits else None

    def _fits(self, count: int) -> bool:
        values = {"training.batch_size": count, "training.steps_per_epoch": 1}
        config = with_values(self._config, values)
        plan = self._windows.plan_epoch(config, 0)
        try:
            batch = next(self._windows.training_batches(config, plan, self.device))
            with self._precision.forward_context():
                loss = self._module.loss(batch)
            loss.backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True
