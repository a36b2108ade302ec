"""Fine bars to coarse ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stage1.base.steps import MINUTES
from stage1.data.bars import Bars


def resample(bars: Bars, minutes: int) -> Bars:
    """Aggregate bars to coarser ones, aligned to the UTC clock.

    Intervals are closed and labelled on the left: the bar of 12:00 holds what opened from 12:00 up
    to, but not at, 12:00 + `minutes`. It takes the first open, the highest high, the lowest low and
    the last close. An interval without a bar stays out. A bar whose interval lost some minutes to a
    gap is made of those that are there, so its open may be later than the interval's, and its close
    earlier.

    Args:
        bars: Bars of a timeframe that divides `minutes`.
        minutes: Length of the coarse bars; divides a day.
    """
    if minutes == 1 or len(bars.open_time) == 0:
        return bars
    interval = bars.open_time // (60 * minutes)
    first = np.flatnonzero(np.diff(interval, prepend=interval[0] - 1))
    last = np.append(first[1:], len(interval)) - 1
    open_, high, low, close = bars.prices.T
    prices = np.stack(
        [
            open_[first],
            np.maximum.reduceat(high, first),
            np.minimum.reduceat(low, first),
            close[last],
        ],
        axis=1,
    )
    return Bars(interval[first] * (60 * minutes), prices)


def resample_all(m1: Bars, timeframes: Iterable[str]) -> dict[str, Bars]:
    """Aggregate 1-minute bars to several timeframes, each from the next finer one.

    Args:
        m1: 1-minute bars.
        timeframes: Names from `MINUTES`, in the order of the result.
    """
    bars, finer = {}, m1
    for timeframe, minutes in MINUTES.items():
        bars[timeframe] = finer = resample(finer, minutes)
    return {timeframe: bars[timeframe] for timeframe in timeframes}
