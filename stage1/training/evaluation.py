"""A checkpoint on the validation windows of its configuration: all metrics, and some excerpts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from stage1.base.metric_table import INTERPOLATION
from stage1.data.batches import Batch, MarketWindows
from stage1.data.features import kind_of
from stage1.model.metrics import ALL, evaluate_each, interpolated
from stage1.model.stage1_model import Built
from stage1.pages.figures.reconstruction_figure import Reconstruction
from stage1.training.checkpoint import Record, Trained, read_trained
from stage1.training.encoder import bars_for, trained_model
from stage1.training.fit import lean_trainer, quiet_lightning
from stage1.training.memory import Warn, out_of_memory_is_a_trial_error
from stage1.training.module import Stage1Module, joined
from stage1.training.reconstructions import chosen_windows, reconstructions
from stage1.training.session import ACCELERATOR

MODEL = "model"


class Evaluation(NamedTuple):
    """What a checkpoint came to."""

    path: Path
    """Of the checkpoint."""
    record: Record
    scores: pd.DataFrame
    """Rows per `timeframe` (`ALL` first) and `of` (`MODEL`, `INTERPOLATION`), a column per metric
    of `evaluate_each`, and `val_loss`, which only all timeframes together have."""
    excerpts: list[Reconstruction]
    windows: int
    """How many."""
    starts_at: int
    """Unix seconds; the first bar of the first window."""
    ends_at: int
    """Unix seconds; the end of the last window."""
    seen: int
    """Windows that begin before the end of the bars it was trained on."""
    same_bars: bool
    """Whether these are the bars of its training."""


def evaluate_checkpoint(checkpoint: Path, data_dir: Path | None, *, warn: Warn) -> Evaluation:
    """Decode the validation windows and score them as the training did.

    Args:
        checkpoint: Of a training.
        data_dir: Folder of prepared bars, or of a series; None for the bundled sample.
        warn: Takes a line when a batch does not fit into memory and is worked on in parts.

    Raises:
        ResultsError: The checkpoint cannot be read.
        DataError: The bars lack a timeframe, or are too few.
        TrialError: Memory does not suffice for a single window.
    """
    trained = read_trained(checkpoint)
    record, config = trained.record, trained.record.config
    windows = MarketWindows(
        bars_for(config, data_dir),
        config.data,
        calendar=config.model.async_sampler,
        statistics=record.statistics,
    )
    decoded, batch = _decoded(trained, windows, warn)
    validation, instants = windows.split.validation, kind_of(config.data).instants
    starts, ends = instants(validation.starts), instants(validation.ends)
    return Evaluation(
        path=checkpoint,
        record=record,
        scores=_scores(decoded, batch, record),
        excerpts=reconstructions(decoded, batch, chosen_windows(batch.scored), config.data),
        windows=len(ends),
        starts_at=int(starts[0]),
        ends_at=int(ends[-1]),
        seen=int((starts < record.bars.split_at).sum()),
        same_bars=windows.fingerprint == record.bars.sha256,
    )


def _decoded(trained: Trained, windows: MarketWindows, warn: Warn) -> tuple[Tensor, Batch]:
    """The validation set, decoded in the training's precision, on the GPU where there is one."""
    record = trained.record
    prints = record.fingerprints
    built = Built(trained_model(trained), prints.lm_sha256, prints.head_sha256, record.t5_shape)
    torch.set_num_threads(record.config.training.threads)
    module = Stage1Module(record.config, windows, built, warn=warn)
    batches = module.val_dataloader()
    with quiet_lightning(), out_of_memory_is_a_trial_error():
        trainer = lean_trainer(record.config, accelerator=ACCELERATOR)
        decoded: Any = trainer.predict(module, dataloaders=batches)
    return torch.cat(decoded), joined(list(batches))


def _scores(decoded: Tensor, batch: Batch, record: Record) -> pd.DataFrame:
    names = record.config.data.timeframes
    counts = dict(zip(names, batch.scored.sum(dim=(0, 2)).tolist(), strict=True))
    counts[ALL] = sum(counts.values())
    line = interpolated(batch)
    metrics = {
        of: evaluate_each(bars, line, batch, record.config)
        for of, bars in ((MODEL, decoded), (INTERPOLATION, line))
    }
    return pd.DataFrame(
        [
            {"timeframe": name, "of": of, "scored_bars": counts[name], **metrics[of][name]}
            for name in (ALL, *names)
            for of in metrics
        ]
    )
