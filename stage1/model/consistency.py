"""Whether decoded bars of different timeframes agree on the prices.

A coarse bar is the aggregate of the finer bars in its clock interval: open of the first, highest
high, lowest low, close of the last. Every timeframe is compared with every finer one, not only the
next, which a calendar window may lack. Of a series a coarse bar is the mean of the rows in its
interval, and is compared with the rows alone: means of them may be of fewer rows than they span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from stage1.config import DataConfig
from stage1.data.batches import Batch
from stage1.data.features import kind_of, per_bar

TOLERANCE = 0.1
"""Standard deviations of the coarse timeframe by which consistent prices may differ."""


class WholeBars(NamedTuple):
    """Room for as many coarse bars as a window can have with every finer part in it.

    Bars are named by their place among all of a timeframe's, the windows one after another.
    """

    places: Int[Tensor, " bars"]  # of the coarse bars
    parts: Int[Tensor, "bars parts"]  # of the finer ones in each, in the order of time
    there: Bool[Tensor, " bars"]  # False where the room is empty, and the places are any


class Comparison(NamedTuple):
    """Bars of two timeframes, given by their index, compared with each other."""

    finer: int
    coarse: int
    bars: WholeBars
    difference: Float[Tensor, "bars channel"]
    """Aggregate less coarse bar, in units of the coarse timeframe; 0 where there is no bar."""


def whole_bars(
    fine_times: Int[Tensor, "batch time"],
    coarse_times: Int[Tensor, "batch coarse"],
    *,
    fine_minutes: int,
    coarse_minutes: int,
) -> WholeBars:
    """Find the coarse bars that can be compared.

    As open times increase and lie on the clock, the parts of a whole bar stand side by side, and
    the first and the last of them say that none is missing. So of as many fine bars in a row as a
    coarse one has parts at most one is the first of a whole bar, and the result has no more parts
    than there are fine bars, however coarse the other timeframe. Its shape depends on no value.

    Args:
        fine_times: Open times, unix seconds, increasing; `NO_TIME` at padding.
        coarse_times: Likewise, on the coarse clock.
        fine_minutes: Length of a fine bar.
        coarse_minutes: Length of a coarse bar, a multiple of it, and at most a whole window.

    Returns:
        The bars, in the order of the windows and of time.
    """
    windows, length = fine_times.shape
    parts = coarse_minutes // fine_minutes
    first = fine_times[:, : length - parts + 1]
    last = fine_times[:, parts - 1 :]
    # Nowhere true at padding, where the first is the last.
    together = last == first + 60 * (coarse_minutes - fine_minutes)
    begins = together & (first % (60 * coarse_minutes) == 0)  # others would find no coarse bar
    rooms = length // parts
    begins = pad(begins, (0, rooms * parts - begins.shape[1])).unflatten(1, (rooms, parts))
    room = torch.arange(rooms, device=begins.device)
    start = parts * room + begins.byte().argmax(dim=-1)
    wanted = fine_times.gather(1, start)
    place = torch.searchsorted(coarse_times.contiguous(), wanted)
    place = place.clamp_max(coarse_times.shape[1] - 1)
    there = begins.any(dim=-1) & (coarse_times.gather(1, place) == wanted)
    window = torch.arange(windows, device=begins.device).unsqueeze(-1)
    part = torch.arange(parts, device=begins.device)
    return WholeBars(
        places=(place + coarse_times.shape[1] * window).flatten(),
        parts=(start + length * window).flatten().unsqueeze(-1) + part,
        there=there.flatten(),
    )


def compare(
    bars: Float[Tensor, "batch timeframe time channel"], batch: Batch, config: DataConfig
) -> Iterator[Comparison]:
    """Compare timeframes with the finer ones, as far as a window can fill their bars.

    Args:
        bars: In their timeframe's normalised units, timeframes fine to coarse.
        batch: Their windows.
        config: Of the data, whose kind says what bars a coarser one is made of, and how.

    Yields:
        One comparison per pair, in float32.
    """
    open_time, length = batch.open_time, batch.open_time.shape[2]
    minutes, kind = config.minutes, kind_of(config)
    decoded = bars.float().masked_fill(~batch.real.unsqueeze(-1), 0.0)
    series = [one.flatten(0, 1) for one in decoded.unbind(1)]
    centers, scales = (per_bar(one).squeeze(2) for one in (batch.center, batch.scale))
    pairs = [
        (coarse, finer)
        for coarse in range(1, len(minutes))
        for finer in range(coarse if kind.composes else 1)
        if minutes[coarse] // minutes[finer] <= length  # else a bar has more parts than fit
    ]
    for coarse, finer in pairs:
        whole = whole_bars(
            open_time[:, finer],
            open_time[:, coarse],
            fine_minutes=minutes[finer],
            coarse_minutes=minutes[coarse],
        )
        parts = series[finer].index_select(0, whole.parts.flatten())
        together = kind.aggregate(parts.unflatten(0, whole.parts.shape))
        factor = (scales[:, finer] / scales[:, coarse]).float()
        shift = ((centers[:, finer] - centers[:, coarse]) / scales[:, coarse]).float()
        window = whole.places // length
        in_coarse_units = together * factor[window] + shift[window]
        difference = in_coarse_units - series[coarse].index_select(0, whole.places)
        empty = ~whole.there.unsqueeze(-1)
        yield Comparison(finer, coarse, whole, difference.masked_fill(empty, 0.0))


def cross_timeframe_loss(
    decoded: Float[Tensor, "batch timeframe time channel"], batch: Batch, config: DataConfig
) -> Float[Tensor, ""]:
    """Mean squared difference between bars and the aggregates of finer timeframes' bars.

    loss = mean over pairs of timeframes, coarse bars b and prices of
    ((aggregate of the finer bars in b - b) / coarse scale)^2, with all prices as log prices.
    Only bars whose every part lies in the window are compared; of a series, with rows alone.

    Args:
        decoded: Bars in their timeframe's normalised units, timeframes fine to coarse.
        batch: Their windows.
        config: Of the data.

    Returns:
        Float32, >= 0; exactly 0 for bars that aggregate, in common units, and 0 if none can be
        compared.

    Source:
        Ours.
    """
    squares = decoded.new_zeros((), dtype=torch.float32)
    compared = torch.zeros((), dtype=torch.int64, device=decoded.device)
    for comparison in compare(decoded, batch, config):
        squares = squares + comparison.difference.square().sum()
        compared = compared + comparison.bars.there.sum()
    return squares / (decoded.shape[-1] * compared).clamp_min(1)


def consistency_ratio(
    comparisons: Iterable[Comparison], hidden: Bool[Tensor, "batch timeframe time"]
) -> Float[Tensor, ""]:
    """Share of prices that agree with the aggregate of a finer timeframe's bars.

    A price agrees if both differ by at most `TOLERANCE`. Bars that are observed, with all their
    parts, agree anyway and do not count.

    Args:
        comparisons: Of windows as a user gets them: decoded where hidden, the truth elsewhere.
        hidden: True where a bar is decoded.

    Returns:
        Float64, in [0, 1]; NaN if nothing can be compared. A price that is NaN does not agree.

    Source:
        Ours.
    """
    counts = torch.zeros(2, dtype=torch.float64, device=hidden.device)  # agreeing, compared
    decoded = [one.flatten() for one in hidden.unbind(1)]
    for finer, coarse, bars, difference in comparisons:
        is_decoded = decoded[coarse][bars.places] | decoded[finer][bars.parts].any(dim=1)
        compared = (is_decoded & bars.there).unsqueeze(-1).expand_as(difference)
        agreeing = compared & (difference.abs() <= TOLERANCE)
        counts = counts + torch.stack([agreeing.sum(), compared.sum()])
    return counts[0] / counts[1]
