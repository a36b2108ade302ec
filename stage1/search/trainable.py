"""The Ray Tune trainable: one trial in a worker that keeps its imports, bars and weights."""

from __future__ import annotations

import gc
import platform
from functools import lru_cache
from typing import Any, NamedTuple

import ray
from ray import tune

from stage1.config import Config, DataConfig
from stage1.data.batches import MarketWindows
from stage1.data.store import Bars
from stage1.model.language_models import LanguageModel
from stage1.training.fit import EpochRow, fit

ROW = "row"
"""Key under which an epoch's row is reported."""


class SharedInputs(NamedTuple):
    """What all trials need, once per node in the object store."""

    bars: ray.ObjectRef[dict[str, Bars]]
    """`dict[str, Bars]`."""
    language_models: dict[str, ray.ObjectRef[LanguageModel]]
    """`LanguageModel` by name."""

    def windows(self, config: Config) -> MarketWindows:
        """The windows over the bars, made once per process and kind of window."""
        return _windows(self.bars, config.data, config.model.async_sampler)

    def language_model(self, name: str) -> LanguageModel:
        """A language model, fetched once per process."""
        return _language_model(self.language_models[name])


@lru_cache(maxsize=4)
def _windows(
    bars: ray.ObjectRef[dict[str, Bars]], config: DataConfig, calendar: bool
) -> MarketWindows:
    return MarketWindows(ray.get(bars), config, calendar=calendar)


@lru_cache(maxsize=4)
def _language_model(reference: ray.ObjectRef[LanguageModel]) -> LanguageModel:
    return ray.get(reference)


def train_trial(tune_config: dict[str, Any], *, shared: SharedInputs, gpu: bool) -> None:
    """Train one trial and report every epoch; what happens next is the scheduler's business.

    Args:
        tune_config: `config`, the complete configuration as JSON values; `block_epochs`, as `fit`
            takes them.
        shared: References into the object store.
        gpu: Whether the trial has a GPU, or a share of one.
    """
    gc.collect()  # the last trial's tensors hang in cycles between Lightning's objects
    config = Config.model_validate(tune_config["config"])
    transfer = config.transfer_learning
    language_model = None
    if transfer.use_pretrained_lm:
        language_model = shared.language_model(transfer.lm_name_or_path)

    def report(row: EpochRow) -> None:
        tune.report({ROW: {**row, "node": platform.node()}})

    fit(
        config,
        shared.windows(config),
        language_model,
        report=report,
        block_epochs=tune_config["block_epochs"],
        accelerator="gpu" if gpu else "cpu",
    )
