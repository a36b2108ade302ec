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

from stage1.config import DataConfig
from stage1.data.batches import Batch
from stage1.data.features import kind_of, per_bar
from stage1.data.hiding import ROWS_APART

TOLERANCE = 0.1
"""Standard deviations of the coarse timeframe by which consistent prices may differ."""


class WholeBars(NamedTuple):
    """Coarse bars whose every finer part is in the window.

    Bars are named by their place among all of a timeframe's, the windows one after another.
    """

    places: Int[Tensor, " bars"]  # of the coarse bars
    parts: Int[Tensor, "bars parts"]  # of the finer ones in each, in the order of time


class Comparison(NamedTuple):
    """Bars of two timeframes, given by their index, compared with each other."""

    finer: int
    coarse: int
    bars: WholeBars
    difference: Float[Tensor, "bars channel"]
    """Aggregate less coarse bar, in units of the coarse timeframe."""


def whole_bars(
    fine_times: Int[Tensor, "batch time"],
    coarse_times: Int[Tensor, "batch coarse"],
    *,
    fine_minutes: int,
    coarse_minutes: int,
) -> WholeBars:
    """Find the coarse bars that can be compared.

    As open times increase and lie on the clock, the parts of a whole bar stand side by side, and
    the first and the last of them say that none is missing. So a fine bar is looked at once, and
    the result has no more parts than there are fine bars, however coarse the other timeframe.

    Args:
        fine_times: Open times, unix seconds, increasing; `NO_TIME` at padding.
        coarse_times: Likewise, on the coarse clock.
        fine_minutes: Length of a fine bar.
        coarse_minutes: Length of a coarse bar, a multiple of it, and at most a whole window.

    Returns:
        The bars, in the order of the windows and of time.
    """
    length, parts = fine_times.shape[1], coarse_minutes // fine_minutes
    first = fine_times[:, : length - parts + 1]
    last = fine_times[:, parts - 1 :]
    # Nowhere true at padding, where the first is the last.
    together = last == first + 60 * (coarse_minutes - fine_minutes)
    # What starts off the coarse clock would find no coarse bar; so fewer are looked up.
    row, column = (together & (first % (60 * coarse_minutes) == 0)).nonzero(as_tuple=True)
    rows_apart = int(ROWS_APART)
    windows = torch.arange(len(coarse_times), device=coarse_times.device).unsqueeze(-1)
    keys = (coarse_times + rows_apart * windows).flatten()
    wanted = first[row, column] + rows_apart * row
    place = torch.searchsorted(keys, wanted).clamp_max(keys.numel() - 1)
    is_there = keys[place] == wanted
    start = (row * length + column)[is_there]
    part = torch.arange(parts, device=start.device)
    return WholeBars(place[is_there], start.unsqueeze(-1) + part)


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
    series = [one.flatten(0, 1) for one in bars.float().unbind(1)]
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
        yield Comparison(finer, coarse, whole, difference)


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
    total = decoded.new_zeros((), dtype=torch.float32)
    compared = 0
    for comparison in compare(decoded, batch, config):
        total = total + comparison.difference.square().sum()
        compared += comparison.difference.numel()
    return total / max(compared, 1)


def consistency_ratio(
    comparisons: Iterable[Comparison], hidden: Bool[Tensor, "batch timeframe time"]
) -> float:
    """Share of prices that agree with the aggregate of a finer timeframe's bars.

    A price agrees if both differ by at most `TOLERANCE`. Bars that are observed, with all their
    parts, agree anyway and do not count.

    Args:
        comparisons: Of windows as a user gets them: decoded where hidden, the truth elsewhere.
        hidden: True where a bar is decoded.

    Returns:
        In [0, 1]; NaN if nothing can be compared. A price that is NaN does not agree.

    Source:
        Ours.
    """
    agreeing, compared = 0, 0
    decoded = [one.flatten() for one in hidden.unbind(1)]
    for finer, coarse, bars, difference in comparisons:
        counts = decoded[coarse][bars.places] | decoded[finer][bars.parts].any(dim=1)
        close = difference.abs() <= TOLERANCE
        agreeing += int((close & counts.unsqueeze(-1)).sum())
        compared += difference.shape[1] * int(counts.sum())
    return agreeing / compared if compared else float("nan")
