"""A language model, a configuration and bars so small that a training takes a blink."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from synthetic_bars import market

from stage1.config import Config, DataConfig, with_values
from stage1.data.batches import Batch, MarketWindows
from stage1.language_models.initialization import t5_stack
from stage1.language_models.resolver import LanguageModel, weights_sha256

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


def tiny_config(**sections: dict[str, Any]) -> Config:
    """The small configuration with some keys of some sections replaced.

    Args:
        sections: Such as `training={"epochs": 2, "optimizer.lr": 0.1}`.
    """
    changes = {f"{name}.{key}": v for name, keys in sections.items() for key, v in keys.items()}
    return with_values(Config(), _SMALL | changes)


@cache
def _windows(data: DataConfig, calendar: bool) -> MarketWindows:
    return MarketWindows(market(2000, data.timeframes), data, calendar=calendar)


def tiny_windows(config: Config) -> MarketWindows:
    """Windows over 2000 gapless minutes; shared between tests, never changed."""
    return _windows(config.data, config.model.async_sampler)


def tiny_batch(config: Config) -> Batch:
    """The first training batch."""
    windows = tiny_windows(config)
    return next(windows.training_batches(config, windows.plan_epoch(config, 0)))


def all_validation(config: Config) -> Batch:
    """The whole validation set as one batch."""
    parts = tiny_windows(config).validation_batches(
        config.masking, config.evaluation.tf_specific_mask_ratios
    )
    return Batch(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
