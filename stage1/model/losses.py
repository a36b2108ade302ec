"""What is minimised, as pure functions of decoded and true bars."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from stage1.config import LossConfig
from stage1.data.batches import Batch


def reconstruction_loss(
    decoded: Float[Tensor, "batch timeframe time 4"],
    targets: Float[Tensor, "batch timeframe time 4"],
    scored: Bool[Tensor, "batch timeframe time"],
    *,
    delta: float,
) -> Float[Tensor, ""]:
    """Huber loss, mean over scored bars and the four prices; 0 if no bar is scored.

    Source: Huber 1964, "Robust Estimation of a Location Parameter".
    """
    each = torch.nn.functional.huber_loss(decoded, targets, reduction="none", delta=delta)
    return masked_mean(each, scored.unsqueeze(-1))


def masked_mean(values: Tensor, mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean where the (broadcast) mask is true, 0 where it never is; masked values may be NaN."""
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)


def aggregate_to_clock(
    fine: Float[Tensor, "batch time 4"],
    fine_times: Int[Tensor, "batch time"],
    coarse_times: Int[Tensor, "batch coarse"],
    *,
    bars: int,
    fine_minutes: int = 1,
) -> tuple[Float[Tensor, "batch coarse 4"], Bool[Tensor, "batch coarse"]]:
    """Open, high, low, close of the fine bars inside each coarse bar's clock interval.

    Args:
        fine: Bars of a finer timeframe.
        fine_times: Their open times, unix seconds, increasing.
        coarse_times: Open times of the coarse bars.
        bars: Fine bars in a complete coarse bar.
        fine_minutes: Length of a fine bar.

    Returns:
        The aggregated bars, and True where all `bars` parts of the interval lie in the window
        (elsewhere the values mean nothing).
    """
    length = fine_times.shape[1]
    part = torch.arange(bars, device=fine.device)
    first = torch.searchsorted(fine_times.contiguous(), coarse_times.contiguous())
    places = first.unsqueeze(-1) + part
    inside = places < length
    places = places.clamp_max(length - 1)
    found = fine_times.unsqueeze(1).expand(-1, places.shape[1], -1).gather(2, places)
    wanted = coarse_times.unsqueeze(-1) + part * (60 * fine_minutes)
    complete = (inside & (found == wanted)).all(dim=-1)
    index = places.flatten(1).unsqueeze(-1).expand(-1, -1, 4)
    parts = fine.gather(1, index).unflatten(1, places.shape[1:])
    aggregated = torch.stack(
        [
            parts[:, :, 0, 0],
            parts[..., 1].amax(dim=2),
            parts[..., 2].amin(dim=2),
            parts[:, :, -1, 3],
        ],
        dim=-1,
    )
    return aggregated, complete


def cross_timeframe_loss(
    decoded: Float[Tensor, "batch timeframe time 4"],
    open_time: Int[Tensor, "batch timeframe time"],
    center: Float[Tensor, "batch timeframe"],
    scale: Float[Tensor, "batch timeframe"],
    minutes: tuple[int, ...],
) -> Float[Tensor, ""]:
    """Mean squared difference between bars and the aggregate of the next finer timeframe's.

    loss = mean over coarse bars b and prices of ((agg(finer bars in b) - b) / coarse scale)^2, with
    all prices as log prices. Only bars whose every part lies in the window are compared. Neighbours
    are, since a window's few m1 bars never fill an h4 bar: so every timeframe is held to another.

    Args:
        decoded: Bars in their timeframe's normalised units, timeframes fine to coarse.
        open_time: Unix seconds.
        center: Log price at 0 of each timeframe's units, float64.
        scale: Log price of one unit, float64.
        minutes: Length of a bar, per timeframe; the first is 1.

    Returns:
        Float32, >= 0; exactly 0 for bars that aggregate, in common units, and 0 if none can be
        compared.
    """
    decoded = decoded.float()
    total = decoded.new_zeros(())
    compared = torch.zeros((), dtype=torch.long, device=decoded.device)
    for index in range(1, len(minutes)):
        finer = index - 1
        inside = (open_time[:, index] >= open_time[:, finer, :1]).sum(dim=1)
        newest = max(int(inside.max()), 1)  # older ones start before the finer bars
        factor = (scale[:, finer] / scale[:, index]).float()
        shift = ((center[:, finer] - center[:, index]) / scale[:, index]).float()
        fine = decoded[:, finer] * factor[:, None, None] + shift[:, None, None]
        aggregated, complete = aggregate_to_clock(
            fine,
            open_time[:, finer],
            open_time[:, index, -newest:],
            bars=minutes[index] // minutes[finer],
            fine_minutes=minutes[finer],
        )
        squared = (aggregated - decoded[:, index, -newest:]).square()
        total = total + squared.masked_fill(~complete.unsqueeze(-1), 0.0).sum()
        compared = compared + 4 * complete.sum()
    return total / compared.clamp_min(1)


def total_loss(
    decoded: Float[Tensor, "batch timeframe time 4"],
    batch: Batch,
    loss: LossConfig,
    minutes: tuple[int, ...],
) -> Float[Tensor, ""]:
    """The weighted sum that is trained on and reported as val_loss; weight 0 computes nothing."""
    total = loss.weights.recon_tf * reconstruction_loss(
        decoded, batch.targets, batch.scored, delta=loss.huber_delta
    )
    if loss.weights.cross:
        total = total + loss.weights.cross * cross_timeframe_loss(
            decoded, batch.open_time, batch.center, batch.scale, minutes
        )
    return total
