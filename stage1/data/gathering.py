"""Windows gathered by index from resident bars: what a model sees of them, and the truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.config import DataConfig
from stage1.data.bars import Bars
from stage1.data.features import SMALLEST_SCALE, normalise, visible_features, window_statistics
from stage1.data.hiding import NO_TIME, Hiding
from stage1.data.windows import FEWEST_BARS, WindowIndex
from stage1.timeframes import MINUTES


class Batch(NamedTuple):
    """Windows as the model sees them.

    All timeframes have room for the same number of bars. A calendar window fills it from the left
    as far as it has bars; the rest is padding: not real, not hidden, not scored, 0.
    """

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
    """Unix seconds; later than any real bar's at padding."""
    real: Bool[Tensor, "batch timeframe time"]
    """True where a bar exists."""


class PriceStatistics(NamedTuple):
    """Of the log prices of each timeframe, its four prices together."""

    mean: Float[Tensor, " timeframe"]
    """float64."""
    deviation: Float[Tensor, " timeframe"]
    """float64, > 0."""
    bars: Int[Tensor, " timeframe"]
    """How many bars they are of."""


class ResidentBars:
    """The bars of all timeframes in memory, from which windows are gathered by index.

    Args:
        bars: Per timeframe.
        config: Timeframes, length of the windows, normalisation.
        calendar: Whether all timeframes of a window span the same minutes.
    """

    def __init__(self, bars: dict[str, Bars], config: DataConfig, *, calendar: bool) -> None:
        self.config, self.calendar = config, calendar
        self.minutes = tuple(MINUTES[name] for name in config.timeframes)
        series = [bars[name] for name in config.timeframes]
        self.times = [one.open_time for one in series]
        self.log_prices = [torch.from_numpy(np.log(one.prices)) for one in series]

    def statistics(self, *, until: int) -> PriceStatistics:
        """Statistics of the bars that are completed by then.

        Args:
            until: Unix seconds.
        """
        parts = [
            prices[torch.from_numpy(times + 60 * minutes <= until)]
            for times, minutes, prices in zip(
                self.times, self.minutes, self.log_prices, strict=True
            )
        ]
        deviation = torch.stack([part.std(correction=0) for part in parts])
        return PriceStatistics(
            mean=torch.stack([part.mean() for part in parts]),
            deviation=deviation.clamp_min(SMALLEST_SCALE),
            bars=torch.tensor([len(part) for part in parts]),
        )

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
        statistics: PriceStatistics,
    ) -> Batch:
        """Collect the windows' bars, hide, then compute what the model sees.

        Args:
            windows: Which.
            hiding: Of each of their bars.
            open_times: Of each of their bars, as `open_times` gives them.
            statistics: What `zscore` normalises by; not used by `instance`.
        """
        rows = torch.from_numpy(self._rows(windows))
        log_prices = torch.stack(
            [prices[rows[:, i]] for i, prices in enumerate(self.log_prices)], dim=1
        )
        hidden, scored = torch.from_numpy(hiding.hidden), torch.from_numpy(hiding.scored)
        real = torch.from_numpy(self._real(windows))
        center, scale = self._scales(log_prices, real & ~hidden, statistics)
        targets = normalise(log_prices, center, scale)
        if self.calendar:
            targets = targets.masked_fill(~real.unsqueeze(-1), 0.0)
        return Batch(
            features=visible_features(targets, hidden | ~real),
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
        log_prices: Float[Tensor, "b f t 4"],
        visible: Bool[Tensor, "b f t"],
        statistics: PriceStatistics,
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b f"]]:
        """Center and scale of each window and timeframe.

        In a calendar window a timeframe with few visible bars takes those of m1, which spans the
        same minutes: a scale from a bar or two is none.
        """
        if self.config.normalization == "zscore":
            whole = (len(visible), -1)
            return statistics.mean.expand(whole), statistics.deviation.expand(whole)
        center, scale = window_statistics(log_prices, visible)
        if not self.calendar:
            return center, scale
        few = visible.sum(dim=2) < FEWEST_BARS
        return torch.where(few, center[:, :1], center), torch.where(few, scale[:, :1], scale)
