"""Bars -> what the model sees and what it must say: computed after hiding, so nothing leaks.

A `Kind` of data says which features and channels there are; windows are normalised by their own
visible bars, or by `TrainingStatistics`; `interpolate` is the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from stage1.base.errors import DataError
from stage1.base.steps import parse_step
from stage1.config import DataConfig
from stage1.config.data import PRICES

FEATURES = ("open", "high", "low", "close", "delta close", "body")
"""Of bars."""
SMALLEST_SCALE = 1e-6
"""Of log prices: a window without movement is divided by this, not by zero."""
SMALLEST_SHARE = 1e-2
"""A channel of a series, whose unit may be any, is divided by this share of its standard deviation
in the training split at least."""


def visible_features(
    targets: Float[Tensor, "batch timeframe time 4"], hidden: Bool[Tensor, "batch timeframe time"]
) -> Float[Tensor, "batch timeframe time 6"]:
    """The six features of every bar, all 0 where it is hidden.

    Delta close is the change from the bar before, 0 unless both are visible. Body is the share of
    the bar's range between open and close, in [-1, 1], 0 for a bar without range.
    """
    visible = ~hidden
    prices = targets.masked_fill(hidden.unsqueeze(-1), 0.0)
    open_, high, low, close = prices.unbind(-1)
    delta = torch.zeros_like(close)
    delta[..., 1:] = (close[..., 1:] - close[..., :-1]) * (visible[..., 1:] & visible[..., :-1])
    span = high - low
    body = ((close - open_) / span.clamp_min(1e-12)).masked_fill(~(span > 0), 0.0).clamp(-1, 1)
    return torch.stack([open_, high, low, close, delta, body], dim=-1)


def features_of_channels(
    targets: Float[Tensor, "batch timeframe time channel"],
    hidden: Bool[Tensor, "batch timeframe time"],
) -> Float[Tensor, "batch timeframe time feature"]:
    """The channels of every step of a series, then their changes; all 0 where it is hidden.

    A change is that from the step before, 0 unless both are visible.
    """
    visible = ~hidden
    values = targets.masked_fill(hidden.unsqueeze(-1), 0.0)
    both = visible[..., 1:] & visible[..., :-1]
    change = torch.zeros_like(values)
    change[..., 1:, :] = values.diff(dim=-2) * both.unsqueeze(-1)
    return torch.cat([values, change], dim=-1)


def aggregate_bars(parts: Float[Tensor, "bars parts 4"]) -> Float[Tensor, "bars 4"]:
    """Open, high, low, close of bars that follow each other."""
    open_, high, low, close = parts.unbind(-1)
    return torch.stack([open_[:, 0], high.amax(dim=1), low.amin(dim=1), close[:, -1]], dim=-1)


def mean_of_parts(parts: Float[Tensor, "bars parts channel"]) -> Float[Tensor, "bars channel"]:
    """The mean of rows that follow each other, as a coarser timeframe of a series has it."""
    return parts.mean(dim=1)


class Kind(NamedTuple):
    """A kind of data; the baseline, `interpolate`, is the same for all."""

    channels: tuple[str, ...]
    """What the model says of every bar."""
    features: int
    """How many values it sees of every bar."""
    level: Callable[[NDArray[np.float64]], NDArray[Any]]
    """Values as they are on the scale that windows are normalised on."""
    value: Callable[[Tensor], Tensor]
    """Back from there."""
    instants: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    """Times as `Bars` has them -> unix seconds."""
    one_scale: bool
    """Whether all channels of a window share mean and standard deviation; else each has its own."""
    see: Callable[[Tensor, Tensor], Tensor]
    """(batch, timeframe, time, channel) normalised values and what is hidden -> the features."""
    aggregate: Callable[[Tensor], Tensor]
    """(bars, parts, channel) -> (bars, channel), the coarser bars that the parts make."""
    composes: bool
    """Whether coarser bars are made of any finer ones; else of the finest alone, as the mean of
    means is not that of all rows where some are missing."""


OHLC = Kind(
    channels=PRICES,
    features=len(FEATURES),
    level=np.log,
    value=torch.exp,
    instants=np.asarray,
    one_scale=True,
    see=visible_features,
    aggregate=aggregate_bars,
    composes=True,
)
"""Bars: log prices, one scale for all four, which keeps low <= open, close <= high."""


def kind_of(config: DataConfig) -> Kind:
    """The kind of data of a configuration.

    Raises:
        ValueError: The channels of a series are not known yet.
    """
    if config.kind == "ohlc":
        return OHLC
    channels = config.channel_names
    return Kind(
        channels=channels,
        features=2 * len(channels),
        level=np.asarray,
        value=torch.asarray,
        instants=partial(_starts_of_steps, config.step),
        one_scale=False,
        see=features_of_channels,
        aggregate=mean_of_parts,
        composes=False,
    )


def _starts_of_steps(step: str | None, times: NDArray[np.int64]) -> NDArray[np.int64]:
    if step is None:
        raise ValueError("data.step must be known by now, got null")
    return parse_step(step).starts(times // 60)


def per_bar(
    statistic: Float[Tensor, "batch timeframe *channel"],
) -> Float[Tensor, "batch timeframe 1 _"]:
    """A center or scale, of all channels together or of each, as it goes with bars."""
    return statistic[:, :, None, None] if statistic.ndim == 2 else statistic[:, :, None]


def window_statistics(
    levels: Float[Tensor, "batch timeframe time channel"],
    visible: Bool[Tensor, "batch timeframe time"],
    *,
    one_scale: bool = True,
    smallest: Tensor | None = None,
) -> tuple[
    Float[Tensor, "batch timeframe *channel"],
    Float[Tensor, "batch timeframe *channel"],
]:
    """Mean and standard deviation of the visible bars; without one the mean is 0.

    Args:
        levels: Log prices; of a series its values.
        visible: True where a bar counts.
        one_scale: Of all channels together; else of each.
        smallest: Standard deviation at least, () of all or (channel,) of each; None =
            `SMALLEST_SCALE`.
    """
    hidden = ~visible.unsqueeze(-1)
    over, channels = ((2, 3), levels.shape[3]) if one_scale else ((2,), 1)
    count = channels * visible.sum(dim=2).clamp_min(1)
    if not one_scale:
        count = count.unsqueeze(-1)
    center = levels.masked_fill(hidden, 0.0).sum(dim=over) / count
    deviation = (levels - per_bar(center)).masked_fill(hidden, 0.0)
    scale = (deviation.square().sum(dim=over) / count).sqrt()
    if smallest is None:
        smallest = scale.new_full((), SMALLEST_SCALE)
    return center, scale.maximum(smallest)


def normalise(
    levels: Float[Tensor, "batch timeframe time channel"],
    center: Float[Tensor, "batch timeframe *channel"],
    scale: Float[Tensor, "batch timeframe *channel"],
) -> Float[Tensor, "batch timeframe time channel"]:
    """Targets: log prices, or a series' values, in units of `scale` around `center`, float32."""
    return ((levels - per_bar(center)) / per_bar(scale)).float()


