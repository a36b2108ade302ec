"""What a trial takes, from a few of its steps and one of its validations."""

from __future__ import annotations

import gc
import time
from typing import Any, NamedTuple

from stage1.config import Config, with_values
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.training.fit import EpochRow, StepClock, fit

STEPS = 5
"""Of an epoch of a timing."""
_EPOCHS = 2
"""The first one warms up."""
_FREEZE = "transfer_learning.freeze_lm_epochs"


def timed_fit(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    epochs: int,
    **trainer_options: Any,
) -> tuple[StepClock, list[EpochRow]]:
    """A short training as a trial does it: its clock, and the rows it reported.

    Args:
        config: Complete; its horizon and the length of its epochs do not matter.
        windows: The bars, resident.
        language_model: As `fit` takes it.
        epochs: Of `STEPS` steps each; validated after the last one.
        trainer_options: For Lightning's Trainer.
    """
    gc.collect()  # what is left of an earlier training would count as this one's memory
    clock, rows = StepClock(), list[EpochRow]()
    fit(
        with_values(config, {"training.epochs": epochs, "training.steps_per_epoch": STEPS}),
        windows,
        language_model,
        report=rows.append,
        callbacks=[clock],
        check_val_every_n_epoch=epochs,
        **trainer_options,
    )
    return clock, rows


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
    if config.transfer_learning.freeze_lm_epochs > 0:
        config = with_values(config, {_FREEZE: 0})
    windows.validation_batches(config.masking)  # made once per worker, not once per trial
    started, worked = time.perf_counter(), time.process_time()
    clock, rows = timed_fit(
        config, windows, language_model, epochs=_EPOCHS, accelerator=accelerator
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
