"""The trial in its worker: on what all trials share, from its last state, epoch by epoch.

What happens after an epoch is the engine's business, in the process that runs the study.
"""

from __future__ import annotations

import errno
import gc
import os
import platform
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as lightning
import ray
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from ray import tune
from torch import Tensor

from stage1.base.checkpoints import copied, save_checkpoint
from stage1.base.errors import ResultsError
from stage1.base.files import scratch_folder, system_faults
from stage1.config import Config, DataConfig
from stage1.data.bars import Bars
from stage1.data.batches import MarketWindows
from stage1.language_models.resolver import LanguageModel
from stage1.training.fit import EpochRow, fit, rows_of_checkpoint
from stage1.training.memory import take_device
from stage1.training.timing import timed_fit
from stage1.training.user_metrics import MetricFunction, UserMetrics
from stage1.workers.states import TrialStates, seconds_between_states


class EpochReport(NamedTuple):
    """What a trial reports of an epoch; one object, since Tune takes dictionaries apart."""

    row: EpochRow
    """The epoch, as `fit` reports it."""
    warning: str | None = None
    """What went wrong on the way without harming the trial."""


REPORT = "report"
"""Key under which Tune gets it."""

# What trials share --------------------------------------------------------------------------------


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
    """Per timeframe."""
    language_models: dict[str, ray.ObjectRef[LanguageModel]]
    """By name; their weights are `SharedWeights`."""

    def windows(self, config: Config) -> MarketWindows:
        """The windows over the bars, made once per process and kind of window."""
        return _windows(self.bars, config.data, config.model.async_sampler)

    def language_model(self, name: str) -> LanguageModel:
        """A language model, fetched once per process."""
        return _language_model(self.language_models[name])


def share_inputs(bars: dict[str, Bars], language_models: Iterable[LanguageModel]) -> SharedInputs:
    """Put what all trials need into the object store, from which each node takes it once."""
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


# The trial, as Tune calls it ----------------------------------------------------------------------