class TrainingStatistics(NamedTuple):
    """Of the bars that are trained on: their four log prices together, or each channel."""

    mean: Float[Tensor, " timeframe *channel"]
    """float64; with channels for a series alone."""
    deviation: Float[Tensor, " timeframe *channel"]
    """Standard deviation, float64, > 0."""
    bars: Int[Tensor, " timeframe"]
    """How many bars they are of."""

    @property
    def smallest(self) -> Float[Tensor, " *channel"]:
        """No window is divided by less."""
        if self.deviation.ndim == 1:
            return self.deviation.new_full((), SMALLEST_SCALE)
        return SMALLEST_SHARE * self.deviation[0]


def training_statistics(
    parts: Sequence[Float[Tensor, "_ channel"]], kind: Kind
) -> TrainingStatistics:
    """Mean and standard deviation of every timeframe.

    Args:
        parts: Per timeframe, fine to coarse, what is completed by the split.
        kind: Of the data.

    Raises:
        DataError: A channel of a series stands still: nothing can be learned of it.
    """
    over = None if kind.one_scale else 0
    if not kind.one_scale:
        still = (parts[0].amax(dim=0) == parts[0].amin(dim=0)).tolist()
        for name, value, stands in zip(kind.channels, parts[0][0], still, strict=True):
            if stands:
                raise DataError(
                    f"channel {name} must move in the training split, got {value:g} throughout; "
                    "leave it out of data.channels"
                )
    statistics = TrainingStatistics(
        mean=torch.stack([part.mean(dim=over) for part in parts]),
        deviation=torch.stack([part.std(dim=over, correction=0) for part in parts]),
        bars=torch.tensor([len(part) for part in parts]),
    )
    deviation = statistics.deviation.maximum(statistics.smallest)
    return statistics._replace(deviation=deviation)


def interpolate(
    targets: Float[Tensor, "batch timeframe time channel"],
    hidden: Bool[Tensor, "batch timeframe time"],
) -> Float[Tensor, "batch timeframe time channel"]:
    """The baseline: each channel of a hidden bar on the line between its visible neighbours.

    Beyond the first or last visible bar the nearest one's value is repeated, as in `numpy.interp`.
    Where no bar of a timeframe is visible it is 0, the middle of the normalised scale.

    Args:
        targets: True bars; those that are hidden are not read.
        hidden: True where a bar is hidden, or does not exist.

    Source:
        Ours; any model of hidden bars has to beat it to have learned something.
    """
    length = targets.shape[2]
    targets = targets.masked_fill(hidden.unsqueeze(-1), 0.0)
    position = torch.arange(length, device=targets.device).expand(hidden.shape)
    before = position.masked_fill(hidden, -1).cummax(dim=-1).values
    after = position.masked_fill(hidden, length).flip(-1).cummin(dim=-1).values.flip(-1)
    before, after = (
        torch.where(before < 0, after, before),
        torch.where(after >= length, before, after),
    )
    before, after = before.clamp(0, length - 1), after.clamp(0, length - 1)  # where none is visible
    span = (after - before).clamp_min(1)
    weight = ((position - before).float() / span.float()).unsqueeze(-1)
    left = targets.gather(2, before.unsqueeze(-1).expand_as(targets))
    right = targets.gather(2, after.unsqueeze(-1).expand_as(targets))
    return torch.lerp(left, right, weight.clamp(0, 1))
