"""Bars -> what the model sees and what it must say: computed after hiding, so nothing leaks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FEATURES = ("open", "high", "low", "close", "delta close", "body")
"""Of bars."""
SMALLEST_SCALE = 1e-6
"""Of log prices: a window without movement is divided by this, not by zero."""


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
    """Mean and standard deviation of the visible bars.

    One scale for the four prices keeps low <= open, close <= high. Without a visible bar the mean
    is 0.

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
        smallest = scale.new_tensor(SMALLEST_SCALE)
    return center, scale.maximum(smallest)


def normalise(
    levels: Float[Tensor, "batch timeframe time channel"],
    center: Float[Tensor, "batch timeframe *channel"],
    scale: Float[Tensor, "batch timeframe *channel"],
) -> Float[Tensor, "batch timeframe time channel"]:
    """Targets: log prices, or a series' values, in units of `scale` around `center`, float32."""
    return ((levels - per_bar(center)) / per_bar(scale)).float()


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
    body = torch.where(span > 0, (close - open_) / span.clamp_min(1e-12), 0.0).clamp(-1, 1)
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
    before = torch.where(hidden, -1, position).cummax(dim=-1).values
    after = torch.where(hidden, length, position).flip(-1).cummin(dim=-1).values.flip(-1)
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