class EndsWhenStuck:
    """Has a worker end itself when the training that is to stop does not.

    Ray would tell the study nothing of the trial that comes next; of a process that died, it does.
    """

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make ready for another trial. Called by Ray, in the worker."""
        if not super().reset_config(new_config):  # type: ignore[misc]
            os._exit(1)
        return True


def train_trial(
    tune_config: dict[str, Any],
    *,
    shared: SharedInputs,
    states: TrialStates,
    gpus: float,
    warm_up: bool,
    metrics: Mapping[str, MetricFunction],
) -> None:
    """Train one trial from its last state, or from its beginning, and report every epoch.

    Args:
        tune_config: `trial_id`; `config`, the complete `Config`; `block_epochs` and `parts`, as
            `fit` takes them.
        shared: References into the object store.
        states: Where the trial's state is kept.
        gpus: The GPU's share that the trial has; 0 = it trains on the CPU.
        warm_up: Whether a worker first takes a few steps whose result nobody sees: the first steps
            of a process take longer, and would count as those of its first trial.
        metrics: A user's own, by name.
    """
    is_first = not gc.get_freeze_count()
    if is_first:
        gc.freeze()  # what was imported stays; looking through it takes longer than all the rest
    gc.collect()  # the last trial's tensors hang in cycles between Lightning's objects
    config: Config = tune_config["config"]
    windows, name = shared.windows(config), config.language_model_name
    language_model = None if name is None else shared.language_model(name)
    accelerator = take_device(gpus)
    if is_first and warm_up:
        timed_fit(config, windows, language_model, epochs=1, accelerator=accelerator)

    def report(row: EpochRow, warning: str | None) -> None:
        tune.report({REPORT: EpochReport({**row, "node": platform.node()}, warning)})

    train_from_last_state(
        config,
        windows,
        language_model,
        trial_id=tune_config["trial_id"],
        states=states,
        report=report,
        block_epochs=tune_config["block_epochs"],
        parts=tune_config["parts"],
        accelerator=accelerator,
        metrics=metrics,
    )


train_trial.__mixins__ = (EndsWhenStuck,)  # type: ignore[attr-defined]  # Tune looks for it

# Its training -------------------------------------------------------------------------------------

_FULL = (errno.ENOSPC, errno.EDQUOT)
Report = Callable[[EpochRow, str | None], None]
"""Takes the row of an epoch, and what went wrong on the way, if anything did."""


def train_from_last_state(
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
    metrics: Mapping[str, MetricFunction],
) -> None:
    """Train to the horizon, from the trial's last state or from the beginning.

    The epochs before that state are reported once more, in order, as the state holds them. What
    `fit` takes too means the same here.

    Raises:
        OSError: The machine has refused something, such as room on its disk.
    """
    with system_faults(), scratch_folder() as scratch:
        state = scratch / "state.ckpt"
        earlier_rows, warning = [], None
        try:
            if states.fetch(trial_id, state):
                earlier_rows = rows_of_checkpoint(state, config, windows)
        except (OSError, ResultsError) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise  # the state itself is whole
            warning = f"its last state could not be used, so it begins again: {error}"
        for row in earlier_rows:
            report(row, None)
        if earlier_rows and earlier_rows[-1]["epoch"] >= config.training.epochs:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="states") as thread:
            saver = StateSaver(trial_id, states, report, warning, thread)
            fit(
                config,
                windows,
                language_model,
                report=saver.take,
                callbacks=[saver],
                checkpoint=state if earlier_rows else None,
                block_epochs=block_epochs,
                parts=parts,
                user_metrics=UserMetrics(metrics, warn=saver.warn),
                accelerator=accelerator,
                plugins=[HandedOver(saver)],
            )


class StateSaver(Callback):
    """Reports every epoch, and keeps the training's state where any worker finds it.

    A state is copied in memory, and written in a thread while the training goes on; how often,
    `seconds_between_states` says. That of the horizon is written before its epoch is reported, so
    that a trial which has ended has left it. Nothing is being written while an epoch is reported:
    a trial may end by that, and whoever then removes its state removes it for good.

    A state that cannot be written costs nothing but time, should the process die: it is reported,
    and the training goes on.

    Args:
        trial_id: Of the trial.
        states: Where its state is kept.
        report: Called with every epoch.
        warning: What went wrong before the training; reported with the first row.
        thread: Writes the states; of this training alone.
    """

    def __init__(
        self,
        trial_id: str,
        states: TrialStates,
        report: Report,
        warning: str | None,
        thread: Executor,
    ) -> None:
        self._trial_id, self._states, self._thread = trial_id, states, thread
        self._report, self._warning = report, warning
        self._warned = set[str]()
        self._row: EpochRow = {}
        self._writing: Future[None] | None = None
        self._saved = time.monotonic()

    def warn(self, line: str) -> None:
        """Report a line with the next row, but none a second time."""
        if line not in self._warned:
            self._warned.add(line)
            self._add_warning(line)

    def _add_warning(self, line: str) -> None:
        self._warning = "; ".join(filter(None, (self._warning, line)))

    def take(self, row: EpochRow) -> None:
        """Take the row of the epoch that was just validated."""
        self._row = row
        if row["epoch"] == 0:  # nothing is trained yet that could be lost
            self._report_row()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Report, and save. Called by Lightning after the validation of the epoch."""
        if self._row["epoch"] == trainer.max_epochs:
            trainer.save_checkpoint(self._trial_id)
            self._report_row()
            return
        self._report_row()
        age = time.monotonic() - self._saved
        if age >= seconds_between_states(self._row["parameters"]):
            trainer.save_checkpoint(self._trial_id)

    def write(self, checkpoint: dict[str, Any]) -> None:
        """Have the thread write a state, as it is now."""
        write = partial(save_checkpoint, copied(checkpoint))
        self._writing = self._thread.submit(self._states.save, self._trial_id, write)
        self._saved = time.monotonic()

    def _report_row(self) -> None:
        if self._writing is not None:
            try:
                self._writing.result()
            except OSError as error:
                self._add_warning(f"its state could not be kept: {error.strerror or error}")
            self._writing = None
        warning, self._warning = self._warning, None
        self._report(self._row, warning)


class HandedOver(TorchCheckpointIO):
    """Hands a state of Lightning's to a saver, in place of a file."""

    def __init__(self, saver: StateSaver) -> None:
        self._saver = saver

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Take a state. Called by Lightning."""
        self._saver.write(checkpoint)
