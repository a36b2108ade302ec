"""Excerpts of validation windows as a model completes them, for the eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from stage1.config import DataConfig
from stage1.data.features import kind_of
from stage1.data.gathering import Batch
from stage1.model.metrics import interpolated
from stage1.pages.figures.reconstruction_figure import Reconstruction, reconstructions_figure
from stage1.training.module import Stage1Module, joined

TIMEFRAMES = 3
"""Shown at most: the finest, the coarsest, and one between."""
WINDOWS = 2
"""Shown of each of them."""
LONGEST = 64
"""Bars shown of a window."""


def chosen_windows(scored: Tensor) -> list[tuple[int, int]]:
    """Which windows to show of which timeframes, as pairs: evenly spaced, whatever came of them.

    Args:
        scored: (windows, timeframes, bars) True where a bar is compared with the truth.
    """
    there = scored.any(dim=2).numpy()
    timeframes = np.flatnonzero(there.any(axis=0))
    pairs = []
    for timeframe in _evenly(timeframes, TIMEFRAMES):
        windows = np.flatnonzero(there[:, timeframe])
        # Neither the first nor the last: the middle of so many equal parts.
        places = (np.arange(WINDOWS) + 0.5) / WINDOWS * len(windows)
        pairs += [(int(w), int(timeframe)) for w in np.unique(windows[places.astype(int)])]
    return pairs


def _evenly(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most so many of the values, from the first to the last."""
    places = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    chosen: NDArray[np.int64] = values[places]
    return chosen


def reconstructions(
    decoded: Tensor, batch: Batch, pairs: list[tuple[int, int]], config: DataConfig
) -> list[Reconstruction]:
    """The excerpts, in units of price, or of the channels of a series, which come in turn.

    Args:
        decoded: (windows, timeframes, bars, channels) normalised.
        batch: The same windows.
        pairs: Window and timeframe of each excerpt, by place.
        config: Of the windows.
    """
    line = interpolated(batch)
    return [
        _excerpt(decoded, line, batch, config, window=window, index=index, turn=turn)
        for turn, (window, index) in enumerate(pairs)
    ]


def _excerpt(
    decoded: Tensor,
    line: Tensor,
    batch: Batch,
    config: DataConfig,
    *,
    window: int,
    index: int,
    turn: int,
) -> Reconstruction:
    kind, channel, columns = kind_of(config), None, slice(None)
    if config.kind == "series":
        place = turn % len(kind.channels)
        channel, columns = kind.channels[place], slice(place, place + 1)
    bars = int(batch.real[window, index].sum())
    scored = batch.scored[window, index].numpy()
    part = excerpt_of(scored[:bars])
    center, scale = batch.center[window, index], batch.scale[window, index]

    def values(normalised: Tensor) -> NDArray[np.float64]:
        levels = center + scale * normalised[window, index, part].double()
        return kind.value(levels)[:, columns].numpy()

    return Reconstruction(
        timeframe=config.timeframes[index],
        open_time=kind.instants(batch.open_time[window, index, part].numpy()),
        truth=values(batch.targets),
        model=values(decoded),
        line=values(line),
        hidden=batch.hidden[window, index, part].numpy(),
        scored=scored[part],
        channel=channel,
    )


def excerpt_of(scored: NDArray[np.bool_]) -> slice:
    """The `LONGEST` bars with most scored ones among them; all, if there are no more.

    Args:
        scored: Of the bars of a window.
    """
    length = min(LONGEST, len(scored))
    counts = np.convolve(scored, np.ones(length, dtype=int), mode="valid")
    best = np.flatnonzero(counts == counts.max())
    first = int(best[len(best) // 2])
    return slice(first, first + length)


def taken(batch: Batch) -> tuple[Batch, list[tuple[int, int]]]:
    """The windows to show alone, and window and timeframe of each excerpt among them."""
    pairs = chosen_windows(batch.scored)
    windows = sorted({window for window, _ in pairs})
    some = Batch(*(tensor[torch.tensor(windows)] for tensor in batch))
    return some, [(windows.index(window), index) for window, index in pairs]


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

    In full precision, and so not to the last digit what a validation in a mixed one gives.
    """
    batch, pairs = taken(joined(list(module.val_dataloader())))
    training = module.training
    module.eval()
    decoded = module.predict_step(Batch(*(tensor.to(module.device) for tensor in batch)), 0)
    module.train(training)
    return reconstructions(decoded, batch, pairs, module.config.data)
