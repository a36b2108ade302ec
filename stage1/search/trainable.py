"""The Ray Tune trainable: one trial in a worker that keeps its imports, bars and weights."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import ray
import torch
from ray import tune
from torch import Tensor

from stage1.config import Config, DataConfig
from stage1.data.batches import MarketWindows
from stage1.data.store import Bars
from stage1.language_models.resolver import LanguageModel
from stage1.search.states import TrialStates

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
        tune_config: `trial_id`; `config`, the complete configuration as JSON; `block_epochs` and
            `parts`, as `fit` takes them.
        shared: References into the object store.
        states: Where the trial's state is kept after every epoch.
        gpu: Whether the trial has a GPU, or a share of one.
    """
    # In the worker alone: the process that runs the study does not need what takes seconds to load.
    from stage1.search.training import train_on

    if not gc.get_freeze_count():
        gc.freeze()  # what was imported stays; looking through it takes longer than all the rest
    gc.collect()  # the last trial's tensors hang in cycles between Lightning's objects
    config = Config.model_validate_json(tune_config["config"])
    transfer = config.transfer_learning
    language_model = None
    if transfer.use_pretrained_lm:
        language_model = shared.language_model(transfer.lm_name_or_path)

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
