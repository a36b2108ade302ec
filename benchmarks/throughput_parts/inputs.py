"""The files that all ways read: made-up bars, a T5 of random weights, a configuration, a space."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
import yaml
from data import random_walk
from transformers import T5Config, T5EncoderModel

from stage1.base.steps import MINUTES
from stage1.config import Config, config_yaml, with_values
from stage1.data.bars import resample_all
from stage1.data.store import write_parquet
from throughput_parts.results import LEARNING_RATES


class Size(NamedTuple):
    """How large a trial is."""

    d_model: int
    d_ff: int
    heads: int
    vocabulary: int
    seq_len: int
    patch_len: int
    minutes: int
    """Of made-up bars; the purged split wants a window of h4 bars on both of its sides."""
    epochs: int
    steps_per_epoch: int
    validation_windows: int


FULL = Size(256, 1024, 4, 32_128, 64, 16, 120_000, 3, 30, 256)
"""The dimensions of google/t5-efficient-tiny."""
QUICK = Size(16, 32, 2, 100, 32, 16, 60_000, 2, 3, 32)
"""For a test of the benchmark itself: its numbers mean nothing."""


def write_inputs(folder: Path, size: Size, *, trials: int, precision: str) -> None:
    """Everything that does not belong to what is timed.

    Args:
        folder: Not there yet.
        size: Of a trial.
        trials: Of the space, even.
        precision: Lightning's name of the arithmetic.
    """
    (folder / "bars").mkdir(parents=True)
    for name, bars in resample_all(random_walk(size.minutes), tuple(MINUTES)).items():
        write_parquet(bars, folder / "bars" / f"{name}.parquet")
    _write_t5(folder / "t5", size)
    (folder / "config.yaml").write_text(config_yaml(_config(folder, size, precision)))
    (folder / "space.yaml").write_text(yaml.safe_dump(_space(size.epochs, trials)))


def _write_t5(folder: Path, size: Size) -> None:
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=size.vocabulary,
        d_model=size.d_model,
        d_kv=size.d_model // size.heads,
        d_ff=size.d_ff,
        num_layers=4,
        num_heads=size.heads,
    )
    T5EncoderModel(config).save_pretrained(folder)


def _config(folder: Path, size: Size, precision: str) -> Config:
    return with_values(
        Config(),
        {
            "data.timeframes": list(MINUTES),
            "data.seq_len": size.seq_len,
            "data.validation_windows": size.validation_windows,
            "transfer_learning.lm_name_or_path": str(folder / "t5"),
            "transfer_learning.patch_len": size.patch_len,
            "training.epochs": size.epochs,
            "training.steps_per_epoch": size.steps_per_epoch,
            "training.batch_size": 8,
            "training.precision": precision,
            # Without it one group of parameters does the same as several: the plain module's loss
            # can be compared.
            "training.optimizer.weight_decay": 0.0,
        },
    )


def _space(epochs: int, trials: int) -> dict[str, Any]:
    """A design alone: every trial goes to the horizon, and all are the same work.

    The random arm: after a study with a pretrained one the cost of its T5 would be timed too.
    """
    configurations = trials & -trials  # the largest power of two that divides it
    if configurations < 2:
        raise SystemExit(f"--trials must be even, got {trials}")
    low, high = LEARNING_RATES
    return {
        "name": "throughput",
        "base": "config.yaml",
        "objective": {"metric": "val_loss", "mode": "min"},
        "horizon_epochs": epochs,
        "arms": {"random": {"transfer_learning.initialization": "random"}},
        "space": {
            "training.optimizer.lr": {"type": "float", "low": low, "high": high, "log": True}
        },
        "design": {"configurations": configurations, "seeds": trials // configurations},
        "search": {"trials": 0, "scheduler": {"asha": {"grace_epochs": 1}}},
        "resources": {"cpus": 1, "gpus": 0},
    }
