"""A trial's training in a worker: from its last state on, its state kept after every epoch."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as lightning
import ray
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from ray import tune
from torch import Tensor

from stage1.base.errors import ResultsError
from stage1.base.files import scratch_folder
from stage1.config import Config, DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.training.fit import EpochRow, fit, rows_of_checkpoint
from stage1.workers.states import TrialStates

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
        return (rows_of_checkpoint(path) if states.fetch(trial_id, path) else []), None
    except (OSError, ResultsError) as error:
        return [], f"its last state could not be read, so it begins again: {error}"


ROW = "row"
"""Key under which an epoch's row is reported."""
WARNING = "warning"
"""Key of what went wrong on the way without harming the trial."""


class SharedWeights(Mapping[str, Tensor]):
    """Weights whose memory all processes of a node share; each look gives a copy of its own.

    Ray maps NumPy arrays from the object store into a process, read-only, while a tensor is copied
    into every process. A tensor over such an array could be written to, and every other process
    would find its weights changed: therefore the copies.

    Args:
        weights: On the CPU, without gradients. Not copied: whoever changes them, changes these.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._arrays = {name: tensor.numpy() for name, tensor in weights.items()}

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name].copy())

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class SharedInputs(NamedTuple):
    """What all trials need, once per node in the object store."""

    bars: ray.ObjectRef[dict[str, Bars]]
    """`dict[str, Bars]`."""
    language_models: dict[str, ray.ObjectRef[LanguageModel]]
    """`LanguageModel` by name, its weights a `SharedWeights`."""

    def windows(self, config: Config) -> MarketWindows:
        """The windows over the bars, made once per process and kind of window."""
        return _windows(self.bars, config.data, config.model.async_sampler)

    def language_model(self, name: str) -> LanguageModel:
        """A language model, fetched once per process."""
        return _language_model(self.language_models[name])


def share_inputs(bars: dict[str, Bars], language_models: Iterable[LanguageModel]) -> SharedInputs:
    """Put what all trials need into the object store, from which each node takes it once.

    Args:
        bars: Per timeframe.
        language_models: All that trials may ask for.
    """
    return SharedInputs(
        bars=ray.put(bars),
        language_models={
            model.name: ray.put(model._replace(weights=SharedWeights(model.weights)))
            for model in language_models
        },
    )


@lru_cache(maxsize=4)
def _windows(
    bars: ray.ObjectRef[dict[str, Bars]], config: DataConfig, calendar: bool
) -> MarketWindows:
    return MarketWindows(ray.get(bars), config, calendar=calendar)


@lru_cache(maxsize=4)
def _language_model(reference: ray.ObjectRef[LanguageModel]) -> LanguageModel:
    return ray.get(reference)


class EndsWhenStuck:
    """Has a worker end itself when the training it was told to stop does not.

    Ray would tell the study nothing of the trial that comes next; a process that died, it tells.
    """

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make ready for another trial. Called by Ray, in the worker."""
        if not super().reset_config(new_config):  # type: ignore[misc]
            os._exit(1)
        return True


def train_trial(
    tune_config: dict[str, Any], *, shared: SharedInputs, states: TrialStates, gpu: bool
) -> None:
    """Train one trial from its last state, or from its beginning, and report every epoch.

    What happens next is the scheduler's business.

    Args:
        tune_config: `trial_id`; `config`, the complete `Config`; `block_epochs` and `parts`, as
            `fit` takes them.
        shared: References into the object store.
        states: Where the trial's state is kept after every epoch.
        gpu: Whether the trial has a GPU, or a share of one.
    """
    # In the worker alone: the process that runs the study does not need what takes seconds to load.
    from stage1.workers.trainable import train_on

    if not gc.get_freeze_count():
        gc.freeze()  # what was imported stays; looking through it takes longer than all the rest
    gc.collect()  # the last trial's tensors hang in cycles between Lightning's objects
    config: Config = tune_config["config"]
    name = config.language_model_name
    language_model = None if name is None else shared.language_model(name)

    def report(row: dict[str, Any], warning: str | None) -> None:
        told = {} if warning is None else {WARNING: warning}
        tune.report({ROW: {**row, "node": platform.node()}, **told})

    train_on(
        config,
        shared.windows(config),
        language_model,
        trial_id=tune_config["trial_id"],
        states=states,
        report=report,
        block_epochs=tune_config["block_epochs"],
        parts=tune_config["parts"],
        accelerator="gpu" if gpu else "cpu",
    )


train_trial.__mixins__ = (EndsWhenStuck,)  # type: ignore[attr-defined]  # Tune looks for it
