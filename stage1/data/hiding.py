"""Which bars of a window are hidden: spans drawn per timeframe, and all bars that tell of them.

Two kinds of windows: those with equally many bars of each timeframe (`draw_hiding`), and calendar
windows, whose timeframes span the same minutes (`draw_calendar_hiding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.config import MaskingConfig
from stage1.data.windows import FEWEST_BARS

ROWS_APART = np.int64(1) << 40
"""More seconds than any data spans: rows of times stay apart when they are flattened."""
NO_TIME = np.int64(1) << 39
"""Stands for the open time of a bar that does not exist; later than any that does."""
EXTRA_NUMBERS = 2
"""Uniform random numbers per window and timeframe beside those of the spans: whether it is in the
window, and its rank among those that may be drawn from."""


class Hiding(NamedTuple):
    """What a batch of windows hides, per timeframe."""

    hidden: NDArray[np.bool_]
    """(windows, timeframes, bars) True where the encoder sees nothing."""
    scored: NDArray[np.bool_]
    """Same shape, True where the bar was drawn: hidden and compared with the truth."""


def bars_to_hide(bars: NDArray[np.int64], ratio: float) -> NDArray[np.int64]:
    """Bars drawn of so many of a timeframe: the share, rounded, and at least one."""
    share: NDArray[np.int64] = np.rint(ratio * bars).astype(np.int64)
    return np.maximum(share, 1)


def numbers_needed(seq_len: int, masking: MaskingConfig, ratios: Sequence[float]) -> int:
    """Uniform random numbers that a window of so many bars uses per timeframe: two per span.

    `ratios` are the shares that are drawn, of each timeframe.
    """
    return 2 * max(round(max(ratios) * seq_len) // masking.mask_span_min, 1)


def span_lengths(
    uniforms: NDArray[np.float64], bars: NDArray[np.int64], *, shortest: int, longest: int
) -> NDArray[np.int64]:
    """Cut a number of bars into spans of random length.

    Each length is uniform among those that leave a rest which can be cut, too.

    Args:
        uniforms: (rows, spans) numbers in [0, 1).
        bars: (rows,) bars to hide, at least 1.
        shortest: Bars in the shortest span.
        longest: Bars in the longest span.

    Returns:
        (rows, spans) lengths between the bounds, or 0 for a span that is not needed. They sum to
        the largest number up to `bars` that such spans can make; fewer bars than the shortest span
        has are one span of their own.
    """
    numbers = np.arange(bars.max(initial=1) + 1)
    cuttable = numbers >= -(-numbers // longest) * shortest  # in as few spans as possible
    sizes = np.arange(shortest, longest + 1)
    lengths = np.zeros(uniforms.shape, dtype=np.int64)
    left = np.maximum.accumulate(np.where(cuttable, numbers, 0))[bars]
    for span in range(uniforms.shape[1]):
        rest = left[:, None] - sizes
        possible = (rest >= 0) & cuttable[np.maximum(rest, 0)]
        chosen = (uniforms[:, span] * possible.sum(axis=1)).astype(np.int64)
        size = sizes[(possible.cumsum(axis=1) > chosen[:, None]).argmax(axis=1)]
        lengths[:, span] = np.where(left > 0, size, 0)
        left -= lengths[:, span]
    lengths[:, 0] = np.where(bars < shortest, bars, lengths[:, 0])
    return lengths


def place_spans(
    lengths: NDArray[np.int64],
    uniforms: NDArray[np.float64],
    *,
    last: NDArray[np.int64],
    seq_len: int,
) -> NDArray[np.bool_]:
    """Put spans at random places, in order, with at least one visible bar between two.

    Args:
        lengths: (rows, spans) bars per span, 0 = none.
        uniforms: Same shape, numbers in [0, 1).
        last: (rows,) last bar that may be hidden; the first one that may is bar 1.
        seq_len: Bars in a window.

    Returns:
        (rows, seq_len) True where a span lies. Spans that find no room are dropped from the end.
    """
    spans_before = np.maximum((lengths > 0).cumsum(axis=1) - 1, 0)
    earliest = lengths.cumsum(axis=1) - lengths + spans_before  # bars taken by spans before
    lengths = np.where(earliest + lengths <= last[:, None], lengths, 0)
    taken = np.where(lengths > 0, earliest + lengths, 0).max(axis=1)
    room = np.maximum(last - taken, 0)[:, None]
    shifts = np.where(lengths > 0, (uniforms * (room + 1)).astype(np.int64), room)
    shifts = np.sort(shifts, axis=1)  # those of spans that are none stay behind
    starts = 1 + shifts + earliest
    bars = np.arange(seq_len)
    inside = (bars >= starts[..., None]) & (bars < (starts + lengths)[..., None])
    covered: NDArray[np.bool_] = inside.any(axis=1)
    return covered


def draw_hiding(
    open_times: NDArray[np.int64],
    minutes: tuple[int, ...],
    masking: MaskingConfig,
    uniforms: NDArray[np.float64],
    ratios: Sequence[float],
) -> Hiding:
    """Draw the hidden and the scored bars of a batch of windows of equal length.

    Each timeframe draws its own spans, never at a window's first or last bar. With
    `masking.sync_across_tf` a timeframe draws only where no finer bar of the window lies, and
    every bar that overlaps a drawn finer bar is hidden too, but not scored: nothing about a hidden
    bar can be read off a coarser one.

    Args:
        open_times: (windows, timeframes, bars) unix seconds, timeframes fine to coarse.
        minutes: Length of a bar, per timeframe.
        masking: Span lengths, switch.
        uniforms: (windows, timeframes, `numbers_needed`) random numbers in [0, 1).
        ratios: Share that is drawn, of each timeframe.

    Source:
        Span masking after Joshi et al. 2020, "SpanBERT", section 3.1; hiding upward in clock time
        is ours.
    """
    windows, timeframes, seq_len = open_times.shape
    lengths = np.full(windows, seq_len)
    scored = np.zeros(open_times.shape, dtype=bool)
    hidden = np.zeros(open_times.shape, dtype=bool)
    for index in range(timeframes):
        last = np.full(windows, seq_len - 2)
        if masking.sync_across_tf and index > 0:  # only bars that end before any finer one begins
            finer_start = open_times[:, :index, 0].min(axis=1)
            older = open_times[:, index] + minutes[index] * 60 <= finer_start[:, None]
            last = np.minimum(last, older.sum(axis=1) - 1)
        bars = bars_to_hide(lengths, ratios[index])
        scored[:, index] = draw_spans(uniforms[:, index], bars, masking, last=last, seq_len=seq_len)
        hidden[:, index] |= scored[:, index]
        for finer in range(index if masking.sync_across_tf else 0):
            hidden[:, index] |= overlapping(
                open_times[:, index], minutes[index], open_times[:, finer], scored[:, finer]
            )
    return Hiding(hidden, scored)


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
        open_times: As of `draw_hiding`; beyond `count` larger than any time.
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
        for one, other in permutations(range(len(minutes)), 2):
            drawn, times, others = scored[:, one], open_times[:, one], open_times[:, other]
            if other > one:
                hidden[:, other] |= overlapping(others, minutes[other], times, drawn)
            else:
                hidden[:, other] |= inside(others, times, minutes[one], drawn)
    return Hiding(hidden, scored)


def draw_spans(
    uniforms: NDArray[np.float64],
    bars: NDArray[np.int64],
    masking: MaskingConfig,
    *,
    last: NDArray[np.int64],
    seq_len: int,
) -> NDArray[np.bool_]:
    """Spans of random lengths at random places, for one timeframe.

    Args:
        uniforms: (rows, `numbers_needed`) numbers in [0, 1), lengths first.
        bars: (rows,) bars to hide; at least one is, where `last` leaves room for it.
        masking: Span lengths.
        last: (rows,) last bar that may be hidden.
        seq_len: Bars in the longest window.

    Returns:
        (rows, seq_len) True where a bar is drawn.
    """
    half = uniforms.shape[1] // 2
    bars = np.minimum(bars, np.maximum(last, 1))  # what has no room would be dropped, all of it
    lengths = span_lengths(
        uniforms[:, :half], bars, shortest=masking.mask_span_min, longest=masking.mask_span_max
    )
    return place_spans(lengths, uniforms[:, half:], last=last, seq_len=seq_len)


def overlapping(
    coarse_times: NDArray[np.int64],
    coarse_minutes: int,
    fine_times: NDArray[np.int64],
    drawn: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Coarse bars whose clock interval holds a drawn fine bar.

    Args:
        coarse_times: (windows, bars) open times in seconds, on the coarse clock, increasing.
        coarse_minutes: Length of a coarse bar; a multiple of the fine one's.
        fine_times: (windows, bars) open times in seconds.
        drawn: Same shape as `fine_times`.
    """
    rows, columns = np.nonzero(drawn)
    moments = fine_times[rows, columns]
    owners = moments - moments % (coarse_minutes * 60)
    places, exists = look_up(owners, rows, coarse_times)
    result = np.zeros(coarse_times.shape, dtype=bool)
    result.ravel()[places[exists]] = True
    return result


def inside(
    fine_times: NDArray[np.int64],
    coarse_times: NDArray[np.int64],
    coarse_minutes: int,
    drawn: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Fine bars that lie in the clock interval of a drawn coarse bar.

    Shapes and units are those of `overlapping`; `drawn` has that of `coarse_times`.
    """
    owners = fine_times - fine_times % (coarse_minutes * 60)
    places, exists = look_up(owners, np.arange(len(fine_times))[:, None], coarse_times)
    return exists & drawn.ravel()[places]


def look_up(
    moments: NDArray[np.int64], rows: NDArray[np.int64], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find moments, each in a window of its own, among the times of all windows at once.

    Args:
        moments: Unix seconds, of any shape.
        rows: The window of each; broadcasts to the same shape.
        times: (windows, bars) increasing in each window.

    Returns:
        Of each moment its place in the flattened times, and whether it stands there.
    """
    keys = (times + np.arange(len(times))[:, None] * ROWS_APART).ravel()
    wanted = moments + rows * ROWS_APART
    places = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return places, keys[places] == wanted
