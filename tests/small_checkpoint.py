"""A checkpoint of a training that takes a blink, and its bars as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from synthetic_bars import market
from synthetic_series import series_config, series_of, waves
from tiny_training import language_model_for, tiny_config, tiny_windows

from stage1.config import Config
from stage1.data.batches import MarketWindows
from stage1.data.store import write_parquet
from stage1.training.fit import EpochRow, fit


class _Saved(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        trainer.save_checkpoint(self.path)


def write_checkpoint(path: Path, **sections: Any) -> list[EpochRow]:
    """Train a `tiny_config` and keep its last state; gives the rows of its epochs."""
    config = tiny_config(**sections)
    return _trained(config, tiny_windows(config), path)


def write_series_checkpoint(path: Path, **sections: dict[str, Any]) -> list[EpochRow]:
    """The same of a `series_config`, on `waves()`."""
    config = series_config(**sections)
    bars = series_of(waves(), config.data.timeframes)
    windows = MarketWindows(bars, config.data, calendar=config.model.async_sampler)
    return _trained(config, windows, path)


def _trained(config: Config, windows: MarketWindows, path: Path) -> list[EpochRow]:
    rows: list[EpochRow] = []
    model = language_model_for(config)
    fit(config, windows, model, report=rows.append, callbacks=[_Saved(path)])
    return rows


def write_market(
    folder: Path,
    minutes: int = 2000,
    timeframes: tuple[str, ...] = ("m1", "m5", "m15"),
    *,
    seed: int = 0,
) -> Path:
    """The bars of `tiny_windows`, or others, as `stage1.prepare` would write them."""
    folder.mkdir()
    for name, bars in market(minutes, timeframes, seed=seed).items():
        write_parquet(bars, folder / f"{name}.parquet")
    return folder


def changed_checkpoint(source: Path, target: Path, change: Any) -> Path:
    """A copy of a checkpoint with its content edited in place by `change`."""
    content = torch.load(source, weights_only=True)
    change(content)
    torch.save(content, target)
    return target
