"""Which bars are hidden where all timeframes of a window span the same minutes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from stage1.config import MaskingConfig
from stage1.data.hiding import Hiding, bars_to_hide, draw_spans, look_up, overlapping
from stage1.data.windows import FEWEST_BARS

EXTRA_NUMBERS = 2
"""Uniform random numbers per window and timeframe beside those of the spans: whether it is in the
window, and its rank among those that may be drawn from."""


def draw_presence(
    count: NDArray[np.int64], uniforms: NDArray[np.float64], chances: Sequence[float]
) -> NDArray[np.int64]:
    """Leave timeframes out of windows by chance.

    Args:
        count: (windows, timeframes) bars.
        uniforms: Same shape, random numbers in [0, 1).
        chances: To stay, of each timeframe, in [0, 1].

    Returns:
        The counts, 0 where a timeframe is left out.
    """
    return np.where(uniforms < np.asarray(chances), count, 0)


def draw_calendar_hiding(
    open_times: NDArray[np.int64],
    count: NDArray[np.int64],
    minutes: tuple[int, ...],
    masking: MaskingConfig,
    uniforms: NDArray[np.float64],
    ratios: Sequence[float],
) -> Hiding:
    """Draw the hidden and the scored bars of a batch of calendar windows.

    Here every coarse bar lies over finer ones, and each gives the other away. So with
    `masking.sync_across_tf` one timeframe of each window, chosen at random, draws spans, and in all
    others whatever overlaps these minutes is hidden too, but not scored. Without it each timeframe
    draws for itself and hides nothing else. Spans are never at a window's first or last bar; a
    timeframe with fewer than `FEWEST_BARS` bars is never drawn from.

    Args:
        open_times: (windows, timeframes, bars) unix seconds, timeframes fine to coarse; beyond
            `count` larger than any time.
        count: (windows, timeframes) bars that exist.
        minutes: Length of a bar, per timeframe.
        masking: Span lengths, switch.
        uniforms: (windows, timeframes, `numbers_needed` + 1) random numbers in [0, 1).
        ratios: Share that is drawn, of each timeframe.

    Source:
        Ours.
    """
    drawn_from = count >= FEWEST_BARS
    if masking.sync_across_tf:
        rank = np.where(drawn_from, uniforms[..., -1], -1.0)
        drawn_from &= rank == rank.max(axis=1, keepdims=True)
    scored = np.zeros(open_times.shape, dtype=bool)
    for index in range(len(minutes)):
        drawn = drawn_from[:, index]
        bars = count[drawn, index]
        scored[drawn, index] = draw_spans(
            uniforms[drawn, index, :-1],
            bars_to_hide(bars, ratios[index]),
            masking,
            last=bars - 2,
            seq_len=open_times.shape[2],
        )
    hidden = scored.copy()
    if masking.sync_across_tf:
        for own, other in permutations(range(len(minutes)), 2):
            times, others = open_times[:, own], open_times[:, other]
            if other > own:
                hidden[:, other] |= overlapping(others, minutes[other], times, scored[:, own])
            else:
                hidden[:, other] |= beneath(others, times, minutes[own], scored[:, own])
    return Hiding(hidden, scored)


def beneath(
    fine_times: NDArray[np.int64],
    coarse_times: NDArray[np.int64],
    coarse_minutes: int,
    drawn: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Fine bars that lie in the clock interval of a drawn coarse bar.

    Args:
        fine_times: (windows, bars) open times in seconds.
        coarse_times: (windows, bars) open times in seconds, on the coarse clock.
        coarse_minutes: Length of a coarse bar.
        drawn: Same shape as `coarse_times`, the drawn coarse bars.

    Returns:
        (windows, bars) True where a fine bar lies in a drawn one.
    """
    owners = fine_times - fine_times % (coarse_minutes * 60)
    places, found = look_up(owners, np.arange(len(fine_times))[:, None], coarse_times)
    return found & drawn.ravel()[places]
