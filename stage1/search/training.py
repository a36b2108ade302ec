"""A trial's training in a worker: from its last state on, its state kept after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO

from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.errors import ResultsError
from stage1.files import scratch_folder
from stage1.language_models.resolver import LanguageModel
from stage1.search.states import TrialStates
from stage1.training.fit import EpochRow, fit, kept_rows

Report = Callable[[EpochRow, str | None], None]
"""Takes the row of an epoch, and what went wrong on the way, if anything did."""


class StateKeeper(Callback):
    """Keeps the training's state after every epoch, where any worker finds it, and then reports.

    In this order no epoch is known of that would have to be repeated, and what a trial leaves
    behind is the state of its last report. A state that cannot be kept costs nothing but time,
    should the process die: it is told, and the training goes on.

    Args:
        trial_id: Of the trial.
        states: Where to.
        report: Takes the row of every epoch.
        fault: What went wrong before the training, to be told with the first row.
    """

    def __init__(
        self, trial_id: str, states: TrialStates, report: Report, fault: str | None
    ) -> None:
        self._trial_id, self._states = trial_id, states
        self._report, self._fault = report, fault
        self._row: EpochRow = {}

    def take(self, row: EpochRow) -> None:
        """Take the row of the epoch that was just validated."""
        self._row = row
        if row["epoch"] == 0:  # nothing is trained yet that could be lost
            self._tell()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Save, and report. Called by Lightning after the validation of the epoch."""
        try:
            self._states.save(self._trial_id, trainer.save_checkpoint)
        except OSError as error:
            self._fault = f"its state could not be kept: {error.strerror or error}"
        self._tell()

    def _tell(self) -> None:
        fault, self._fault = self._fault, None
        self._report(self._row, fault)


class PlainFiles(TorchCheckpointIO):
    """Writes states straight into their files, where Lightning would make a copy in memory first.

    And without the checksums of the zip format, which nobody compares.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a state. Called by Lightning."""
        before = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            with open(path, "wb") as file:  # given a path, torch tells of a full disk as a defect
                torch.save(checkpoint, file)
        finally:
            torch.serialization.set_crc32_options(before)


def train_on(
    config: Config,
    windows: MarketWindows,
    language_model: LanguageModel | None,
    *,
    trial_id: str,
    states: TrialStates,
    report: Report,
    block_epochs: Collection[int],
    parts: int,
    accelerator: str,
) -> None:
    """Train to the horizon, from the trial's last state or from the beginning.

    The epochs that the state has behind it are reported once more, from the state.

    Args:
        config: Complete.
        windows: The bars, resident.
        language_model: As `fit` takes it.
        trial_id: Names the state.
        states: Where it is kept.
        report: Called with every epoch in order.
        block_epochs: As `fit` takes them.
        parts: As `fit` takes them.
        accelerator: Lightning's name of the device.
    """
    with scratch_folder() as scratch:
        state = scratch / "state.ckpt"
        behind, fault = _rows_of(states, trial_id, state)
        for row in behind:
            report(row, None)
        if behind and behind[-1]["epoch"] >= config.training.epochs:
            return
        keeper = StateKeeper(trial_id, states, report, fault)
        fit(
            config,
            windows,
            language_model,
            report=keeper.take,
            callbacks=[keeper],
            checkpoint=state if behind else None,
            block_epochs=block_epochs,
            parts=parts,
            accelerator=accelerator,
            plugins=[PlainFiles()],
        )


def _rows_of(states: TrialStates, trial_id: str, path: Path) -> tuple[list[EpochRow], str | None]:
    """Fetch the trial's state to `path`; its rows, none if there is none to go on from, and why."""
    try:
        return (kept_rows(path) if states.fetch(trial_id, path) else []), None
    except (OSError, ResultsError) as error:
        return [], f"its last state could not be read, so it begins again: {error}"
