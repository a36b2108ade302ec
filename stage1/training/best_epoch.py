"""The best epoch of a training: its state is kept; without a better one the training ends."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Checkpoint

from stage1.base.errors import ResultsError
from stage1.base.files import atomic_path
from stage1.base.metric_table import LOSS, metric_row
from stage1.config.training import EarlyStop, TrainingConfig
from stage1.training import BEST_CHECKPOINT
from stage1.training.fit import EpochReports, EpochRow, rows_of_checkpoint
from stage1.training.module import Stage1Module


def best_metric(training: TrainingConfig) -> str:
    """What the best epoch is best in: the metric of the early stop, without one the loss."""
    return LOSS if training.early_stop is None else training.early_stop.metric


def best_epoch(rows: Sequence[EpochRow], metric: str) -> EpochRow | None:
    """The row of the first best epoch; None before the first step, and without a finite value."""
    trained = [row for row in rows if row["epoch"] > 0 and math.isfinite(row[metric])]
    return max(trained, key=lambda row: _sign(metric) * row[metric], default=None)


def epochs_without_gain(rows: Iterable[EpochRow], stop: EarlyStop) -> int:
    """Epochs since the last one that was better by more than `min_delta` than the gain before it.

    Source: Lightning's EarlyStopping counts alike; this one needs no state beside the rows.
    """
    reached, waited = -math.inf, 0
    for row in rows:
        if row["epoch"] == 0:
            continue
        value = _sign(stop.metric) * row[stop.metric]
        if value > reached + stop.min_delta:
            reached, waited = value, 0
        else:
            waited += 1
    return waited


def _sign(metric: str) -> int:
    described = metric_row(metric)
    return -1 if described is not None and described.better == "min" else 1


class BestEpoch(Checkpoint):
    """Keeps the state after the best epoch beside the last one, and ends the training early.

    Both follow from the rows of the epochs alone, which the last state carries: a training that was
    interrupted ends as an undisturbed one. Lightning calls it after the callback that writes the
    last state, since it is a `Checkpoint`, and comes later.

    Args:
        training: Of the configuration.
        last: The file of the last state.
        checkpoint: That the training goes on from; None = it begins.
    """

    def __init__(self, training: TrainingConfig, last: Path, checkpoint: Path | None) -> None:
        self.stop, self.metric = training.early_stop, best_metric(training)
        self.last, self.checkpoint = last, checkpoint
        self.best = last.with_name(BEST_CHECKPOINT)
        self.rows: list[EpochRow] = []  # of all epochs, those before an interruption too

    @property
    def row(self) -> EpochRow | None:
        """Of the best epoch so far."""
        return best_epoch(self.rows, self.metric)

    @property
    def is_over(self) -> bool:
        """Whether the training ends early."""
        return self.stop is not None and (
            epochs_without_gain(self.rows, self.stop) >= self.stop.patience
        )

    def on_fit_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Take over the states of before an interruption. Called by Lightning."""
        callbacks: Any = trainer
        self.rows = next(c for c in callbacks.callbacks if isinstance(c, EpochReports)).rows
        trainer.should_stop = self.is_over
        best = self.row
        if self.checkpoint is None:
            return
        if not self.last.exists():
            _link(self.checkpoint, self.last)
        if best is None:
            return
        if best is self.rows[-1]:  # the process may have ended before it was kept
            _link(self.checkpoint, self.best)
        elif self.checkpoint.parent.resolve() != self.best.parent.resolve():
            before = self.checkpoint.with_name(BEST_CHECKPOINT)
            if _is_of_epoch(before, best["epoch"], module):
                _link(before, self.best)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Keep the state if it is the best, and see whether to end. Called by Lightning."""
        if self.row is self.rows[-1]:
            _link(self.last, self.best)
        trainer.should_stop = trainer.should_stop or self.is_over


def _link(state: Path, name: Path) -> None:
    """Have a state under another name too, without a second copy where the disk can do that.

    A later state does not change it: that is written beside and takes the name.
    """
    if name.exists() and name.samefile(state):
        return
    with atomic_path(name) as path:
        try:
            os.link(state.resolve(), path)
        except OSError:
            shutil.copyfile(state, path)


def _is_of_epoch(state: Path, epoch: int, module: Stage1Module) -> bool:
    """Whether a file is the state after an epoch of a training."""
    with suppress(ResultsError):
        rows = rows_of_checkpoint(state, module.config, module.windows)
        return bool(rows[-1]["epoch"] == epoch)
    return False
