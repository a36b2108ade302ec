"""Batches gathered by index from resident arrays; order and masks come of seed and epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.config import Config, DataConfig, MaskingConfig
from stage1.data.calendar_hiding import EXTRA_NUMBERS, draw_calendar_hiding, draw_presence
from stage1.data.features import normalise, window_statistics
from stage1.data.hiding import NO_TIME, Hiding, draw_hiding, numbers_needed
from stage1.data.kinds import kind_of
from stage1.data.scales import TrainingStatistics, training_statistics
from stage1.data.store import Bars
from stage1.data.windows import FEWEST_BARS, Split, WindowIndex, find_windows, split_windows
from stage1.errors import DataError
from stage1.seeds import Stream, generator

VALIDATION_BATCH = 256
"""Windows per validation batch: large, since no gradient is kept."""
VALIDATION_BARS = VALIDATION_BATCH * 6 * 64
"""Bars per validation batch at most: long windows come in smaller ones."""


class Batch(NamedTuple):
    """Windows as the model sees them.

    All timeframes have room for the same number of bars. A calendar window fills it from the left
    as far as it has bars; the rest is padding: not real, not hidden, not scored, 0.
    """

    features: Float[Tensor, "batch timeframe time feature"]
    """What the model sees of each bar, six values; of a series two of each channel."""
    hidden: Bool[Tensor, "batch timeframe time"]
    """True where the model sees nothing."""
    scored: Bool[Tensor, "batch timeframe time"]
    """True where the model's bar is compared with the truth."""
    targets: Float[Tensor, "batch timeframe time channel"]
    """True prices, or channels of a series, normalised."""
    center: Float[Tensor, "batch timeframe *channel"]
    """Log price at 0 of the normalised scale, float64; of a series the value, of each channel."""
    scale: Float[Tensor, "batch timeframe *channel"]
    """Log price of one normalised unit, float64; of a series the value, of each channel."""
    open_time: Int[Tensor, "batch timeframe time"]
    """Unix seconds; later than any real bar's at padding."""
    real: Bool[Tensor, "batch timeframe time"]
    """True where a bar exists."""


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
        calendar: Whether all timeframes of a window span the same minutes
            (`model.async_sampler`), or have the same number of bars.

    Raises:
        DataError: Too few bars for both sides of the split.
    """

    def __init__(
        self, bars: dict[str, Bars], config: DataConfig, *, calendar: bool = False
    ) -> None:
        self.config, self.calendar, self.kind = config, calendar, kind_of(config)
        self.minutes = config.minutes
        series = [bars[name] for name in config.timeframes]
        self.times = [one.open_time for one in series]
        self.levels = [torch.from_numpy(self.kind.level(one.prices)) for one in series]
        windows = find_windows(bars, config, calendar=calendar)
        self.split: Split = split_windows(windows, bars, config, calendar=calendar)
        self.training_statistics = self._training_statistics()
        self._validation: dict[tuple[MaskingConfig, tuple[float, ...]], list[Batch]] = {}

    def _training_statistics(self) -> TrainingStatistics:
        parts = [
            levels[torch.from_numpy(times + 60 * minutes <= self.split.boundary)]
            for times, minutes, levels in zip(self.times, self.minutes, self.levels, strict=True)
        ]
        return training_statistics(parts, self.kind)

    def open_times(self, windows: WindowIndex) -> NDArray[np.int64]:
        """(windows, timeframes, bars) unix seconds of every bar's open; `NO_TIME` at padding."""
        rows = self._rows(windows)
        times = np.stack([times[rows[:, i]] for i, times in enumerate(self.times)], axis=1)
        return np.where(self._real(windows), times, NO_TIME) if self.calendar else times

    def _rows(self, windows: WindowIndex) -> NDArray[np.int64]:
        """(windows, timeframes, bars) where each bar lies; any bar's place at padding."""
        first = windows.last - windows.lengths + 1
        rows: NDArray[np.int64] = first[:, :, None] + np.arange(self.config.seq_len)
        return np.maximum(np.minimum(rows, windows.last[:, :, None]), 0)

    def _real(self, windows: WindowIndex) -> NDArray[np.bool_]:
        """(windows, timeframes, bars) True where a bar exists."""
        real: NDArray[np.bool_] = np.arange(self.config.seq_len) < windows.lengths[:, :, None]
        return real

    def gather(self, windows: WindowIndex, hiding: Hiding, open_times: NDArray[np.int64]) -> Batch:
        """Collect the windows' bars, hide, then compute what the model sees."""
        rows = torch.from_numpy(self._rows(windows))
        levels = torch.stack([whole[rows[:, i]] for i, whole in enumerate(self.levels)], dim=1)
        hidden, scored = torch.from_numpy(hiding.hidden), torch.from_numpy(hiding.scored)
        real = torch.from_numpy(self._real(windows))
        center, scale = self._statistics(levels, real & ~hidden)
        targets = normalise(levels, center, scale)
        if self.calendar:
            targets = targets.masked_fill(~real.unsqueeze(-1), 0.0)
        return Batch(
            features=self.kind.see(targets, hidden | ~real),
            hidden=hidden,
            scored=scored,
            targets=targets,
            center=center,
            scale=scale,
            open_time=torch.from_numpy(open_times),
            real=real,
        )

    def _statistics(
        self, levels: Float[Tensor, "b f t channel"], visible: Bool[Tensor, "b f t"]
    ) -> tuple[Float[Tensor, "b f *channel"], Float[Tensor, "b f *channel"]]:
        """Center and scale of each window and timeframe.

        In a calendar window a timeframe with few visible bars takes those of m1, which spans the
        same minutes: a scale from a bar or two is none.
        """
        mean, deviation, smallest = self.training_statistics
        if self.config.normalization == "zscore":
            shape = (len(visible), *mean.shape)
            return mean.expand(shape), deviation.expand(shape)
        one_scale = self.kind.one_scale
        center, scale = window_statistics(levels, visible, one_scale=one_scale, smallest=smallest)
        if not self.calendar:
            return center, scale
        few = visible.sum(dim=2) < FEWEST_BARS
        if not one_scale:
            few = few.unsqueeze(-1)
        return torch.where(few, center[:, :1], center), torch.where(few, scale[:, :1], scale)

    def _uniforms(
        self, masking: MaskingConfig, windows: int, random: np.random.Generator
    ) -> NDArray[np.float64]:
        """(windows, timeframes, numbers) random numbers that hiding uses."""
        numbers = numbers_needed(self.config.seq_len, masking, (masking.mask_ratio,))
        extra = EXTRA_NUMBERS if self.calendar else 0
        return random.random((windows, len(self.minutes), numbers + extra))

    def batch(
        self,
        windows: WindowIndex,
        masking: MaskingConfig,
        uniforms: NDArray[np.float64],
        ratios: tuple[float, ...],
        *,
        chances: tuple[float, ...] | None = None,
    ) -> Batch:
        """Hide what the random numbers say, and gather.

        Args:
            windows: Which.
            masking: Span lengths, switch.
            uniforms: (windows, timeframes, numbers).
            ratios: Share that is drawn, of each timeframe.
            chances: Of each timeframe to be in a calendar window; None = all are.
        """
        if not self.calendar:
            open_times = self.open_times(windows)
            hiding = draw_hiding(open_times, self.minutes, masking, uniforms, ratios)
            return self.gather(windows, hiding, open_times)
        if chances is not None:
            count = draw_presence(windows.lengths, uniforms[..., -2], chances)
            windows = windows._replace(lengths=count)
        open_times = self.open_times(windows)
        numbers = np.delete(uniforms, -2, axis=2)
        hiding = draw_calendar_hiding(
            open_times, windows.lengths, self.minutes, masking, numbers, ratios
        )
        return self.gather(windows, hiding, open_times)

    def validation_batches(
        self, masking: MaskingConfig, ratios: Mapping[str, float] | None = None
    ) -> list[Batch]:
        """The validation set; the hidden bars of a window depend on its end and on nothing else.

        Args:
            masking: What is hidden.
            ratios: `evaluation.tf_specific_mask_ratios`, in place of the masking's own.

        Raises:
            DataError: A timeframe has no scored bar, so that nothing can be said about it.
        """
        names, given = self.config.timeframes, ratios or {}
        shares = tuple(given.get(name, masking.mask_ratio) for name in names)
        if (masking, shares) not in self._validation:
            self._validation[masking, shares] = self._draw_validation(masking, shares)
        return self._validation[masking, shares]

    def _draw_validation(self, masking: MaskingConfig, ratios: tuple[float, ...]) -> list[Batch]:
        windows = self.split.validation
        uniforms = np.stack(
            [self._validation_uniforms(masking, ratios, int(end)) for end in windows.ends]
        )
        bars = self.config.seq_len * len(self.minutes)
        size = min(VALIDATION_BATCH, max(VALIDATION_BARS // bars, 1))
        batches = [
            self.batch(windows.take(part), masking, uniforms[part], ratios)
            for part in _slices(len(windows.ends), size)
        ]
        scored = torch.cat([batch.scored for batch in batches]).any(dim=2).any(dim=0)
        # In calendar windows some timeframes are context only.
        could = np.any(windows.lengths >= FEWEST_BARS, axis=0).tolist()
        never = [
            name
            for name, is_scored, may_be in zip(self.config.timeframes, scored, could, strict=True)
            if may_be and not is_scored
        ]
        if never:
            advice = "lower masking.mask_span_min or raise data.seq_len"
            if self.calendar:
                advice = "raise data.validation_windows, since one timeframe is drawn per window"
            raise DataError(
                f"masking must leave bars to score in every timeframe, got none in "
                f"{', '.join(never)} of {len(windows.ends)} validation windows; {advice}"
            )
        return batches

    def _validation_uniforms(
        self, masking: MaskingConfig, ratios: tuple[float, ...], end: int
    ) -> NDArray[np.float64]:
        """(timeframes, numbers) of one window.

        What a timeframe's own ratio needs beyond the masking's is drawn after all the rest, and so
        changes nothing in the others.
        """
        random = generator(Stream.VALIDATION_MASKS, end)
        numbers: NDArray[np.float64] = self._uniforms(masking, 1, random)[0]
        spans = numbers_needed(self.config.seq_len, masking, (masking.mask_ratio,))
        more = numbers_needed(self.config.seq_len, masking, ratios) - spans
        if more <= 0:
            return numbers
        lengths, places, extra = np.split(numbers, [spans // 2, spans], axis=1)
        own = np.split(random.random((len(self.minutes), more)), 2, axis=1)
        parts = [lengths, own[0], places, own[1], extra]
        together: NDArray[np.float64] = np.concatenate(parts, axis=1)
        return together

    def plan_epoch(self, config: Config, epoch: int) -> EpochPlan:
        """Order and random numbers of one epoch: a function of `training.seed` and the epoch.

        The windows come as one endless row of permutations, so that all are used equally often.
        """
        training, count = config.training, len(self.split.training.ends)
        size = training.steps_per_epoch * training.windows_per_step
        first_turn, offset = divmod(epoch * size, count)
        turns = range(first_turn, (epoch * size + size - 1) // count + 1)
        permutations = [
            generator(Stream.ORDER, training.seed, turn).permutation(count) for turn in turns
        ]
        order = np.concatenate(permutations)[offset : offset + size]
        random = generator(Stream.MASKS, training.seed, epoch)
        uniforms = self._uniforms(config.masking, size, random)
        shape = (training.steps_per_epoch, training.windows_per_step)
        return EpochPlan(order.reshape(shape), uniforms.reshape(*shape, *uniforms.shape[1:]))

    def training_batches(self, config: Config, plan: EpochPlan) -> Iterator[Batch]:
        """The batches of a planned epoch, gathered one at a time."""
        ratios = (config.masking.mask_ratio,) * len(self.minutes)
        given = config.data.sampling_probs
        chances = tuple(given.get(name, 1.0) for name in config.data.timeframes)
        for order, uniforms in zip(plan.order, plan.uniforms, strict=True):
            windows = self.split.training.take(order)
            yield self.batch(windows, config.masking, uniforms, ratios, chances=chances)


def chained_sha256(previous: str, array: NDArray[np.generic]) -> str:
    """Fingerprint of everything so far, from the one before and the newest part."""
    return hashlib.sha256(previous.encode() + array.tobytes()).hexdigest()


def _slices(count: int, size: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
