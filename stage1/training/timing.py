"""What a trial takes, from a few of its steps and one of its validations."""

from __future__ import annotations

import gc
import time
from typing import NamedTuple

from stage1.config import Config, with_values
from stage1.data.batches import MarketWindows
from stage1.model.language_models import LanguageModel
from stage1.training.fit import EpochRow, StepClock, fit

STEPS = 5
"""Training steps that are timed, after as many that warm up."""
_EPOCHS = 2
_FREEZE = "transfer_learning.freeze_lm_epochs"


class TrialTiming(NamedTuple):
    """What a training of some configuration took, part by part."""

    start_seconds: float
    """Model, optimiser and the first validation: all that comes before the first step."""
    step_seconds: float
    """One training step."""
    validation_seconds: float
    """One validation, and whatever else an epoch does beside its steps."""
    peak_rss_mb: float
    peak_vram_mb: float | None
    """None without a GPU."""

    def trial_seconds(self, *, epochs: float, steps_per_epoch: int) -> float:
        """Wall time of a trial that is trained for so many epochs, alone on its core."""
        epoch = self.validation_seconds + steps_per_epoch * self.step_seconds
        return self.start_seconds + epochs * epoch


def time_trial(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    accelerator: str = "cpu",
) -> TrialTiming:
    """Train a few steps as a trial does, with two validations of the whole validation set.

    The T5 learns from the first step: while it is frozen a step takes less. One that never learns
    stays frozen. Where a single thread of the CPU does the work, what it waited for other programs
    is taken off, so that a busy machine gives the times of an idle one.

    Args:
        config: Complete; its horizon and the length of its epochs do not matter.
        windows: The bars, resident.
        language_model: As `transfer_learning.lm_name_or_path` resolves, or None for the vanilla
            encoder.
        accelerator: Lightning's name of the device.
    """
    values = {"training.epochs": _EPOCHS, "training.steps_per_epoch": STEPS}
    if config.transfer_learning.freeze_lm_epochs > 0:
        values[_FREEZE] = 0
    gc.collect()  # what is left of an earlier training would count as this one's memory
    windows.validation_batches(config.masking)  # made once per worker, not once per trial
    clock, rows = StepClock(), list[EpochRow]()
    started, worked = time.perf_counter(), time.process_time()
    fit(
        with_values(config, values),
        windows,
        language_model,
        report=rows.append,
        callbacks=[clock],
        accelerator=accelerator,
        check_val_every_n_epoch=_EPOCHS,
    )
    share = 1.0
    if waits_are_known(config, accelerator):
        worked = time.process_time() - worked
        share = min(worked / (time.perf_counter() - started), 1.0)
    first, last = rows
    rest = last["seconds"] - first["seconds"] - sum(clock.seconds)
    return TrialTiming(
        start_seconds=share * first["seconds"],
        step_seconds=share * clock.seconds[-1] / clock.steps[-1],
        validation_seconds=share * rest,
        peak_rss_mb=last["peak_rss_mb"],
        peak_vram_mb=last["peak_vram_mb"],
    )


def waits_are_known(config: Config, accelerator: str) -> bool:
    """Whether a training's time on the processor is what it would take on an idle machine."""
    return accelerator == "cpu" and config.training.threads == 1
