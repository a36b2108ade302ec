"""What a model makes of its validation windows: all metrics, and excerpts to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from stage1.base.files import sha256_of_file
from stage1.base.metric_table import ALL_TIMEFRAMES, INTERPOLATION
from stage1.config import DataConfig, with_values
from stage1.data.bars import UTC_DAYS, DayClock
from stage1.data.batches import Batch, MarketWindows
from stage1.data.features import kind_of
from stage1.data.gathering import CPU
from stage1.data.times import instants_of
from stage1.model.metrics import evaluate_each, interpolated
from stage1.model.stage1_model import Built
from stage1.pages.evaluation_page import (
    MODEL,
    Evaluation,
    Reconstruction,
    reconstructions_figure,
)
from stage1.training.checkpoint import Record, Trained, read_trained
from stage1.training.encoder import bars_for, trained_model
from stage1.training.fit import accelerator_here, lean_trainer
from stage1.training.memory import Warn
from stage1.training.module import Stage1Module

TIMEFRAMES = 3
"""Of which excerpts are shown at most: the finest, the coarsest, and one between."""
WINDOWS = 2
"""Shown of each of them."""
LONGEST = 64
"""Bars shown of a window."""


def evaluate_checkpoint(checkpoint: Path, data_dir: str | Path | None, *, warn: Warn) -> Evaluation:
    """Decode the validation windows and score them as the training did.

    Args:
        checkpoint: Of a training, or a folder of `stage1.push`.
        data_dir: As `bars_for` has it.
        warn: Takes a line when a batch does not fit into memory and is worked on in parts.

    Raises:
        ResultsError: The checkpoint cannot be read.
        DataError: The bars lack a timeframe, or are too few.
        TrialError: Memory does not suffice for a single window.
    """
    trained = read_trained(checkpoint)
    record, config = trained.record, trained.record.config
    bars = bars_for(config, data_dir)
    windows = MarketWindows.of(bars, config, statistics=record.statistics)
    decoded, batch = _decoded(trained, windows, warn)
    line = interpolated(batch)
    validation, instants = windows.split.validation, windows.resident.instants
    starts, ends = instants(validation.starts), instants(validation.ends)
    return Evaluation(
        path=checkpoint,
        sha256=sha256_of_file(trained.file),
        config=config,
        scores=_scores(decoded, line, batch, record),
        excerpts=excerpts(
            decoded,
            line,
            batch,
            windows_to_show(batch.scored),
            config.data,
            clock=windows.resident.clock,
        ),
        windows=len(ends),
        starts_at=int(starts[0]),
        ends_at=int(ends[-1]),
        trained_until=record.bars.split_at,
        seen=int((starts < record.bars.split_at).sum()),
        same_bars=windows.fingerprint == record.bars.sha256,
        fingerprints=dict(record.fingerprints),
    )


def _decoded(trained: Trained, windows: MarketWindows, warn: Warn) -> tuple[Tensor, Batch]:
    """The validation set, decoded in the training's precision, on the GPU where there is one.

    A CPU that does not have it takes 32-true, the more exact one.
    """
    record, accelerator = trained.record, accelerator_here()
    training = record.config.training
    config = record.config
    if training.precision_fault(on_gpu=accelerator == "cuda"):
        warn(f"Warning: decoded in 32-true: {training.precision} wants a GPU, and none was found")
        config = with_values(config, {"training.precision": "32-true"})
    prints = record.fingerprints
    built = Built(trained_model(trained), prints.lm_sha256, prints.head_sha256, record.t5)
    torch.set_num_threads(training.threads)
    module = Stage1Module(record.config, windows, built, warn=warn)
    batch = module.validation_set
    with lean_trainer(config, accelerator=accelerator) as trainer:
        decoded: Any = trainer.predict(module, dataloaders=module.val_dataloader())
    return torch.cat(decoded), batch


def _scores(decoded: Tensor, line: Tensor, batch: Batch, record: Record) -> pd.DataFrame:
    names = record.config.data.timeframes
    counts = dict(zip(names, batch.scored.sum(dim=(0, 2)).tolist(), strict=True))
    counts[ALL_TIMEFRAMES] = sum(counts.values())
    metrics = {
        of: evaluate_each(bars, line, batch, record.config)
        for of, bars in ((MODEL, decoded), (INTERPOLATION, line))
    }
    return pd.DataFrame(
        [
            {"timeframe": name, "of": of, "scored_bars": counts[name], **metrics[of][name]}
            for name in (ALL_TIMEFRAMES, *names)
            for of in metrics
        ]
    )


def windows_to_show(scored: Tensor) -> list[tuple[int, int]]:
    """Which windows to show, of which timeframes: evenly spaced, whatever the model makes of them.

    Args:
        scored: (windows, timeframes, bars) True where a bar is compared with the truth.

    Returns:
        Pairs of a window and a timeframe that has scored bars in it, by index.
    """
    has_scored = scored.any(dim=2).numpy()
    timeframes = np.flatnonzero(has_scored.any(axis=0))
    pairs = []
    count = min(TIMEFRAMES, len(timeframes))
    chosen = np.linspace(0, len(timeframes) - 1, count).round().astype(int)
    for timeframe in timeframes[chosen]:  # from the first to the last
        windows = np.flatnonzero(has_scored[:, timeframe])
        # Neither the first nor the last: the middle of so many equal parts.
        places = (np.arange(WINDOWS) + 0.5) / WINDOWS * len(windows)
        pairs += [(int(w), int(timeframe)) for w in np.unique(windows[places.astype(int)])]
    return pairs


def excerpts(
    decoded: Tensor,
    line: Tensor,
    batch: Batch,
    pairs: list[tuple[int, int]],
    config: DataConfig,
    *,
    clock: DayClock = UTC_DAYS,
) -> list[Reconstruction]:
    """The excerpts, in units of price, or of the channels of a series, one channel after the other.

    Args:
        decoded: (windows, timeframes, bars, channels) normalised.
        line: The same windows, interpolated.
        batch: The same windows.
        pairs: Window and timeframe of each excerpt, by index.
        config: Of the data.
        clock: What the bars are counted on.
    """
    shown, kind = [], kind_of(config)
    for number, (window, index) in enumerate(pairs):
        channel, columns = None, slice(None)
        if config.kind == "series":
            place = number % len(kind.channels)
            channel, columns = kind.channels[place], slice(place, place + 1)
        bars = int(batch.real[window, index].sum())
        part = excerpt_of(batch.scored[window, index, :bars].numpy())
        center, scale = batch.center[window, index], batch.scale[window, index]
        truth, mine, straight = (
            kind.value(center + scale * normalised[window, index, part].double())[
                :, columns
            ].numpy()
            for normalised in (batch.targets, decoded, line)
        )
        shown.append(
            Reconstruction(
                timeframe=config.timeframes[index],
                open_time=kind.instants(
                    instants_of(clock, batch.open_time[window, index, part].numpy())
                ),
                truth=truth,
                model=mine,
                line=straight,
                hidden=batch.hidden[window, index, part].numpy(),
                scored=batch.scored[window, index, part].numpy(),
                channel=channel,
            )
        )
    return shown


def excerpt_of(scored: NDArray[np.bool_]) -> slice:
    """The `LONGEST` bars of a window with most scored ones among them; all, if it has no more."""
    length = min(LONGEST, len(scored))
    counts = np.convolve(scored, np.ones(length, dtype=int), mode="valid")
    best = np.flatnonzero(counts == counts.max())
    first = int(best[len(best) // 2])
    return slice(first, first + length)


class ReconstructionPicture(Callback):
    """Adds the picture that `stage1.evaluate` draws to TensorBoard's log when a training ends."""

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Draw. Called by Lightning; not after Ctrl-C."""
        drawn = reconstructions_figure(excerpts_of(module))
        if drawn.figure is not None:
            log: Any = trainer.logger
            log.experiment.add_figure(drawn.name, drawn.figure, trainer.global_step)


@torch.no_grad()
def excerpts_of(module: Stage1Module) -> list[Reconstruction]:
    """Excerpts of a module's validation windows, as it decodes them now.

    No other windows are decoded. In full precision, and so not to the last digit what a validation
    in a mixed one gives.
    """
    batch = module.validation_set.to(CPU)
    pairs = windows_to_show(batch.scored)
    windows = sorted({window for window, _ in pairs})
    shown = Batch(*(tensor[torch.tensor(windows, dtype=torch.long)] for tensor in batch))
    training = module.training
    module.eval()
    decoded = module.predict_step(shown.to(module.device), 0)
    module.train(training)
    places = [(windows.index(window), index) for window, index in pairs]
    clock = module.windows.resident.clock
    return excerpts(decoded, interpolated(shown), shown, places, module.config.data, clock=clock)
