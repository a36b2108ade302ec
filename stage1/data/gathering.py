"""Windows gathered by index from resident bars: what a model sees of them, and the truth."""

from __future__ import annotations

from typing import Any, NamedTuple

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
    lengths: Int[Tensor, "batch timeframe"]
    """Real bars. Stays on the CPU: what is computed at all depends on it, and must not wait."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """The same windows on a device; also what Lightning calls to put them there."""
        moved = [tensor.to(device, non_blocking=non_blocking) for tensor in self[:-1]]
        return Batch(*moved, lengths=self.lengths)  # type: ignore[misc]


CPU = torch.device("cpu")


class _AllBars(NamedTuple):
    """The bars of all timeframes, one after the other."""

    times: Int[Tensor, " bars"]
    levels: Float[Tensor, "bars channel"]
    before: Int[Tensor, "timeframe 1"]
    """How many bars come before those of each timeframe."""


class ResidentBars:
    """The bars of all timeframes in memory, from which windows are gathered by index.

    Each device that gathers gets its copy of them, once. `calendar` says whether all timeframes of
    a window span the same minutes.
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
        self._sizes = [len(one.open_time) for one in series]
        times = np.concatenate([one.open_time for one in series])
        levels = np.concatenate([self.kind.level(one.prices) for one in series])
        before = np.cumsum([0, *self._sizes[:-1]])[:, None]
        self._copies = {CPU: _AllBars(*map(torch.from_numpy, (times, levels, before)))}

    def _on(self, device: torch.device) -> _AllBars:
        if device not in self._copies:
            self._copies[device] = _AllBars(*(one.to(device) for one in self._copies[CPU]))
        return self._copies[device]

    def statistics(self, *, until: int) -> TrainingStatistics:
        """Statistics of the bars that are completed by then, in unix seconds as `Bars` has them.

        Raises:
            DataError: A channel of a series stands still in them.
        """
        times, levels = (field.split(self._sizes) for field in self._copies[CPU][:2])
        parts = [
            of_timeframe[opened + 60 * minutes <= until]
            for opened, minutes, of_timeframe in zip(times, self.minutes, levels, strict=True)
        ]
        return training_statistics(parts, self.kind)

    def instants(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times as `Bars` has them -> unix seconds, or starts of the steps of a series."""
        return self.kind.instants(instants_of(self.clock, times))

    def open_times(self, windows: WindowIndex) -> NDArray[np.int64]:
        """(windows, timeframes, bars) as `Batch.open_time`, for the hiding."""
        _, _, open_time = self._places(windows, CPU)
        return open_time.numpy()

    def _places(
        self, windows: WindowIndex, device: torch.device
    ) -> tuple[
        Int[Tensor, "batch timeframe time"],
        Bool[Tensor, "batch timeframe time"],
        Int[Tensor, "batch timeframe time"],
    ]:
        """Where each bar lies (any bar's place at padding), whether it exists, when it opens."""
        bars = self._on(device)
        last, lengths = (moved(field, device).unsqueeze(2) for field in windows[2:])
        bar = torch.arange(self.config.seq_len, device=device)
        rows = (last - lengths + 1 + bar).minimum(last).clamp_min(0) + bars.before
        open_time = bars.times.index_select(0, rows.flatten()).view_as(rows)
        real = bar < lengths
        if self.calendar:
            open_time = open_time.masked_fill(~real, int(NO_TIME))
        return rows, real, open_time

    def gather(
        self,
        windows: WindowIndex,
        hiding: Hiding,
        statistics: TrainingStatistics,
        device: torch.device = CPU,
    ) -> Batch:
        """Collect the windows' bars, hide, then compute what the model sees, all on a device.

        A GPU is given what the hiding says and nothing else, and is not waited for.

        Args:
            windows: Which.
            hiding: Of each of their bars.
            statistics: `zscore` normalises by them; `instance` takes the smallest scale alone.
            device: Where the batch is to be.
        """
        rows, real, open_time = self._places(windows, device)
        levels = self._on(device).levels.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        hidden, scored = (moved(field, device) for field in hiding)
        statistics = TrainingStatistics(*(moved(field, device) for field in statistics))
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
            open_time=open_time,
            real=real,
            lengths=torch.from_numpy(windows.lengths),
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


def moved(array: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """On a device; the program does not wait until a GPU has taken it."""
    tensor = torch.as_tensor(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory it would wait
    return tensor.to(device, non_blocking=True)
