"""Losses by hand: which bars of a batch tell of the same prices, part by part; errors by Huber."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stage1.data.batches import Batch


class Compared(NamedTuple):
    """A coarse bar and its parts."""

    coarse: tuple[int, int, int]
    """Window, timeframe, bar."""
    parts: tuple[int, int, list[int]]
    """Window, timeframe, bars."""
    difference: NDArray[np.float64]
    """Of the four prices, in units of the coarse timeframe."""


def compared_by_hand(bars: Tensor, batch: Batch, minutes: tuple[int, ...]) -> Iterator[Compared]:
    """Every coarse bar against the bars of every finer timeframe that fill it."""
    center, scale = batch.center.numpy(), batch.scale.numpy()
    for window, times in enumerate(batch.open_time.tolist()):
        prices = bars[window].double().numpy() * scale[window][:, None, None]
        prices = prices + center[window][:, None, None]
        count = batch.real[window].sum(dim=1).tolist()
        for coarse in range(1, len(minutes)):
            for finer in range(coarse):
                row_of = {time: row for row, time in enumerate(times[finer][: count[finer]])}
                for bar, time in enumerate(times[coarse][: count[coarse]]):
                    inside = range(time, time + 60 * minutes[coarse], 60 * minutes[finer])
                    if not all(part in row_of for part in inside):
                        continue
                    rows = [row_of[part] for part in inside]
                    fine = prices[finer, rows]
                    whole = [fine[0, 0], fine[:, 1].max(), fine[:, 2].min(), fine[-1, 3]]
                    difference = (whole - prices[coarse, bar]) / scale[window, coarse]
                    yield Compared((window, coarse, bar), (window, finer, rows), difference)


def huber_by_hand(error: NDArray[np.floating], delta: float) -> NDArray[np.floating]:
    """The Huber loss of each error."""
    size = np.abs(error)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
