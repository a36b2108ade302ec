"""Batches gathered by index from resident arrays; order and masks come of seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.config import Config, DataConfig, MaskingConfig
from stage1.data.features import SMALLEST_SCALE, normalise, visible_features, window_statistics
from stage1.data.hiding import Hiding, draw_hiding, numbers_needed
from stage1.data.store import Bars
from stage1.data.windows import Split, WindowIndex, find_windows, split_windows
from stage1.errors import DataError
from stage1.seeds import Stream, generator
from stage1.timeframes import MINUTES

VALIDATION_BATCH = 256
"""Windows per validation batch: large, since no gradient is kept."""


class Batch(NamedTuple):
    """Windows as the model sees them."""

    features: Float[Tensor, "batch timeframe time 6"]
    hidden: Bool[Tensor, "batch timeframe time"]
    """True where the model sees nothing."""
    scored: Bool[Tensor, "batch timeframe time"]
    """True where the model's bar is compared with the truth."""
    targets: Float[Tensor, "batch timeframe time 4"]
    """True prices, normalised."""
    center: Float[Tensor, "batch timeframe"]
    """Log price at 0 of the normalised scale, float64."""
    scale: Float[Tensor, "batch timeframe"]
    """Log price of one normalised unit, float64."""
    open_time: Int[Tensor, "batch timeframe time"]
    """Unix seconds."""


class EpochPlan(NamedTuple):
    """What an epoch trains on, before any bar is touched."""

    order: NDArray[np.int64]
    """(steps, batch) windows."""
    uniforms: NDArray[np.float64]
    """(steps, batch, timeframes, numbers) what their masks are drawn from."""


class MarketWindows:
    """The bars of one study, resident, and the windows over them.

    Args:
        bars: Per timeframe.
        config: Windows, normalisation, split.

    Raises:
        DataError: Too few bars for both sides of the split.
    """

    def __init__(self, bars: dict[str, Bars], config: DataConfig) -> None:
        self.config = config
        self.minutes = tuple(MINUTES[name] for name in config.timeframes)
        series = [bars[name] for name in config.timeframes]
        self.times = [one.open_time for one in series]
        self.log_prices = [torch.from_numpy(np.log(one.prices)) for one in series]
        self.split: Split = split_windows(find_windows(bars, config), bars, config)
        self.training_statistics = self._training_statistics()
        self._validation: dict[MaskingConfig, list[Batch]] = {}

    def _training_statistics(self) -> tuple[Tensor, Tensor]:
        """(timeframe,) mean and standard deviation of the log prices completed by the split."""
        parts = [
            prices[torch.from_numpy(times + 60 * minutes <= self.split.boundary)]
            for times, minutes, prices in zip(
                self.times, self.minutes, self.log_prices, strict=True
            )
        ]
        deviation = torch.stack([part.std(correction=0) for part in parts])
        return torch.stack([part.mean() for part in parts]), deviation.clamp_min(SMALLEST_SCALE)

    def open_times(self, windows: WindowIndex) -> NDArray[np.int64]:
        """(windows, timeframes, bars) open time of every bar, unix seconds."""
        rows = self._rows(windows)
        return np.stack([times[rows[:, i]] for i, times in enumerate(self.times)], axis=1)

    def _rows(self, windows: WindowIndex) -> NDArray[np.int64]:
        return windows.last[:, :, None] - np.arange(self.config.seq_len - 1, -1, -1)

    def gather(self, windows: WindowIndex, hiding: Hiding, open_times: NDArray[np.int64]) -> Batch:
        """Collect the windows' bars, hide, then compute what the model sees."""
        rows = torch.from_numpy(self._rows(windows))
        log_prices = torch.stack(
            [prices[rows[:, i]] for i, prices in enumerate(self.log_prices)], dim=1
        )
        hidden, scored = torch.from_numpy(hiding.hidden), torch.from_numpy(hiding.scored)
        if self.config.normalization == "instance":
            center, scale = window_statistics(log_prices, ~hidden)
        else:
            mean, deviation = self.training_statistics
            center = mean.expand(len(rows), -1)
            scale = deviation.expand(len(rows), -1)
        targets = normalise(log_prices, center, scale)
        return Batch(
            features=visible_features(targets, hidden),
            hidden=hidden,
            scored=scored,
            targets=targets,
            center=center,
            scale=scale,
            open_time=torch.from_numpy(open_times),
        )

    def batch(
        self, windows: WindowIndex, masking: MaskingConfig, uniforms: NDArray[np.float64]
    ) -> Batch:
        """Hide what the random numbers say, and gather."""
        open_times = self.open_times(windows)
        hiding = draw_hiding(open_times, self.minutes, masking, uniforms)
        return self.gather(windows, hiding, open_times)

    def validation_batches(self, masking: MaskingConfig) -> list[Batch]:
        """The validation set; the hidden bars of a window depend on its end and on nothing else.

        Raises:
            DataError: A timeframe has no scored bar, so that nothing can be said about it.
        """
        if masking not in self._validation:
            self._validation[masking] = self._draw_validation(masking)
        return self._validation[masking]

    def _draw_validation(self, masking: MaskingConfig) -> list[Batch]:
        windows = self.split.validation
        shape = (len(self.minutes), numbers_needed(self.config.seq_len, masking))
        uniforms = np.stack(
            [generator(Stream.VALIDATION_MASKS, int(end)).random(shape) for end in windows.ends]
        )
        batches = [
            self.batch(windows.take(part), masking, uniforms[part])
            for part in _slices(len(windows.ends), VALIDATION_BATCH)
        ]
        scored = torch.cat([batch.scored for batch in batches]).any(dim=2).any(dim=0)
        never = [
            name for name, any_ in zip(self.config.timeframes, scored, strict=True) if not any_
        ]
        if never:
            raise DataError(
                f"masking must leave bars to score in every timeframe, got none in "
                f"{', '.join(never)}; lower masking.mask_span_min or raise data.seq_len"
            )
        return batches

    def plan_epoch(self, config: Config, epoch: int) -> EpochPlan:
        """Order and random numbers of one epoch: a function of `training.seed` and the epoch.

        The windows come as one endless row of permutations, so that all are used equally often.
        """
        training, count = config.training, len(self.split.training.ends)
        size = training.steps_per_epoch * training.batch_size
        first_turn, offset = divmod(epoch * size, count)
        turns = range(first_turn, (epoch * size + size - 1) // count + 1)
        permutations = [
            generator(Stream.ORDER, training.seed, turn).permutation(count) for turn in turns
        ]
        order = np.concatenate(permutations)[offset : offset + size]
        numbers = numbers_needed(self.config.seq_len, config.masking)
        uniforms = generator(Stream.MASKS, training.seed, epoch).random(
            (size, len(self.minutes), numbers)
        )
        shape = (training.steps_per_epoch, training.batch_size)
        return EpochPlan(order.reshape(shape), uniforms.reshape(*shape, *uniforms.shape[1:]))

    def training_batches(self, config: Config, plan: EpochPlan) -> Iterator[Batch]:
        """The batches of a planned epoch, gathered one at a time."""
        for order, uniforms in zip(plan.order, plan.uniforms, strict=True):
            yield self.batch(self.split.training.take(order), config.masking, uniforms)


def chained_sha256(previous: str, array: NDArray[np.generic]) -> str:
    """Fingerprint of everything so far, from the one before and the newest part."""
    return hashlib.sha256(previous.encode() + array.tobytes()).hexdigest()


def _slices(count: int, size: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
