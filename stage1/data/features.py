"""Bars -> what the model sees and what it must say: computed after hiding, so nothing leaks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FEATURES = ("open", "high", "low", "close", "delta close", "body")
TARGETS = ("open", "high", "low", "close")
SMALLEST_SCALE = 1e-6
"""Of log prices: a window without movement is divided by this, not by zero."""


def window_statistics(
    log_prices: Float[Tensor, "batch timeframe time 4"],
    visible: Bool[Tensor, "batch timeframe time"],
) -> tuple[Float[Tensor, "batch timeframe"], Float[Tensor, "batch timeframe"]]:
    """Mean and standard deviation of the visible bars' log prices, all four prices together.

    One scale for the four prices keeps low <= open, close <= high. Without a visible bar the mean
    is 0.
    """
    hidden = ~visible.unsqueeze(-1)
    count = 4 * visible.sum(dim=2).clamp_min(1)
    center = log_prices.masked_fill(hidden, 0.0).sum(dim=(2, 3)) / count
    deviation = (log_prices - center[:, :, None, None]).masked_fill(hidden, 0.0)
    scale = (deviation.square().sum(dim=(2, 3)) / count).sqrt()
    return center, scale.clamp_min(SMALLEST_SCALE)


def normalise(
    log_prices: Float[Tensor, "batch timeframe time 4"],
    center: Float[Tensor, "batch timeframe"],
    scale: Float[Tensor, "batch timeframe"],
) -> Float[Tensor, "batch timeframe time 4"]:
    """Targets: log prices in units of `scale` around `center`, float32."""
    return ((log_prices - center[:, :, None, None]) / scale[:, :, None, None]).float()


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


def interpolate(
    targets: Float[Tensor, "batch timeframe time 4"], hidden: Bool[Tensor, "batch timeframe time"]
) -> Float[Tensor, "batch timeframe time 4"]:
    """The baseline: each price of a hidden bar on the line between its visible neighbours.

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
