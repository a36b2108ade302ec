"""One training of an experiment, whatever becomes of it."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

from pytorch_lightning.callbacks import Callback

from stage1.base.text import reason_of
from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.run.columns import COMPLETED, DIVERGED, FAILED
from stage1.study.trials import RunningTrial, not_finite
from stage1.training.fit import EpochRow, fit


class Outcome(NamedTuple):
    """How a training ended."""

    curve: list[EpochRow]
    """Of every epoch that was completed."""
    status: str
    """completed, diverged or failed."""
    error: str | None
    """Why, in one line; None if it was completed."""


OnEnd = Callable[[RunningTrial, Outcome], None]
"""Takes a training, its curve still empty, and how it ended."""


class _DivergedError(Exception):
    """Ends a training from within."""


class _BetweenBatches(Callback):
    """Calls a function before every batch of a training.

    Args:
        check: What it raises ends the training.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def on_train_batch_start(self, *arguments: Any) -> None:
        """Called by Lightning."""
        self._check()

    def on_validation_batch_start(self, *arguments: Any) -> None:
        """Called by Lightning."""
        self._check()


def train_once(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    accelerator: str,
    check: Callable[[], None] = lambda: None,
    on_epoch: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train to the horizon; a training that diverges or fails is an outcome too, no error.

    Args:
        config: Complete.
        windows: The bars, resident.
        language_model: As `fit` takes it.
        accelerator: Lightning's name of the device.
        check: Called between batches; may raise KeyboardInterrupt.
        on_epoch: Called after every completed epoch, 0 included.
    """
    gc.collect()  # the last training's tensors hang in cycles between Lightning's objects
    curve: list[EpochRow] = []

    def report(row: EpochRow) -> None:
        curve.append({**row, "node": platform.node()})
        on_epoch()
        reason = not_finite(row, "val_correlation")
        if reason is not None:
            raise _DivergedError(reason)

    try:
        fit(
            config,
            windows,
            language_model,
            report=report,
            callbacks=[_BetweenBatches(check)],
            accelerator=accelerator,
        )
    except _DivergedError as error:
        return Outcome(curve, DIVERGED, str(error))
    except Exception as error:  # the border of a training: the others go on
        return Outcome(curve, FAILED, reason_of(error))
    return Outcome(curve, COMPLETED, None)
