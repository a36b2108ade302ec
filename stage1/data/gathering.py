"""Windows gathered by index from resident bars: what a model sees of them, and the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.base.errors import DataError
from stage1.config import DataConfig
from stage1.data.bars import Bars
from stage1.data.features import (
    TrainingStatistics,
    kind_of,
    normalise,
    training_statistics,
    window_statistics,
)
from stage1.data.hiding import NO_TIME, Hiding
from stage1.data.times import instants_of
from stage1.data.windows import FEWEST_BARS, WindowIndex


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
    """As `Bars` has it, unix seconds; later than any real bar's at padding."""
    real: Bool[Tensor, "batch timeframe time"]
    """True where a bar exists."""


class ResidentBars:
    """The bars of all timeframes in memory, from which windows are gathered by index.

    `calendar` says whether all timeframes of a window span the same minutes.
    """

    def __init__(self, bars: dict[str, Bars], config: DataConfig, *, calendar: bool) -> None:
        self.config, self.calendar, self.kind = config, calendar, kind_of(config)
        self.minutes = config.minutes
        series = [bars[name] for name in config.timeframes]
        self.clock = series[0].clock
        if any(one.clock != self.clock for one in series):
            clocks = ", ".join(f"{name} {bars[name].clock.zone}" for name in config.timeframes)
            rule = "the bars of all timeframes must be counted on one clock"
            raise DataError(f"{rule}, got {clocks}; prepare them anew, together")
        self.times = [one.open_time for one in series]
        self.levels = [torch.from_numpy(self.kind.level(one.prices)) for one in series]

    def statistics(self, *, until: int) -> TrainingStatistics:
        """Statistics of the bars that are completed by then, in unix seconds as `Bars` has them.

        Raises:
            DataError: A channel of a series stands still in them.
        """
        parts = [
            levels[torch.from_numpy(times + 60 * minutes <= until)]
            for times, minutes, levels in zip(self.times, self.minutes, self.levels, strict=True)
        ]
        return training_statistics(parts, self.kind)

    def instants(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times as `Bars` has them -> unix seconds, or starts of the steps of a series."""
        return self.kind.instants(instants_of(self.clock, times))

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

    def gather(
        self,
        windows: WindowIndex,
        hiding: Hiding,
        open_times: NDArray[np.int64],
        statistics: TrainingStatistics,
    ) -> Batch:
        """Collect the windows' bars, hide, then compute what the model sees.

        Args:
            windows: Which.
            hiding: Of each of their bars.
            open_times: As `open_times` gives them.
            statistics: `zscore` normalises by them; `instance` takes the smallest scale alone.
        """
        rows = torch.from_numpy(self._rows(windows))
        levels = torch.stack([whole[rows[:, i]] for i, whole in enumerate(self.levels)], dim=1)
        hidden, scored = torch.from_numpy(hiding.hidden), torch.from_numpy(hiding.scored)
        real = torch.from_numpy(self._real(windows))
        center, scale = self._scales(levels, real & ~hidden, statistics)
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

    def _scales(
        self,
        levels: Float[Tensor, "b f t channel"],
        visible: Bool[Tensor, "b f t"],
        statistics: TrainingStatistics,
    ) -> tuple[Float[Tensor, "b f *channel"], Float[Tensor, "b f *channel"]]:
        """Center and scale of each window and timeframe.

        In a calendar window a timeframe with few visible bars takes those of the finest, which
        spans the same minutes: a scale from a bar or two is none.
        """
        if self.config.normalization == "zscore":
            shape = (len(visible), *statistics.mean.shape)
            return statistics.mean.expand(shape), statistics.deviation.expand(shape)
        one_scale, smallest = self.kind.one_scale, statistics.smallest
        center, scale = window_statistics(levels, visible, one_scale=one_scale, smallest=smallest)
        if not self.calendar:
            return center, scale
        few = visible.sum(dim=2) < FEWEST_BARS
        if not one_scale:
            few = few.unsqueeze(-1)
        return torch.where(few, center[:, :1], center), torch.where(few, scale[:, :1], scale)
