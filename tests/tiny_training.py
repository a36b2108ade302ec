"""A language model, a configuration and bars so small that a training takes a blink; trainings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from synthetic_bars import market
from torch import Tensor

from stage1.config import Config, DataConfig, with_values
from stage1.data.batches import Batch, MarketWindows
from stage1.language_models.initialization import t5_stack
from stage1.language_models.resolver import LanguageModel, weights_sha256
from stage1.model.stage1_model import Stage1Model, build_model
from stage1.training.fit import EpochRow, fit
from stage1.training.module import Stage1Module

T5: dict[str, Any] = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
}

_SMALL: dict[str, Any] = {
    "data.timeframes": ["m1", "m5", "m15"],
    "data.seq_len": 16,
    "data.validation_windows": 24,
    "masking.mask_ratio": 0.25,
    "masking.mask_span_min": 2,
    "masking.mask_span_max": 3,
    "model.d_model": 8,
    "model.stem.width": 0,
    "model.encoder.d_model": 16,
    "model.encoder.d_ff": 24,
    "transfer_learning.lm_name_or_path": "tiny",
    "transfer_learning.patch_len": 4,
    "training.epochs": 3,
    "training.steps_per_epoch": 3,
    "training.batch_size": 4,
}


def tiny_language_model(*, embedding_rms: float | None = 2.5) -> LanguageModel:
    """Two blocks of width 16, the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        weights = t5_stack(T5).state_dict()
    return LanguageModel("tiny", T5, weights, embedding_rms, weights_sha256(weights), dropped=0)


def tiny_config(*, calendar: bool = False, **sections: dict[str, Any]) -> Config:
    """The small configuration with some keys of some sections replaced.

    Args:
        calendar: Whether its windows are calendar windows, of 64 minutes.
        sections: Such as `training={"epochs": 2, "optimizer.lr": 0.1}`.
    """
    kind = {"model.async_sampler": True, "data.seq_len": 64} if calendar else {}
    changes = {f"{name}.{key}": v for name, keys in sections.items() for key, v in keys.items()}
    return with_values(Config(), _SMALL | kind | changes)


BOTH_KINDS = pytest.mark.parametrize(
    "calendar", [False, True], ids=["equal lengths", "calendar windows"]
)
"""Runs a test on `tiny_config(calendar=calendar)` of either kind."""


@cache
def _windows(data: DataConfig, calendar: bool) -> MarketWindows:
    return MarketWindows(market(2000, data.timeframes), data, calendar=calendar)


def tiny_windows(config: Config) -> MarketWindows:
    """Windows over 2000 gapless minutes; shared between tests, never changed."""
    return _windows(config.data, config.model.async_sampler)


def tiny_batch(config: Config, windows: MarketWindows | None = None, *, epoch: int = 0) -> Batch:
    """The first training batch of an epoch."""
    windows = windows or tiny_windows(config)
    return next(windows.training_batches(config, windows.plan_epoch(config, epoch)))


def all_validation(config: Config) -> Batch:
    """The whole validation set as one batch."""
    ratios = config.evaluation.tf_specific_mask_ratios
    return tiny_windows(config).validation_set(config.masking, ratios)


def language_model_for(config: Config) -> LanguageModel | None:
    """The tiny one, or None for the vanilla encoder."""
    return tiny_language_model() if config.transfer_learning.use_pretrained_lm else None


def tiny_model(config: Config) -> Stage1Model:
    """The model that a training of the configuration starts from."""
    return build_model(config, language_model_for(config)).model


def decoded_by(model: Stage1Model, config: Config, batch: Batch) -> Tensor:
    """All bars of a batch, as the training decodes them."""
    real = batch.real if config.model.async_sampler else None
    decoded: Tensor = model(batch.features, batch.hidden, real)
    return decoded


def tiny_module(config: Config) -> Stage1Module:
    """The same as Lightning trains it."""
    built = build_model(config, language_model_for(config))
    return Stage1Module(config, tiny_windows(config), built)


def tiny_fit(
    config: Config, *, callbacks: Sequence[Callback] = (), **options: Any
) -> tuple[list[EpochRow], Stage1Module]:
    """The rows of a training, and what it trained."""
    rows: list[EpochRow] = []
    arguments: dict[str, Any] = {"report": rows.append, "callbacks": callbacks} | options
    return rows, fit(config, tiny_windows(config), language_model_for(config), **arguments)


def saved_every_epoch(folder: Path) -> dict[str, Any]:
    """Options of `tiny_fit` that save `epoch=0.ckpt` and so on, as `stage1.train` does."""
    checkpoints = ModelCheckpoint(
        folder,
        "{epoch}",
        save_top_k=-1,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return {"callbacks": [checkpoints], "enable_checkpointing": True}


def without_times(rows: list[EpochRow]) -> list[str]:
    """Rows as text, so that NaN equals NaN."""
    measured = {"seconds", "seconds_per_step", "peak_rss_mb", "peak_vram_mb"}
    return [str({key: row[key] for key in row if key not in measured}) for row in rows]
